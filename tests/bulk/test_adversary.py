"""Runs that met trouble: restarts among equal rows, answers that fail, rows that swallow errors."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier.bulk import BulkError, StorageError, run
from flextier.bulk.checkpoint_db import CheckpointDB
from flextier.sim import BatchWeather, Fault, Simulator, Weather
from tests.bulk.helpers import (
    COMMAND,
    RECORDS_SIGNALS,
    ended,
    interrupted,
    read_csv,
    read_jsonl,
    started,
    upper,
    write_jsonl,
)

ROWS = [{"id": number, "text": "the same"} for number in range(6)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six rows that ask the same."""
    return write_jsonl(tmp_path / "in.jsonl", ROWS)


def asking(simulator: Simulator, **policy: Any) -> AsyncFlexOpenAI:
    """A client of the simulator."""
    chosen = FlexPolicy(**policy) if policy else None
    return AsyncFlexOpenAI(base_url=simulator.base_url, api_key="bulk", policy=chosen)


async def sample(client: AsyncFlexOpenAI, text: str = "the same") -> str:
    """The id of an answer, which no other has."""
    return (await client.responses.create(model="o4-mini", input=text)).id


def as_another_process() -> None:
    """Forget the journals that this process has open, as the next process would."""
    from flextier.journal import open_journals

    for opened in list(open_journals._OPEN.values()):
        opened.close()
    open_journals._OPEN.clear()


@pytest.mark.parametrize("restart", [as_another_process, lambda: None], ids=["other", "same"])
def test_equal_rows_get_answers_of_their_own(
    restart: Callable[[], None], source: Path, tmp_path: Path, flextier_sim: Simulator
) -> None:
    """Rows that are left over are not given the answers of rows that were finished before."""
    client, output = asking(flextier_sim), tmp_path / "out.jsonl"

    async def ask(row: dict[str, Any]) -> str:
        if row["id"] == 3 and not output.with_name("go").exists():
            signal.raise_signal(signal.SIGINT)
        return await sample(client)

    first = run(ask, source, output, concurrency=1)
    assert 0 < first.done < 6
    restart()
    (tmp_path / "go").touch()
    assert run(ask, source, output, concurrency=1).done == 6
    assert len({row["output"] for row in read_jsonl(output)}) == 6
    assert len(flextier_sim.requests) == 6
    with sqlite3.connect(tmp_path / "out.jsonl.run" / "journal.db") as journal:
        assert journal.execute("SELECT count(*) FROM calls").fetchone() == (0,)
    journal.close()


@pytest.mark.parametrize("restart", [as_another_process, lambda: None], ids=["other", "same"])
def test_an_answer_that_fails_is_not_given_again(
    restart: Callable[[], None], tmp_path: Path, flextier_sim: Simulator
) -> None:
    """With retry_errors, only the row's last answer is requested again."""
    client, output = asking(flextier_sim), tmp_path / "out.jsonl"
    bad: list[str] = []

    async def parse(row: dict[str, Any]) -> list[str]:
        answers = [await sample(client, "plan"), await sample(client, "answer")]
        if not bad:
            bad.extend(answers)
            raise ValueError("cannot be parsed")
        return answers

    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:1])
    assert run(parse, source, output).failed == 1
    restart()
    assert run(parse, source, output, retry_errors=True).done == 1
    plan, answer = read_jsonl(output)[0]["output"]
    assert plan == bad[0]
    assert answer != bad[1]
    assert len(flextier_sim.requests) == 3


def test_calls_that_failed_cost_nothing_twice(tmp_path: Path, flextier_sim: Simulator) -> None:
    """A row that failed for a call keeps the answers before it, in the same process, too."""
    client, output = asking(flextier_sim), tmp_path / "out.jsonl"
    flextier_sim.script(Fault.serve(), Fault.status(400))

    async def ask(row: dict[str, Any]) -> str:
        return await sample(client, "plan") + await sample(client, "answer")

    source = write_jsonl(tmp_path / "in.jsonl", ROWS[:1])
    assert run(ask, source, output).failed == 1
    assert run(ask, source, output, retry_errors=True).done == 1
    assert len(flextier_sim.requests) == 3


def test_a_state_that_was_removed(source: Path, tmp_path: Path, flextier_sim: Simulator) -> None:
    """The next run of the process has a journal that is there, not the one that was removed."""
    client = asking(flextier_sim)

    async def ask(row: dict[str, Any]) -> str:
        return await sample(client)

    for _ in range(2):
        run(ask, source, tmp_path / "out.jsonl", overwrite=True)
        state = tmp_path / "out.jsonl.run"
        assert (state / "journal.db").is_file()
        for path in state.iterdir():
            path.unlink()
        state.rmdir()


@pytest.mark.parametrize("how", ["default", "other error"])
def test_a_row_that_swallows_the_end(
    how: str, source: Path, tmp_path: Path, flextier_sim: Simulator
) -> None:
    """What a row returns after the run has detached its call is not kept as its output."""
    flextier_sim.weather = Weather(batch=BatchWeather(seconds=0.3))
    client = asking(flextier_sim, lanes=("batch",), batch_window=0.05, batch_poll_interval=0.05)
    output = tmp_path / "out.jsonl"

    async def ask(row: dict[str, Any]) -> str:
        if row["id"] == 5 and not (tmp_path / "go").exists():
            signal.raise_signal(signal.SIGINT)
        try:
            return await sample(client, str(row["id"]))
        except Exception:  # noqa: BLE001 - as many programs do
            if how == "default":
                return "failed"
            raise KeyError("mine") from None

    first = run(ask, source, output)
    assert (first.done, first.failed, first.pending) == (0, 0, 6)
    (tmp_path / "go").touch()
    assert run(ask, source, output).done == 6
    assert len({row["output"] for row in read_jsonl(output)}) == 6
    assert flextier_sim.paid()["twice"] == []


def test_a_row_that_swallows_the_budget(
    source: Path, tmp_path: Path, flextier_sim: Simulator
) -> None:
    """A row whose call was not made, for the budget, is pending, whatever it answers."""
    client = asking(flextier_sim)

    async def ask(row: dict[str, Any]) -> str:
        try:
            return await sample(client) + await sample(client)
        except Exception:  # noqa: BLE001 - as many programs do
            return "failed"

    first = run(ask, source, tmp_path / "out.jsonl", concurrency=1, budget="0.0000001")
    assert (first.done, first.pending, first.stopped) == (0, 6, "budget")


def test_a_reader_that_goes_away(source: Path, tmp_path: Path) -> None:
    """Standard output is a pipe that ended, or closed: the run has its rows and its status."""
    (tmp_path / "adversary_work.py").write_text("async def f(row): return 1\n")
    child = started(tmp_path, "adversary_work:f", "in.jsonl", "out.jsonl", "--json")
    assert child.stdout is not None
    child.stdout.close()
    child.stdout = None
    status, _, err = ended(child)
    assert (status, err) == (0, "")
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 6
    for more in ("--json", "--with-cost"):
        arguments = [*COMMAND, "run", "adversary_work:f", "in.jsonl", f"out{more}.jsonl", more]
        shell = ["sh", "-c", 'exec "$@" >&-', "sh", *arguments]
        assert subprocess.run(shell, cwd=tmp_path, check=False).returncode == 0


def test_a_progress_that_raises(source: Path, tmp_path: Path) -> None:
    """It is not called again, a warning says so, and the output is written."""

    def progress(_: Any) -> None:
        raise ValueError("mine")

    with pytest.warns(UserWarning, match="progress callback raised"):
        result = run(upper, source, tmp_path / "out.jsonl", progress=progress)
    assert result.output is not None


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_row_that_blocks_the_loop(tmp_path: Path, source: Path) -> None:
    """The third Ctrl-C ends the process: a blocked loop cannot handle the first two."""
    (tmp_path / "adversary_blocks.py").write_text(
        RECORDS_SIGNALS + "import pathlib, time\n\nasync def f(row):\n"
        "    pathlib.Path('begun').touch()\n    time.sleep(100)\n"
    )
    child = started(tmp_path, "adversary_blocks:f", "in.jsonl", "out.jsonl", "--concurrency", "1")
    while not (tmp_path / "begun").exists():
        assert child.poll() is None
        time.sleep(0.01)
    for _ in range(2):
        interrupted(child, tmp_path)
    child.send_signal(signal.SIGINT)
    assert ended(child)[0] == 130


def test_parquet_of_any_json(tmp_path: Path) -> None:
    """Half a surrogate pair, and integers that no double represents exactly, can be written."""
    rows = ['{"n": 1152921504606846977, "text": "\\ud83d", "m": 9007199254740993}']
    source = write_jsonl(tmp_path / "in.jsonl", [*rows, '{"n": 0.5, "text": "é", "m": 1}'])
    run(upper, source, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["text"].to_pylist() == ["\\ud83d", "é"]
    assert table["n"].to_pylist() == ["1152921504606846977", "0.5"]
    assert table["m"].to_pylist() == [9007199254740993, 1]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[("a", date(2026, 1, 1)), ("b", None)]], pa.map_(pa.string(), pa.date32())),
        pa.array([b"\x00\xff"], pa.binary_view()),
        pa.ExtensionArray.from_storage(
            pa.uuid(), pa.array([uuid.UUID(int=7).bytes], pa.binary(16))
        ),
    ],
    ids=["map", "binary_view", "uuid"],
)
def test_parquet_of_rare_types(column: Any, tmp_path: Path) -> None:
    """They come out as they went in."""
    table = pa.table({"text": ["a"], "c": column})
    pq.write_table(table, tmp_path / "in.parquet")
    run(upper, tmp_path / "in.parquet", tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet", columns=["text", "c"])
    assert written.to_pylist() == table.to_pylist()
    assert written.schema.types == table.schema.types


def test_parquet_with_a_name_twice(tmp_path: Path) -> None:
    """It is refused, as a row could only hold one of the columns."""
    pq.write_table(pa.table([[1], [2]], ["a", "a"]), tmp_path / "in.parquet")
    with pytest.raises(BulkError, match="two columns are called 'a'"):
        run(upper, tmp_path / "in.parquet", tmp_path / "out.parquet")


def test_csv_with_a_lone_carriage_return(tmp_path: Path) -> None:
    """It is quoted: readers would take it for the end of a record."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a\rb"}])
    run(upper, source, tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv") == [{"text": "a\rb", "output": "A\rB"}]
    assert (tmp_path / "out.csv").read_bytes() == b'text,output\n"a\rb","A\rB"\n'


def test_errors_that_have_no_place(source: Path, tmp_path: Path) -> None:
    """A missing output directory is reported before any request is sent."""
    with pytest.raises(BulkError, match=r"--errors.*no directory"):
        run(upper, source, tmp_path / "out.jsonl", errors=tmp_path / "no" / "errors.jsonl")
    assert not (tmp_path / "out.jsonl.run").exists()


DAMAGES = {
    "a line of the output": "UPDATE rows SET line_json = CAST(x'22ff22' AS TEXT)",
    "the settings": "UPDATE meta SET value = '{' WHERE name = 'settings'",
    "no settings": "DELETE FROM meta WHERE name = 'settings'",
    "the totals": "UPDATE meta SET value = '{}' WHERE name = 'totals'",
    "the schema": "PRAGMA writable_schema = on;"
    "UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT) WHERE name = 'rows'",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_state_whose_contents_are_broken(damage: str, source: Path, tmp_path: Path) -> None:
    """Wherever it is noticed, the error names the database, and says what to do."""
    output = tmp_path / "out.jsonl"
    run(upper, source, output)
    output.unlink()
    with contextlib.closing(sqlite3.connect(tmp_path / "out.jsonl.run" / "rows.db")) as database:
        database.executescript(damage)
    with pytest.raises(StorageError, match=r"rows\.db is damaged.*: move .*out\.jsonl\.run away"):
        run(upper, source, output)


def test_a_state_that_is_broken(source: Path, tmp_path: Path) -> None:
    """The error is the run's own, and names the state."""
    output = tmp_path / "out.jsonl"
    run(upper, source, output)
    state = tmp_path / "out.jsonl.run"
    CheckpointDB(state / "rows.db").close()
    content = (state / "rows.db").read_bytes()
    (state / "rows.db").write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(StorageError, match=r"rows\.db is damaged.*: move .*out\.jsonl\.run away"):
        run(upper, source, output)
    state.rename(tmp_path / "away")
    assert run(upper, source, output, overwrite=True).pending == 0
    (state / "lock").unlink()
    (state / "lock").mkdir()
    with pytest.raises(StorageError, match="lock cannot be opened"):
        run(upper, source, output)
