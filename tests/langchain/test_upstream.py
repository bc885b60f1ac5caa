"""langchain-openai's own unit tests, run with our class in the place of its ``ChatOpenAI``.

They come with the source distribution of the installed version, which is fetched once into the
virtual environment. Each test is run with their class and with ours: what passed must still pass.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # langchain-openai's own suite, in a process of its own

VERSION = importlib.metadata.version("langchain-openai")
PLUGINS = Path(__file__).parent / "plugins"
TESTS = ("chat_models", "middleware", "test_load.py", "test_secrets.py", "test_token_counts.py")

ELSEWHERE = "serialised under its own name, flextier.langchain.ChatOpenAIFlex, which LangChain's "
DIFFERENT = {
    "TestOpenAIStandard::test_serdes": ELSEWHERE + "snapshot does not have",
    "TestOpenAIResponses::test_serdes": ELSEWHERE + "snapshot does not have",
    "::test_loads_openai_chat": ELSEWHERE + "load does not know by default",
    "::test_load_openai_chat": ELSEWHERE + "load does not know by default",
    "::test_loads_runnable_sequence_prompt_model": ELSEWHERE + "load does not know by default",
    "::test_load_runnable_sequence_prompt_model": ELSEWHERE + "load does not know by default",
}
"""What differs on purpose, each with its reason; everything else has to pass."""


@pytest.fixture(scope="module")
def source() -> Path:
    """The unpacked source distribution of the installed langchain-openai."""
    home = Path(sys.prefix) / "upstream"
    source = home / f"langchain_openai-{VERSION}"
    if not (source / "tests").is_dir():
        home.mkdir(exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        subprocess.run([*pip, f"--dest={home}", f"langchain-openai=={VERSION}"], check=True)
        with tarfile.open(home / f"langchain_openai-{VERSION}.tar.gz") as archive:
            archive.extractall(home, filter="data")
    return source


def passed(source: Path, report: Path, *arguments: str) -> set[str]:
    """The names of the tests that pass, in a pytest of their own without network."""
    command = [sys.executable, "-m", "pytest", "-q", "--override-ini=addopts="]
    command += ["--disable-socket", "--allow-unix-socket", "--benchmark-disable"]
    command += ["-p", "certificates_once"]
    command += [f"--junit-xml={report}", *arguments, *(f"tests/unit_tests/{t}" for t in TESTS)]
    environment = {**os.environ, "PYTHONPATH": str(PLUGINS)}
    run = subprocess.run(
        command, cwd=source, env=environment, capture_output=True, text=True, check=False
    )
    assert report.exists(), run.stdout[-3000:] + run.stderr[-3000:]
    return {
        f"{case.get('classname')}::{case.get('name')}".replace(".Test", "::Test").replace(
            "[ChatOpenAIFlex]", "[ChatOpenAI]"
        )
        for case in ElementTree.parse(report).iter("testcase")
        if not [child for child in case if child.tag in ("failure", "error", "skipped")]
    }


def test_what_passed_for_chat_openai_passes_for_ours(source: Path, tmp_path: Path) -> None:
    """Subclassing breaks nothing: client caching, secrets, payloads, streams, Azure."""
    theirs = passed(source, tmp_path / "theirs.xml")
    ours = passed(source, tmp_path / "ours.xml", "-p", "swap_chat_openai")

    lost = {name for name in theirs - ours if not name.endswith(tuple(DIFFERENT))}

    assert lost == set()
    assert len(theirs) > 400, "their tests were not found"
    assert {end for end in DIFFERENT if any(n.endswith(end) for n in theirs - ours)} == {*DIFFERENT}
