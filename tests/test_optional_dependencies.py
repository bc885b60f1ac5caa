"""What the LlamaIndex part needs, and what it says where that is missing: in processes of its own.

Runs with and without LlamaIndex, and with every version of the SDK.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import openai
import pytest

HAS_LLAMA_INDEX = find_spec("llama_index") is not None
INTEGRATION = "llama-index-llms-openai"
MAJOR = int(openai.__version__.partition(".")[0])

PUBLIC = [
    "FlexCallEvent",
    "FlexCostCallback",
    "FlexCostEventHandler",
    "FlexFallbackEvent",
    "FlexRetryEvent",
    "OpenAIFlex",
    "OpenAIResponsesFlex",
]

# Makes LlamaIndex look as if it were not there, whether it is or not.
WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0].startswith("llama_index"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
"""
# Imports modules one after another, each as if for the first time, with a folder in front of all
# others; prints what came of it, a line each.
IMPORTS = """
import importlib, sys
for pair in {pairs}:
    folder, module = pair
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    for name in [name for name in sys.modules if name.startswith("flextier.llama_index")]:
        del sys.modules[name]
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(error.name, type(error.__cause__).__name__, error)
    else:
        print("imported")
    sys.path.remove(folder)
"""

needs_llama_index = pytest.mark.skipif(not HAS_LLAMA_INDEX, reason="LlamaIndex is not installed")


def run(code: str) -> str:
    """What a program prints; warnings are errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported(
    folders: list[Path], modules: tuple[str, ...] = ("flextier.llama_index",), *, before: str = ""
) -> list[str]:
    """What importing each of the modules with each of the folders comes to."""
    pairs = [(str(folder), module) for folder in folders for module in modules]
    return run(before + IMPORTS.format(pairs=pairs)).splitlines()


def distribution(folder: Path, *requires: str, version: str = "0.8.3") -> Path:
    """A folder with the metadata of an integration that asks for these, as pip would leave it."""
    info = folder / f"{INTEGRATION.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.4", f"Name: {INTEGRATION}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    return folder


# --- without LlamaIndex ---------------------------------------------------------------------------

MODULES = ("", ".base", ".chat", ".responses", ".events", ".models", ".answers", ".secrets")


def test_without_llama_index(tmp_path: Path) -> None:
    """Whichever module is imported first, the error says which extra to install, and its cause."""
    folder = distribution(tmp_path)  # whatever is installed asks for nothing here
    modules = tuple(f"flextier.llama_index{module}" for module in MODULES)
    lines = imported([folder], modules, before=WITHOUT)
    assert len(lines) == len(MODULES)
    for line in lines:
        missing, cause, words = line.split(" ", 2)
        assert missing.startswith("llama_index")
        assert cause == "ModuleNotFoundError"
        assert 'pip install "flextier[llama-index]"' in words


@pytest.mark.skipif(HAS_LLAMA_INDEX, reason="LlamaIndex is installed")
def test_without_llama_index_for_real(tmp_path: Path) -> None:
    """Where it is not installed, nothing has to be pretended."""
    assert 'pip install "flextier[llama-index]"' in imported([tmp_path])[0]


# --- with an SDK that the integration does not take -----------------------------------------------

TOO_NEW = [
    "openai<{major},>=1.108.1",
    "openai>=1.108.1,<{major}",
    "openai (<{major},>=1.108.1)",
    "openai >=1.0, < {major}",
    'openai<{major},>=1 ; python_version >= "3.9"',
    "openai[aiohttp]<{major},>=1",
    "openai<{major}.0.0,>=1",
]
FITS = [
    ["openai<{next},>=1.108.1"],
    ["openai>=1.108.1"],
    ["openai-agents<1"],
    ["openai-agents<1", "openai<{next}"],
    ["openai>=1; extra == '<1'"],
    [],
]


def _folders(tmp_path: Path, wanted: list[list[str]]) -> list[Path]:
    folders = []
    for number, requires in enumerate(wanted):
        folder = tmp_path / str(number)
        folder.mkdir()
        filled = (one.format(major=MAJOR, next=MAJOR + 1) for one in requires)
        folders.append(distribution(folder, *filled))
    return folders


def test_an_sdk_that_is_too_new(tmp_path: Path) -> None:
    """However the pin is written, the error names it, the installed version, and the fix."""
    others = ["httpx<1", "openai-agents<1", "llama-index-core<0.15,>=0.14"]
    lines = imported(_folders(tmp_path, [[*others, one] for one in TOO_NEW]))
    assert len(lines) == len(TOO_NEW)
    for line in lines:
        assert f'pip install "openai<{MAJOR}"' in line
        assert f"{INTEGRATION} 0.8.3" in line
        assert openai.__version__ in line


def test_an_sdk_that_it_takes(tmp_path: Path) -> None:
    """Nothing is said of an SDK that fits, nor of packages that only begin with its name."""
    lines = imported(_folders(tmp_path, FITS))
    assert len(lines) == len(FITS)
    for line in lines:
        assert 'pip install "openai' not in line
        assert (line == "imported") == HAS_LLAMA_INDEX


def test_the_rest_works_with_a_newer_sdk(tmp_path: Path) -> None:
    """The core is imported all the same, whatever the integration pins."""
    folder = distribution(tmp_path, f"openai<{MAJOR}")
    assert (
        imported([folder], ("flextier", "flextier.client.clients", "flextier.cli.main"))
        == ["imported"] * 3
    )


# --- what is declared, and what is imported -------------------------------------------------------


def extras(extra: str) -> set[str]:
    """The names of the packages that an extra of flextier's brings."""
    wanted = metadata.requires("flextier") or []
    marked = [one.partition(";") for one in wanted]
    mine = [name for name, _, marker in marked if re.search(rf"extra == ['\"]{extra}['\"]", marker)]
    return {re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0].lower() for name in mine}


def test_the_extras() -> None:
    """`llama-index` brings the core and the OpenAI LLMs; `all` has it."""
    provided = metadata.metadata("flextier").get_all("Provides-Extra") or []
    assert {"llama-index", "all"} <= set(provided)
    parts = {"llama-index-core", INTEGRATION}
    assert parts <= extras("llama-index")
    everything = [one for one in metadata.requires("flextier") or [] if "extra == 'all'" in one]
    named = re.findall(r"flextier\[([\w,-]+)\]", " ".join(everything))
    assert parts <= extras("all") or any("llama-index" in one.split(",") for one in named)


@needs_llama_index
def test_what_is_installed_is_what_is_declared() -> None:
    """Everything that the extra names is there, where LlamaIndex is: the embeddings, too."""
    assert "llama-index-embeddings-openai" in extras("llama-index")
    for name in extras("llama-index"):
        assert metadata.version(name)


def test_the_core_imports_no_framework() -> None:
    """Neither `import flextier` nor its clients bring LlamaIndex."""
    code = (
        "import sys, flextier, flextier.client, flextier.calls.report\n"
        "import flextier._openai.wrap_client\n"
        "flextier.FlexOpenAI(api_key='k')\n"
        "print([name for name in sys.modules if name.startswith(('llama_index', 'langchain'))])"
    )
    assert run(code) == "[]\n"


@needs_llama_index
def test_the_public_names() -> None:
    """A name that comes or goes is a decision, made here, too; no other framework comes along."""
    code = (
        "import inspect, sys, flextier.llama_index as part\n"
        "print(*part.__all__)\n"
        "print(*(n for n, v in vars(part).items()"
        " if not n.startswith('_') and not inspect.ismodule(v) and n not in part.__all__))\n"
        "print(*(n for n in part.__all__ if not vars(getattr(part, n)).get('__doc__')))\n"
        "print(*(n for n in sys.modules"
        " if n.startswith(('langchain', 'flextier.langchain', 'flextier.sim'))))\n"
    )
    listed, others, undocumented, frameworks = run(code).split("\n")[:4]
    assert listed.split() == sorted(PUBLIC) == PUBLIC
    assert (others, undocumented, frameworks) == ("", "", "")
