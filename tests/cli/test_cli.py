"""The command line: the demo loses nothing, errors name what to change."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from flextier import __version__
from flextier.cli import main

HAS_LLAMA_INDEX = find_spec("llama_index") is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's agents ask for __fields__
def test_the_demo_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Through an outage, refusals and stalls all is answered, and nothing is uncounted."""
    weather = "outage=0.1-0.4,slots=8,refuse=0.2,stall=0.02"
    status = main(["demo", "--topics", "30", "--weather", weather, "--seed", "7"])

    printed = capsys.readouterr().out
    assert status == 0
    assert "Simulated" in printed
    assert "refused" in printed
    parts = 2 if HAS_LLAMA_INDEX else 1
    assert printed.count("nothing lost") == parts
    on_the_wire = re.findall(r"on the wire\D+(\d+)", printed)
    assert len(on_the_wire) == parts
    assert on_the_wire == re.findall(r"simulator counted\D+(\d+)", printed)


@pytest.mark.skipif(not HAS_LLAMA_INDEX, reason="LlamaIndex is not installed: it takes openai<3")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_demos_llama_index(capsys: pytest.CaptureFixture[str]) -> None:
    """A query engine and an agent, each of whose calls is in the table."""
    assert main(["demo", "--topics", "2", "--weather", ""]) == 0

    printed = capsys.readouterr().out
    # Two queries of one call; an agent's two steps, and the query of one of its tools.
    assert "LlamaIndex: 3 questions, 5 calls" in printed
    assert "(tools: count_words, look_up)" in " ".join(printed.split())


def test_the_demo_goes_on_without_llama_index() -> None:
    """What is missing for LlamaIndex's part is said in one line, and all else is done."""
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "from flextier.cli import main; sys.exit(main(['demo', '--topics', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "nothing lost" in done.stdout
    assert re.search(r"\nLlamaIndex is left out: .+flextier\[llama-index\]\"\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--live"], "OPENAI_API_KEY"),
        (["--topics", "0"], "--topics"),
        (["--concurrency", "-1"], "--concurrency"),
        (["--weather", "hail=3"], "hail"),
    ],
)
def test_what_the_demo_cannot_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad options end with status 2 and a line that names them."""
    assert main(["demo", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    """Both are there; a command is needed."""
    for arguments, words, status in (
        (["--version"], __version__, 0),
        (["--help"], "demo", 0),
        ([], "COMMAND", 2),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == status
        captured = capsys.readouterr()
        assert words in captured.out + captured.err


def test_help_imports_neither_a_framework_nor_a_server() -> None:
    """`flextier --help` is quick, and works without any extra."""
    code = (
        "import sys; from flextier.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'langchain_core', 'llama_index', 'uvicorn', 'llmock'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_bad_variable_breaks_neither_help_nor_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command starts whatever the environment says; the demo names what is wrong with it."""
    monkeypatch.setenv("FLEXTIER_STANDARD_RESERVE", "soon")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert main(["demo", "--topics", "1"]) == 2
    assert "FLEXTIER_STANDARD_RESERVE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("langchain_openai", "langchain"), ("rich", "langchain,sim"), ("llmock", "sim")],
)
def test_the_demo_names_the_extra_it_lacks(missing: str, extra: str) -> None:
    """Without an optional dependency the command ends with the line that installs it."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from flextier.cli import main; sys.exit(main(['demo', '--topics', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"flextier[{extra}]" in done.stderr
