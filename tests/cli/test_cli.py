"""The command line: the demo loses nothing, errors name what to change."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

import flextier.sim
from flextier import __version__
from flextier.cli import main
from flextier.cli.main import EXAMPLES
from flextier.cli.main import _parser as parser_of
from flextier.client import ledger_setting
from flextier.costs import Ledger
from tests.langchain.bills import assert_adds_up

HAS_LLAMA_INDEX = find_spec("llama_index") is not None


@pytest.fixture(autouse=True)
def temporary_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo leaves behind goes with the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LlamaIndex's agents ask for __fields__
def test_the_demo_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Through an outage, refusals and stalls all is answered, and nothing is uncounted."""
    weather = "outage=0.1-3,slots=8,refuse=0.2,stall=0.02"
    status = main(["demo", "--topics", "16", "--weather", weather, "--seed", "7"])

    printed = capsys.readouterr().out
    assert status == 0
    assert "Simulated" in printed
    assert "refused" in printed
    parts = 2 if HAS_LLAMA_INDEX else 1
    assert printed.count("nothing lost") == parts
    rows = (r"(\d+) requests", r"simulator counted (\d+)", r"(\d+) stalled \(")
    sent, counted, stalled = ([int(x) for x in re.findall(row, printed)] for row in rows)
    assert len(sent) == parts
    compared = dict(re.findall(r"^(.+?) {2,}\d+ +\d+ +(\d+) ", printed, re.MULTILINE))
    assert compared['ChatOpenAI(service_tier="flex")'] != "0"
    assert compared["ChatOpenAIFlex"] == "0"
    on_flex = re.search(r"^16 questions, 16 calls: (\d+) on flex", printed, re.MULTILINE)
    assert on_flex is not None
    assert int(on_flex[1]) >= 15
    # On a busy machine an attempt may time out before the simulator has read it.
    for requests, seen, timed_out in zip(sent, counted, stalled, strict=True):
        assert requests - timed_out <= seen <= requests


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.exhaustive
def test_the_demos_costs_are_what_was_billed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last table, the ledger and the page have every token and dollar of the simulator's."""
    made = []

    class Watched(flextier.sim.Simulator):
        def __init__(self, **arguments: object) -> None:
            super().__init__(**arguments)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(flextier.sim, "Simulator", Watched)
    page, weather = tmp_path / "costs.html", "outage=0-1.5,slots=6,refuse=0.2,stall=0.02"
    monkeypatch.setattr(ledger_setting, "is_read", False)
    monkeypatch.setenv("FLEXTIER_LEDGER", str(tmp_path / "for-real-calls.db"))
    assert main(["demo", "--topics", "20", "--weather", weather, "--report", str(page)]) == 0
    assert not (tmp_path / "for-real-calls.db").exists()

    printed = capsys.readouterr().out
    file = printed.partition("Ledger of all calls: ")[2].strip()
    with Ledger(file, readonly=True) as ledger:
        totals = ledger.totals()
        frameworks = {record.framework for record in ledger.records()}
    billed = {"o4-mini": made[0].stats()["billed"]["o4-mini"]}  # and not the embeddings
    assert_adds_up(totals, SimpleNamespace(stats=lambda: {"billed": billed}))  # type: ignore[arg-type]
    assert str(totals) in printed
    tags = {"LangChain", "LlamaIndex"} if HAS_LLAMA_INDEX else {"LangChain"}
    assert set(totals.by_tag) == tags
    assert frameworks == ({"langchain", "llama-index"} if HAS_LLAMA_INDEX else {"langchain"})
    assert f"HTML report: {page}\n" in printed
    shown = page.read_text(encoding="utf-8")
    assert all(tag in shown for tag in tags)


@pytest.mark.parametrize(("missing", "ledgers"), [("sqlalchemy", 0), ("altair", 1)])
@pytest.mark.exhaustive
def test_the_demo_goes_on_without_ledger_or_report(
    missing: str, ledgers: int, tmp_path: Path
) -> None:
    """The cost table needs no extra of its own; one line says what the page needs."""
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from flextier.cli import main; sys.exit(main(['demo', '--topics', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = f'No HTML report: {missing} is not installed. pip install "flextier[report]"'
    assert line in done.stdout.splitlines()
    assert re.search(r"^all +\d+ ", done.stdout, re.MULTILINE)
    assert len(list(tmp_path.glob("flextier-demo-*/flextier.db"))) == ledgers
    assert done.stdout.count("Ledger of all calls: ") == ledgers


@pytest.mark.skipif(not HAS_LLAMA_INDEX, reason="LlamaIndex is not installed: it takes openai<3")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_demos_llama_index(capsys: pytest.CaptureFixture[str]) -> None:
    """A query engine and an agent, each of whose calls is in the table."""
    assert main(["demo", "--topics", "2", "--weather", ""]) == 0

    printed = capsys.readouterr().out
    # Two queries of one call; an agent's two steps, and the query of one of its tools.
    assert "LlamaIndex: 3 questions" in printed
    assert "3 questions, 5 calls: 5 on flex; nothing lost" in printed


@pytest.mark.exhaustive
def test_the_demo_goes_on_without_llama_index() -> None:
    """What is missing for LlamaIndex's part is said in one line, and all else is done."""
    code = (
        "import sys; sys.modules['llama_index'] = None\n"
        "from flextier.cli import main; sys.exit(main(['demo', '--topics', '1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "nothing lost" in done.stdout
    assert re.search(r"\nLlamaIndex is skipped: .+flextier\[llama-index\]\"\n", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--live"], "OPENAI_API_KEY"),
        (["--topics", "0"], "--topics"),
        (["--concurrency", "-1"], "--concurrency"),
        (["--weather", "hail=3"], "hail"),
        (["--report", "no-such-folder/costs.html"], "--report no-such-folder"),
    ],
)
def test_what_the_demo_cannot_do(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Bad options end with status 2 and a line that names them; no file is left."""
    assert main(["demo", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


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
        "assert not {'langchain_core', 'llama_index', 'uvicorn', 'starlette'} & set(sys.modules)"
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
    [("langchain_openai", "langchain"), ("rich", "langchain,sim"), ("uvicorn", "sim")],
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


@pytest.mark.parametrize("command", EXAMPLES)
def test_the_help_of_a_command(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fits a terminal of 80 columns, and ends with an example that is understood."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].strip() == f"flextier {EXAMPLES[command]}"
    assert max(map(len, lines[:-1])) <= 80
    arguments = shlex.split(EXAMPLES[command])
    assert parser_of(arguments).parse_args(arguments).command == command
