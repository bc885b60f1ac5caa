"""``flextier run`` as a process: what it prints, signals, and what it cannot do."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen, run

import pytest

from flextier.cli import main
from flextier.sim import Simulator
from tests.bulk.helpers import (
    COMMAND,
    RECORDS_SIGNALS,
    ended,
    interrupted,
    read_jsonl,
    started,
    write_jsonl,
)

WORK = (
    RECORDS_SIGNALS
    + """
import asyncio, os, pathlib, time

async def upper(row):
    return row["text"].upper()

def make():
    return upper

def slow(row):
    pathlib.Path(f"begun-{row['text']}").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.001)
    return row["text"].upper()

async def fails(row):
    raise ValueError("no")

number = 3
"""
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with something to run, and 20 rows."""
    (tmp_path / "bulk_work.py").write_text(WORK)
    (tmp_path / "bulk_broken.py").write_text("import no_such_module")
    write_jsonl(tmp_path / "in.jsonl", ({"text": f"row {n}"} for n in range(20)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    for name in ("bulk_work", "bulk_broken"):
        sys.modules.pop(name, None)
    return tmp_path


def test_a_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it came to; the same again says that nothing is left."""
    assert main(["run", "bulk_work:make()", "in.jsonl", "out.jsonl"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("20 of 20 rows done in ")
    assert captured.err == ""
    assert read_jsonl(place / "out.jsonl")[19] == {"text": "row 19", "output": "ROW 19"}
    assert main(["run", "bulk_work:make()", "in.jsonl", "out.jsonl"]) == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_failed_rows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, and where they are."""
    assert main(["run", "bulk_work:fails", "in.jsonl", "out.jsonl"]) == 1
    assert f"20 rows failed: {place / 'out.jsonl.errors.jsonl'}" in capsys.readouterr().out


def test_for_machines(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line is JSON, the last one the result."""
    assert main(["run", "bulk_work:upper", "in.jsonl", "out.jsonl", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "progress"
    assert (events[-1]["event"], events[-1]["done"]) == ("result", 20)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bulk_work", "in.jsonl", "out.jsonl"], "MODULE:NAME"),
        (["bulk_nothing:x", "in.jsonl", "out.jsonl"], "no module 'bulk_nothing'"),
        (["bulk_broken:x", "in.jsonl", "out.jsonl"], "needs 'no_such_module'"),
        (["bulk_work:nothing", "in.jsonl", "out.jsonl"], "has no 'nothing'"),
        (["bulk_work:number", "in.jsonl", "out.jsonl"], "a int cannot be run"),
        (["bulk_work:fails()", "in.jsonl", "out.jsonl"], "raised TypeError"),
        (["bulk_work:upper", "none.jsonl", "out.jsonl"], "none.jsonl: no such file"),
        (["bulk_work:upper", "in.jsonl", "no/out.jsonl"], "there is no directory"),
        (["bulk_work:upper", "in.jsonl", "out.jsonl", "--deadline", "soon"], "--deadline|deadline"),
        (["bulk_work:upper", "in.jsonl", "out.jsonl", "--deadline", "06:00"], "go into until"),
        (["bulk_work:upper", "in.jsonl", "out.jsonl", "--until", "6h"], "until (--until)"),
        (["bulk_work:upper", "in.jsonl", "out.jsonl", "--lanes", "warp"], "warp"),
        (["bulk_work:upper", "in.jsonl", "out.jsonl", "--key", "id"], "--key"),
    ],
)
def test_what_it_cannot_do(
    arguments: list[str], words: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and a line that names what to change."""
    assert main(["run", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("flextier run: ")
    assert any(word in said for word in words.split("|"))


def _wait_for(child: Popen[str], path: Path) -> None:
    while not path.exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_once(number: signal.Signals, place: Path) -> None:
    """Rows under way are finished and kept, no new one is begun; the same again does the rest."""
    command = ("bulk_work:slow", "in.jsonl", "out.jsonl", "--concurrency", "2")
    child = started(place, *command)
    _wait_for(child, place / "begun-row 0")
    _wait_for(child, place / "begun-row 1")
    interrupted(child, place, number)
    (place / "go").touch()
    status, out, err = ended(child)
    assert (status, err) == (130, "")
    assert "interrupted: " in out
    assert not (place / "out.jsonl").exists()
    assert len(list(place.glob("begun-*"))) < 20
    status, out, _ = ended(started(place, *command, "--json"))
    assert status == 0
    printed = json.loads(out.splitlines()[-1])
    assert printed["resumed"] >= 2
    assert printed["done"] == 20
    assert [row["output"] for row in read_jsonl(place / "out.jsonl")][:2] == ["ROW 0", "ROW 1"]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_interrupted_twice(place: Path) -> None:
    """It ends at once, whatever the rows under way wait for."""
    child = started(place, "bulk_work:slow", "in.jsonl", "out.jsonl", "--concurrency", "2")
    _wait_for(child, place / "begun-row 0")
    interrupted(child, place)
    child.send_signal(signal.SIGINT)
    status, out, err = ended(child)
    assert (status, err) == (130, "")
    assert "20 rows are pending" in out


def test_calls_of_the_run(place: Path, flextier_sim: Simulator) -> None:
    """The command's own process makes the calls, and says what they cost."""
    (place / "bulk_calls.py").write_text(
        "from flextier.langchain import ChatOpenAIFlex\nllm = ChatOpenAIFlex(model='o4-mini')\n"
    )
    status, out, err = ended(
        started(
            place,
            *("bulk_calls:llm", "in.jsonl", "out.csv", "--with-cost", "--budget", "5"),
            OPENAI_BASE_URL=flextier_sim.base_url,
            OPENAI_API_KEY="bulk",
        )
    )
    assert status == 0, err
    assert "20 calls (flex 20), 0 refusals" in out
    assert "flex     20" in out
    assert flextier_sim.stats()["billed"]["o4-mini"]


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("stdout", ["a closed pipe", "a full disk"])
def test_a_standard_output_that_cannot_be_written(
    stdout: str, options: list[str], place: Path
) -> None:
    """The run goes on, and ends without a traceback."""
    if stdout == "a full disk":
        if not os.path.exists("/dev/full"):
            pytest.skip("the system has no /dev/full")
        writing = os.open("/dev/full", os.O_WRONLY)
    else:
        reading, writing = os.pipe()
        os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as file:
        command = [*COMMAND, "run", "bulk_work:upper", "in.jsonl", "out.jsonl", *options]
        done = run(command, cwd=place, stdout=file, stderr=PIPE, text=True, check=False)
    assert (done.returncode, len(read_jsonl(place / "out.jsonl"))) == (0, 20)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
