"""What a run does with rows: keys, errors, resuming, order, columns."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

from flextier.bulk import BulkError, InUseError, Progress, arun, run, worker
from flextier.bulk.checkpoint_db import CheckpointDB
from flextier.bulk.state_dir import locked
from tests.bulk.helpers import read_jsonl, upper, write_jsonl


class Counting:
    """Answers in capitals and records the rows it gets; raises for the texts in ``failing``."""

    def __init__(self, *failing: str) -> None:
        self.asked: list[str] = []
        self.failing = set(failing)

    async def __call__(self, row: dict[str, Any]) -> str:
        """Answer a row."""
        self.asked.append(row["text"])
        await asyncio.sleep(0)
        if row["text"] in self.failing:
            raise KeyError(row["text"])
        return str(row["text"]).upper()


def texts(*names: str) -> list[dict[str, Any]]:
    """Rows with an id and a text."""
    return [{"id": number, "text": name} for number, name in enumerate(names)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three rows."""
    return write_jsonl(tmp_path / "in.jsonl", texts("a", "b", "c"))


def outputs(path: Path) -> list[Any]:
    """The answers of an output."""
    return [row["output"] for row in read_jsonl(path)]


def test_a_failed_row_is_no_end(source: Path, tmp_path: Path) -> None:
    """It is in the errors file with its reason, and the others are done."""
    result = run(Counting("b"), source, tmp_path / "out.jsonl", key="id")
    assert (result.done, result.failed, result.exit_status) == (2, 1, 1)
    assert outputs(tmp_path / "out.jsonl") == ["A", "C"]
    assert read_jsonl(tmp_path / "out.jsonl.errors.jsonl") == [
        {
            "line": 2,
            "key": 1,
            "error": {"type": "KeyError", "message": "'b'"},
            "row": {"id": 1, "text": "b"},
        }
    ]


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError(), StopAsyncIteration()])
def test_whatever_a_row_raises(error: BaseException, source: Path, tmp_path: Path) -> None:
    """Even what ends a program ends no run."""

    async def fails(row: dict[str, Any]) -> str:
        if row["text"] == "b":
            raise error
        return "fine"

    result = run(fails, source, tmp_path / "out.jsonl")
    assert (result.done, result.failed) == (2, 1)


def test_answers_that_cannot_be_json(source: Path, tmp_path: Path) -> None:
    """They are errors of their rows."""

    async def strange(row: dict[str, Any]) -> Any:
        return object() if row["text"] == "b" else 1

    result = run(strange, source, tmp_path / "out.jsonl")
    assert (result.done, result.failed) == (2, 1)
    assert result.errors is not None
    assert "object cannot be written as JSON" in read_jsonl(result.errors)[0]["error"]["message"]


def test_the_same_again_does_nothing(source: Path, tmp_path: Path) -> None:
    """All is done: no call, the same counts; also with errors, unless they are to be retried."""
    ask, output = Counting("b"), tmp_path / "out.jsonl"
    run(ask, source, output)
    before = output.stat().st_mtime_ns
    again = run(ask, source, output)
    assert (again.rows, again.done, again.failed, again.resumed) == (3, 2, 1, 3)
    assert len(ask.asked) == 3
    assert output.stat().st_mtime_ns == before

    ask.failing.clear()
    retried = run(ask, source, output, retry_errors=True)
    assert (retried.done, retried.failed, retried.resumed) == (3, 0, 2)
    assert ask.asked == ["a", "b", "c", "b"]
    assert outputs(output) == ["A", "B", "C"]
    assert not (tmp_path / "out.jsonl.errors.jsonl").exists()


def test_an_output_that_is_gone_is_written_again(source: Path, tmp_path: Path) -> None:
    """Without a call, and in another order where that is wanted."""
    ask, output = Counting(), tmp_path / "out.jsonl"
    run(ask, source, output)
    output.unlink()
    assert run(ask, source, output).done == 3
    assert run(ask, source, output, order="done").done == 3
    assert outputs(output) == ["A", "B", "C"]
    assert len(ask.asked) == 3


def test_changed_rows_are_run_again(source: Path, tmp_path: Path) -> None:
    """Without a key, a row is known by its line; rows that are gone are gone from the output."""
    ask, output = Counting(), tmp_path / "out.jsonl"
    run(ask, source, output)
    write_jsonl(source, texts("a", "changed"))
    result = run(ask, source, output)
    assert (result.rows, result.done, result.resumed) == (2, 2, 1)
    assert outputs(output) == ["A", "CHANGED"]
    assert ask.asked == ["a", "b", "c", "changed"]


def test_keys_follow_their_rows(source: Path, tmp_path: Path) -> None:
    """Rows in another order, with others between them, are still known; the output follows."""
    ask, output = Counting(), tmp_path / "out.jsonl"
    run(ask, source, output, key="text")
    rows = {row["text"]: row for row in texts("a", "b", "c", "new")}
    write_jsonl(source, [rows[name] for name in ("c", "new", "a")])
    result = run(ask, source, output, key="text")
    assert (result.rows, result.done, result.resumed) == (3, 3, 2)
    assert outputs(output) == ["C", "NEW", "A"]
    assert ask.asked == ["a", "b", "c", "new"]


def test_duplicate_keys(tmp_path: Path) -> None:
    """The second row with a key is an error that names both lines, in whatever chunk it comes."""
    rows: list[dict[str, Any]] = [{"id": 1, "text": "first"}, {"id": 1, "text": "near"}]
    rows += [{"id": number, "text": "x"} for number in range(2, 1500)]
    rows += [{"id": 1, "text": "far"}, {"id": "1", "text": "no number"}, {"text": "none"}]
    source, ask = write_jsonl(tmp_path / "in.jsonl", rows), Counting()
    for _ in range(2):
        result = run(ask, source, tmp_path / "out.jsonl", key="id", concurrency=10)
        assert (result.rows, result.done, result.failed) == (1503, 1500, 3)
        messages = [row["error"]["message"] for row in read_jsonl(result.errors or source)]
        assert messages == [
            "line 2 has the same key 1 as line 1",
            "line 1501 has the same key 1 as line 1",
            "no value in the key column 'id'",
        ]
        (tmp_path / "out.jsonl").unlink()  # so that the next start looks at every row again
    assert len(ask.asked) == 1500


def test_an_output_that_exists(source: Path, tmp_path: Path) -> None:
    """It is not touched, before anything is spent, unless it may be overwritten."""
    ask, output = Counting(), tmp_path / "out.jsonl"
    output.write_text("mine")
    with pytest.raises(BulkError, match="--overwrite"):
        run(ask, source, output)
    assert output.read_text() == "mine"
    assert not ask.asked
    assert run(ask, source, output, overwrite=True).done == 3
    output.write_text("mine again")
    with pytest.raises(BulkError, match="--overwrite"):
        run(ask, source, output)


def test_another_run_of_the_same_output(source: Path, tmp_path: Path) -> None:
    """The error names the option that differs; --overwrite starts again."""
    ask, output = Counting(), tmp_path / "out.jsonl"
    run(ask, source, output)
    with pytest.raises(BulkError, match=r"another run, with key=None.*--overwrite"):
        run(ask, source, output, key="id")
    with pytest.raises(BulkError, match="runnable="):
        run(upper, source, output)
    assert run(ask, source, output, key="id", overwrite=True).resumed == 0
    assert len(ask.asked) == 6


def test_a_mistake_does_not_bind(source: Path, tmp_path: Path) -> None:
    """Options that could not be are forgotten: nothing was done with them."""
    with pytest.raises(BulkError, match="no column 'nr'"):
        run(upper, source, tmp_path / "out.jsonl", key="nr")
    assert run(upper, source, tmp_path / "out.jsonl", key="id").done == 3


def test_two_runs_at_once(source: Path, tmp_path: Path) -> None:
    """The second is refused, and says why."""
    state = tmp_path / "out.jsonl.run"
    state.mkdir()
    with (
        locked(state / "lock", tmp_path / "out.jsonl"),
        pytest.raises(InUseError, match="another run works on"),
    ):
        run(upper, source, tmp_path / "out.jsonl")
    assert run(upper, source, tmp_path / "out.jsonl").done == 3


def test_a_newer_state(source: Path, tmp_path: Path) -> None:
    """A state that a later version made is left alone."""
    state = tmp_path / "out.jsonl.run"
    state.mkdir()
    database = CheckpointDB(state / "rows.db")
    database._db.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(BulkError, match="newer flextier"):
        run(upper, source, tmp_path / "out.jsonl")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_state_is_private(source: Path, tmp_path: Path) -> None:
    """The checkpoint contains answers: only its owner may read it."""
    run(upper, source, tmp_path / "out.jsonl")
    state = tmp_path / "out.jsonl.run"
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in state.iterdir())


def test_as_they_come(tmp_path: Path) -> None:
    """With order="done" the first to finish comes first, and can be read while the run goes on."""
    source = write_jsonl(tmp_path / "in.jsonl", texts("slow", "quick"))
    part = tmp_path / "out.jsonl.part"
    seen = []

    async def ask(row: dict[str, Any]) -> str:
        if row["text"] == "slow":
            while not part.exists() or not part.read_text():
                await asyncio.sleep(0.001)
            seen.extend(outputs(part))
        return str(row["text"])

    run(ask, source, tmp_path / "out.jsonl", order="done")
    assert seen == ["quick"]
    assert outputs(tmp_path / "out.jsonl") == ["quick", "slow"]
    assert not part.exists()


def test_at_most_so_many_at_once(tmp_path: Path) -> None:
    """Rows are begun as others end, with contexts of their own."""
    source = write_jsonl(tmp_path / "in.jsonl", texts(*map(str, range(50))))
    mine: ContextVar[str] = ContextVar("mine", default="")
    now = most = 0

    async def ask(row: dict[str, Any]) -> str:
        nonlocal now, most
        assert mine.get() == ""
        mine.set(row["text"])
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return mine.get()

    result = run(ask, source, tmp_path / "out.jsonl", concurrency=7)
    assert result.failed == 0
    assert most == 7


def test_functions_that_are_not_async(source: Path, tmp_path: Path) -> None:
    """They run in threads, at once; one that returns something to await is awaited."""
    together = threading.Barrier(3)

    def ask(row: dict[str, Any]) -> str:
        together.wait()
        return threading.current_thread().name

    result = run(ask, source, tmp_path / "out.jsonl")
    assert result.done == 3
    assert set(outputs(tmp_path / "out.jsonl")) == {"flextier-bulk"}
    run(lambda row: upper(row), source, tmp_path / "two.jsonl")
    assert outputs(tmp_path / "two.jsonl") == ["A", "B", "C"]


def test_columns(source: Path, tmp_path: Path) -> None:
    """One column in, and a name for the answer."""

    async def ask(text: str) -> str:
        return text.upper()

    output = tmp_path / "out.jsonl"
    run(ask, source, output, input_column="text", output_column="loud")
    assert read_jsonl(output)[0] == {"id": 0, "text": "a", "loud": "A"}
    with pytest.raises(BulkError, match=r"input_column.*no column 'txt'; the columns are: 'id'"):
        run(ask, source, tmp_path / "two.jsonl", input_column="txt")
    with pytest.raises(BulkError, match="has a column 'text' already"):
        run(ask, source, tmp_path / "two.jsonl", output_column="text")
    with pytest.raises(BulkError, match=r"key .*no column 'nr'"):
        run(ask, source, tmp_path / "two.jsonl", key="nr")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"order": "random"}, "order"),
        ({"deadline": "soon"}, "deadline"),
        ({"budget": 0}, "budget"),
        ({"lanes": "flexx"}, "flexx"),
        ({"errors": "in.jsonl"}, "same file"),
    ],
)
def test_options_that_cannot_be(
    options: dict[str, Any], words: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the option, and nothing is left behind."""
    monkeypatch.chdir(source.parent)
    with pytest.raises(ValueError, match=words):
        run(upper, "in.jsonl", "out.jsonl", **options)
    assert [path.name for path in source.parent.iterdir()] == ["in.jsonl"]


def test_what_cannot_be_run(source: Path, tmp_path: Path) -> None:
    """A class, or anything that is not to be called."""
    with pytest.raises(BulkError, match="is a class"):
        run(Counting, source, tmp_path / "out.jsonl")
    with pytest.raises(BulkError, match="a int cannot be run"):
        run(3, source, tmp_path / "out.jsonl")


async def test_in_a_running_loop(source: Path, tmp_path: Path) -> None:
    """arun() is for those; run() says so."""
    with pytest.raises(RuntimeError, match="arun"):
        run(upper, source, tmp_path / "out.jsonl")
    result = await arun(upper, source, tmp_path / "out.jsonl")
    assert result.done == 3


async def test_a_run_that_is_cancelled(source: Path, tmp_path: Path) -> None:
    """What is finished is kept, and the same again goes on."""
    begun = asyncio.Event()

    async def ask(row: dict[str, Any]) -> str:
        if row["text"] == "b":
            begun.set()
            await asyncio.Event().wait()
        return "x"

    task = asyncio.create_task(arun(ask, source, tmp_path / "out.jsonl", concurrency=1))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    result = await arun(ask_x, source, tmp_path / "two.jsonl")
    assert result.done == 3
    state = CheckpointDB(tmp_path / "out.jsonl.run" / "rows.db")
    assert [*state.look_up([1, 2, 3])] == [1]
    state.close()


async def ask_x(row: dict[str, Any]) -> str:
    """Always the same."""
    return "x"


def test_progress(tmp_path: Path) -> None:
    """A progress function receives reports, the last one at the end of the run."""
    source = write_jsonl(tmp_path / "in.jsonl", texts(*map(str, range(700))))
    reports: list[Progress] = []
    run(upper, source, tmp_path / "out.jsonl", progress=reports.append)
    assert (reports[-1].total, reports[-1].done, reports[-1].in_flight) == (700, 700, 0)
    assert reports[-1].eta == 0
    assert reports[-1].to_dict()["done"] == 700


def test_a_bar(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is there when it is asked for; standard output stays clean."""
    run(upper, source, tmp_path / "out.jsonl", progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err != ""  # what rich shows depends on the terminal
    run(upper, source, tmp_path / "two.jsonl")
    assert capsys.readouterr().err == ""


def test_a_link_stays_one(source: Path, tmp_path: Path) -> None:
    """The output that a link points to is replaced, with its mode."""
    real = tmp_path / "real.jsonl"
    real.write_text("")
    real.chmod(0o640)
    link = tmp_path / "out.jsonl"
    link.symlink_to(real)
    run(upper, source, link, overwrite=True)
    assert link.is_symlink()
    assert len(outputs(real)) == 3
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_full_disk(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk no row starts, the error says why, no line is cut, and the run can resume."""
    rows = write_jsonl(tmp_path / "many.jsonl", texts(*(f"{n} " + "x" * 500 for n in range(3000))))
    opened: Callable[[CheckpointDB], None] = CheckpointDB._prepare

    def small(state: CheckpointDB) -> None:
        opened(state)
        state._db.execute("PRAGMA max_page_count = 400")  # SQLite's own "disk full"

    ask, output = Counting(), tmp_path / "out.jsonl"
    monkeypatch.setattr(CheckpointDB, "_prepare", small)
    monkeypatch.setattr(
        worker, "_MAX_BACKLOG", 100
    )  # or a slow disk is only full when all is asked
    with pytest.raises(BulkError, match=r"full.*could not be written"):
        run(ask, rows, output, concurrency=4)
    assert 0 < len(ask.asked) < 3000
    assert not output.exists()
    monkeypatch.undo()
    result = run(ask, rows, output)
    assert (result.done, result.failed) == (3000, 0)
    assert result.resumed > 0
    assert len(outputs(output)) == 3000
