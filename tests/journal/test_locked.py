"""Journals that another process holds locked, and files that are damaged."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, report_of, track
from flextier.journal import Journal, JournalError, call_entry
from flextier.journal.open_journals import journal_at
from flextier.journal.reader import JournalReader
from flextier.sim import Simulator

ASK = {"model": "o3", "input": "Name a colour."}
LOCKED = r"calls\.db .*is locked by another process: end what has a transaction open"


def client(kind: Any, sim: Simulator, path: str, **fields: Any) -> Any:
    policy = FlexPolicy(journal=path, **fields)
    return kind(api_key="sk-test", base_url=sim.base_url, policy=policy)


@contextmanager
def locked(path: str) -> Iterator[sqlite3.Connection]:
    """The lock that a SQLite shell holds within a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


@pytest.fixture(params=["open", "new to the process"])
def made(request: Any, path: str, sim: Simulator) -> str:
    """A journal, which this process has in use or not."""
    if request.param == "open":
        with client(FlexOpenAI, sim, path) as first:
            first.responses.create(model="o3", input="Before.")
    else:
        Journal(path).close()
    return path


def test_a_sync_call_ends_at_its_deadline(made: str, sim: Simulator) -> None:
    """The error names the file and what to do; nothing was sent."""
    before = sim.paid()["payments"]
    with client(FlexOpenAI, sim, made, deadline=0.5) as ours, locked(made):
        begun = time.monotonic()
        with pytest.raises(JournalError, match=LOCKED) as caught:
            ours.responses.create(**ASK)
        assert 0.4 < time.monotonic() - begun < 5
    report = report_of(caught.value)
    assert report is not None
    assert report.attempts == ()
    assert sim.paid()["payments"] == before


async def test_the_event_loop_goes_on(made: str, sim: Simulator) -> None:
    """Async calls wait for the lock in the loop, not instead of it, until their deadlines."""
    pauses: list[float] = []

    async def tick() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            pauses.append(time.monotonic() - before)

    async with client(AsyncFlexOpenAI, sim, made, deadline=1.0) as ours:
        with locked(made):
            ticking = asyncio.create_task(tick())
            calls = (ours.responses.create(**ASK) for _ in range(10))
            errors = await asyncio.gather(*calls, return_exceptions=True)
            ticking.cancel()
    assert {type(error).__base__ for error in errors} == {JournalError}
    # Ten calls that block until their deadlines would take ten seconds of it, in one pause each.
    assert max(pauses) < 0.9
    assert len(pauses) > 10


@pytest.mark.parametrize("kind", [FlexOpenAI, AsyncFlexOpenAI])
async def test_a_lock_that_ends(kind: Any, made: str, sim: Simulator) -> None:
    """The call is sent once the other process is done."""
    ours = client(kind, sim, made)
    with locked(made) as other, track() as calls:
        timer = threading.Timer(0.3, other.execute, ("COMMIT",))
        timer.start()
        answer = ours.responses.create(**ASK)
        if kind is AsyncFlexOpenAI:
            answer = await answer
        timer.join()
    assert answer.output_text
    assert calls[0].lane == "flex"
    if kind is AsyncFlexOpenAI:
        await ours.close()
    else:
        ours.close()
    with client(FlexOpenAI, sim, made) as again, track() as calls:
        journal_at(made).restart_counts()
        assert again.responses.create(**ASK).output_text == answer.output_text
    assert calls[0].lane == "journal"


def test_a_response_that_cannot_be_written_yet(path: str, sim: Simulator) -> None:
    """The caller gets it at once; it is written when the lock is free."""
    held: list[sqlite3.Connection] = []

    def lock(*_: Any) -> None:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        held.append(other)

    with client(FlexOpenAI, sim, path, deadline=60) as ours:
        ours.responses.with_raw_response.create(**ASK | {"input": "Before."})
        ours._client.event_hooks = {"response": [lock]}
        begun = time.monotonic()
        assert ours.responses.create(**ASK).output_text
        assert time.monotonic() - begun < 5
        ours._client.event_hooks = {"response": []}
        with JournalReader(path) as reader:
            assert reader.counts()["done"] == 1
        (writer,) = (t for t in threading.enumerate() if t.name == "flextier-journal")
        held[0].execute("COMMIT")
        held[0].close()
        writer.join()
        with JournalReader(path) as reader:
            assert reader.counts() == {"asked": 0, "batched": 0, "background": 0, "done": 2}


def test_a_lock_that_does_not_end(
    path: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a deadline, a call waits for a limited time; those after it for less."""
    monkeypatch.setattr(call_entry, "_FIRST_LOCK_WAIT", 0.5)
    monkeypatch.setattr(call_entry, "_NEXT_LOCK_WAIT", 0.0)
    Journal(path).close()
    with client(FlexOpenAI, sim, path) as ours, locked(path):
        for longest in (5.0, 0.4):
            begun = time.monotonic()
            with pytest.raises(JournalError, match=LOCKED):
                ours.responses.create(**ASK)
            assert time.monotonic() - begun < longest


# --- damaged files ----------------------------------------------------------------------------


def corrupt(path: str, keep: int) -> None:
    """Overwrite all but the first bytes of a file."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:keep] + b"\xff" * (len(content) - keep))


@pytest.mark.parametrize("keep", [0, 100], ids=["its header", "its pages"])
@pytest.mark.parametrize("opened", [Journal, JournalReader])
def test_a_damaged_journal(keep: int, opened: Any, path: str) -> None:
    """The error names the file, and says that moving it away helps."""
    Journal(path).close()
    corrupt(path, keep)
    with pytest.raises(JournalError, match=r"calls\.db .*is damaged.*: move it") as caught:
        opened(path)
    assert isinstance(caught.value, openai.OpenAIError)


@pytest.mark.parametrize("answer", [b"\0\xff", zlib.compress(b"{"), zlib.compress(b'"\xff"')])
def test_a_damaged_response_is_not_exported(answer: bytes, path: str, sim: Simulator) -> None:
    """The error is the journal's, and names it."""
    with client(FlexOpenAI, sim, path) as ours:
        ours.responses.create(**ASK)
    journal_at(path)._connection.execute("UPDATE calls SET answer = ?", (answer,))
    with pytest.raises(JournalError, match=r"calls\.db .*is damaged.*: move it"):
        journal_at(path).export(io.StringIO())


def test_a_damaged_response(path: str, sim: Simulator) -> None:
    """SQLite has no checksums of its own; the stored response has one."""
    with client(FlexOpenAI, sim, path) as ours:
        ours.responses.create(**ASK)
        journal = journal_at(path)
        journal._connection.execute("UPDATE calls SET answer = x'00ff'")
        journal.restart_counts()
        with pytest.raises(JournalError, match="is damaged"):
            ours.responses.create(**ASK)
