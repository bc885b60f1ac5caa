"""The command line: the demo loses nothing, errors name what to change."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flextier import __version__
from flextier.cli import main


def test_the_demo_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Through an outage, refusals and stalls every topic is answered, and nothing is uncounted."""
    weather = "outage=0.1-0.4,slots=8,refuse=0.2,stall=0.02"
    status = main(["demo", "--topics", "30", "--weather", weather, "--seed", "7"])

    printed = capsys.readouterr().out
    assert status == 0
    assert "Simulated" in printed
    assert "nothing lost" in printed
    assert "refused" in printed
    on_the_wire = re.search(r"on the wire\D+(\d+)", printed)
    counted = re.search(r"simulator counted\D+(\d+)", printed)
    assert on_the_wire is not None
    assert counted is not None
    assert on_the_wire[1] == counted[1]


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


def test_help_imports_neither_langchain_nor_a_server() -> None:
    """`flextier --help` is quick, and works without any extra."""
    code = (
        "import sys; from flextier.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'langchain_core', 'uvicorn', 'llmock'} & set(sys.modules)"
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
