"""The journal in one process: what is remembered, what is not, and files that are no journal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import sqlite3
import stat
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from flextier import (
    AsyncFlexOpenAI,
    FlexDeadlineExceeded,
    FlexOpenAI,
    FlexPolicy,
    PolicyError,
    track,
)
from flextier.journal import Journal, JournalError, JournalWarning, NewerJournalError
from flextier.journal.open_journals import journal_at
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.conftest import forget
from tests.batch.crowd import (
    PATIENT,
    POLICY,
    Crowd,
    aask,
    ask,
    auntil,
    count,
    files,
    options,
    patch_all,
    questions,
    until,
)
from tests.client.callers import Caller

FLEX = POLICY.replace(lanes=("flex", "standard"))


@pytest.mark.parametrize("policy", [POLICY, FLEX], ids=["batch", "flex"])
def test_the_same_again(policy: FlexPolicy, plain: Caller, path: str, sim: Simulator) -> None:
    """Started again, the program has the same answer for nothing, on every kind of call."""
    policy = policy.replace(journal=path)
    first = plain(sim.base_url, policy)
    forget()
    second = plain(sim.base_url, policy)
    assert second.text == first.text
    report = second.report
    assert (report.lane, report.attempts, report.fallback) == ("journal", (), None)
    assert report.served
    assert report.cost.total == 0
    assert sim.paid()["payments"] == 1


def test_a_crowd_again(crowd: Crowd, path: str, sim: Simulator) -> None:
    """Each of many calls gets its own answer again."""
    made = options(sim, PATIENT.replace(journal=path))
    asked = questions(20)
    assert all(one.is_right for one in crowd(made, asked))
    forget()
    said = crowd(made, asked)
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"journal"}
    assert (files(sim), sim.paid()["payments"]) == (1, 20)


@pytest.mark.parametrize("policy", [POLICY, FLEX], ids=["batch", "flex"])
@pytest.mark.parametrize(("repeats", "paid"), [("each", 3), ("once", 1)])
def test_the_same_question_several_times(
    policy: FlexPolicy, repeats: Any, paid: int, path: str, sim: Simulator
) -> None:
    """Each of a run's calls asks for itself; or the first asks for all, one after another."""
    made = options(sim, policy.replace(journal=path, journal_duplicates=repeats))
    for run in range(2):
        with FlexOpenAI(**made) as client:
            said = [ask(client, "What of it?") for _ in range(3)]
        assert all(one.is_right for one in said)
        assert sim.paid()["payments"] == paid
        if run:
            assert {one.report.lane for one in said} == {"journal"}
        forget()


@pytest.mark.parametrize(
    "policy", [PATIENT.replace(batch_window=0.05), FLEX], ids=["batch", "flex"]
)
def test_the_same_question_at_once(policy: FlexPolicy, path: str, sim: Simulator) -> None:
    """Calls that ask the same at the same moment share one request under ``once``."""
    made = options(sim, policy.replace(journal=path, journal_duplicates="once"))
    with FlexOpenAI(**made) as client:
        said: list[Any] = []
        together = [
            threading.Thread(target=lambda: said.append(ask(client, "What of it?")))
            for _ in range(5)
        ]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    assert len(said) == 5
    assert all(one.is_right for one in said)
    assert sim.paid()["payments"] == 1


async def test_who_waits_for_another_may_leave(path: str, sim: Simulator) -> None:
    """Under ``once``, a call that waits and is cancelled does not undo the one that asks."""
    sim.script(Fault.serve(delay=0.6))
    policy = FLEX.replace(journal=path, journal_duplicates="once")
    async with AsyncFlexOpenAI(**options(sim, policy)) as client:
        first = asyncio.ensure_future(aask(client, "What of it?"))
        await auntil(lambda: count(sim, "POST", "/chat/completions") == 1)
        second = asyncio.ensure_future(aask(client, "What of it?"))
        await asyncio.sleep(0.1)
        second.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await second
        third = await aask(client, "What of it?")
        assert (await first).is_right
    assert third.report.lane == "journal"
    assert sim.paid()["payments"] == 1


@pytest.mark.parametrize("lanes", ["standard", "flex,standard"])
async def test_who_waits_for_another_keeps_to_its_deadline(
    lanes: str, path: str, sim: Simulator
) -> None:
    """Under ``once``, a call does not wait past the time that it needs for asking itself."""
    sim.script(Fault.stall(30))
    policy = FLEX.replace(journal=path, journal_duplicates="once", lanes=tuple(lanes.split(",")))
    hurried = policy.replace(deadline=0.6, standard_reserve=0.4)
    async with AsyncFlexOpenAI(**options(sim, policy)) as client:
        first = asyncio.ensure_future(aask(client, "What of it?"))
        await auntil(lambda: count(sim, "POST", "/chat/completions") == 1)
        second = await aask(client.with_options(policy=hurried), "What of it?")
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    if lanes == "standard":
        assert isinstance(second.error, FlexDeadlineExceeded)
    else:
        assert second.is_right


def test_a_call_that_no_lane_takes(path: str, sim: Simulator) -> None:
    """It is refused before anything is sent, and leaves nothing behind in the journal."""
    policy = POLICY.replace(lanes=("batch",), journal=path)
    with (
        FlexOpenAI(**options(sim, policy)) as client,
        pytest.raises(PolicyError, match="carry the header x-mine"),
    ):
        client.responses.create(model="o3", input="What of it?", extra_headers={"x-mine": "1"})
    assert sum(journal_at(path).counts().values()) == 0


def test_what_became_a_batch_while_a_call_waited(path: str, sim: Simulator) -> None:
    """A call on flex that waits for the same on batch takes the batch's answer."""
    sim.weather = Weather(batch=BatchWeather(seconds=1.0))
    slow = POLICY.replace(journal=path, journal_duplicates="once", batch_window=0.6)
    fast = FLEX.replace(journal=path, journal_duplicates="once")
    said: list[Any] = []
    with FlexOpenAI(**options(sim, slow)) as one, FlexOpenAI(**options(sim, fast)) as other:
        thread = threading.Thread(target=lambda: said.append(ask(one, "What of it?")))
        thread.start()
        journal = journal_at(path)
        until(lambda: journal.counts()["asked"] == 1)
        second = ask(other, "What of it?")
        thread.join()
    assert second.is_right
    assert said[0].is_right
    assert sim.paid()["payments"] == 1


def test_a_line_that_was_never_sent(
    path: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that no batch took goes on, and does not wait for itself."""
    patch_all(monkeypatch, "MAX_BYTES", 10)
    with FlexOpenAI(**options(sim, POLICY.replace(journal=path))) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:lane_unsupported", "standard:served"]


def test_a_batch_that_is_denied_for_good(path: str, sim: Simulator) -> None:
    """A call that cannot know what has become of its batch goes on, and not back to it."""
    sim.script(*[Fault.status(403).on(method="GET", path="/batches/{id}")] * 50)
    with FlexOpenAI(**options(sim, POLICY.replace(journal=path))) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:timeout", "standard:served"]
    assert said.report.attempts[0].possibly_billed
    assert journal_at(path).counts() == {"asked": 0, "batched": 0, "background": 0, "done": 1}


def test_a_line_that_no_batch_takes(crowd: Crowd, path: str, sim: Simulator) -> None:
    """It goes to the next lane, and the others to another batch; none of them twice."""
    sim.script_batches(BatchOutcome.fail({"code": "invalid_json_line", "line": 1}))
    made = options(sim, POLICY.replace(journal=path, batch_window=0.2))
    said = crowd(made, questions(4))
    assert all(one.is_right for one in said)
    lanes = sorted(one.lanes[-1] for one in said)
    assert lanes == ["batch:served"] * 3 + ["standard:served"]
    assert (sim.paid()["payments"], sim.paid()["twice"]) == (4, [])


@pytest.mark.parametrize("policy", [POLICY, FLEX], ids=["batch", "flex"])
def test_an_answer_that_the_parser_does_not_take_again(
    policy: FlexPolicy, path: str, sim: Simulator
) -> None:
    """It is paid for once: started again, the parser rejects it for nothing."""

    class Number(BaseModel):
        number: int

    for lane, paid in ((policy.lanes[0], 1), ("journal", 1)):
        forget()
        with (
            FlexOpenAI(**options(sim, policy.replace(journal=path))) as client,
            track() as calls,
            pytest.raises(openai.LengthFinishReasonError),
        ):
            client.chat.completions.parse(
                model="o3",
                messages=[{"role": "user", "content": "What of it?"}],
                response_format=Number,
                max_completion_tokens=1,
            )
        assert (calls[-1].lane, calls[-1].served, calls[-1].error) == (
            lane,
            True,
            "LengthFinishReasonError",
        )
        assert sim.paid()["payments"] == paid
    assert calls[-1].cost.total == 0


def test_the_salt(path: str, sim: Simulator) -> None:
    """Another salt, another answer; the old one again, the old answer."""
    for salt, paid in (("monday", 1), ("tuesday", 2), ("monday", 2)):
        policy = FLEX.replace(journal=path, journal_namespace=salt)
        with FlexOpenAI(**options(sim, policy)) as client:
            assert ask(client, "What of it?").is_right
        assert sim.paid()["payments"] == paid
        forget()


def test_answers_of_some_age(path: str, sim: Simulator) -> None:
    """An answer older than journal_ttl is requested again."""
    policy = FLEX.replace(journal=path, journal_ttl=3600)
    with FlexOpenAI(**options(sim, policy)) as client:
        ask(client, "What of it?")
    forget()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE calls SET at = at - 3500")
    with FlexOpenAI(**options(sim, policy)) as client:
        assert ask(client, "What of it?").report.lane == "journal"
    forget()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE calls SET at = at - 200")
    with FlexOpenAI(**options(sim, policy)) as client:
        assert ask(client, "What of it?").report.lane == "flex"


def test_answers_left_out(crowd: Crowd, path: str, sim: Simulator) -> None:
    """Without answers in it, the journal fetches those of a batch again, and nothing is paid."""
    made = options(sim, PATIENT.replace(journal=path, journal_store_responses=False))
    asked = questions(6)
    crowd(made, asked)
    forget()
    assert b"What of number" not in Path(path).read_bytes()
    said = crowd(made, asked)
    assert all(one.is_right for one in said)
    assert (files(sim), sim.paid()["payments"]) == (1, 6)
    assert count(sim, "GET", "/files/{id}/content") >= 2


def test_failed_calls_are_not_remembered(path: str, sim: Simulator) -> None:
    """An error is no answer: asked again, it is asked again."""
    sim.script(Fault.status(400))
    with FlexOpenAI(**options(sim, FLEX.replace(journal=path))) as client:
        assert ask(client, "What of it?").error is not None
        assert ask(client, "What of it?").is_right
    assert journal_at(path).counts() == {"asked": 0, "batched": 0, "background": 0, "done": 1}


# --- files ------------------------------------------------------------------------------------


def test_only_its_owner_can_read_it(path: str, sim: Simulator) -> None:
    """The file and all that stands beside it are 0600, whatever the umask."""
    before = os.umask(0)
    try:
        with FlexOpenAI(**options(sim, FLEX.replace(journal=path))) as client:
            ask(client, "What of it?")
        beside = sorted(Path(path).parent.iterdir())
        assert [file.name for file in beside] == [
            "calls.db", "calls.db-owners", "calls.db-shm", "calls.db-wal",
        ]  # fmt: skip
        assert {stat.S_IMODE(file.stat().st_mode) for file in beside} == {0o600}
    finally:
        os.umask(before)


def refused(path: str, sim: Simulator, kind: type[Exception] = JournalError) -> str:
    """The message of the error that a call with this journal raises; nothing was sent."""
    made = options(sim, FLEX.replace(journal=path))
    with FlexOpenAI(**made) as client, pytest.raises(kind) as caught:
        _text(client, "So?")
    assert sim.requests == []
    assert path in str(caught.value)
    return str(caught.value)


def test_a_later_version(path: str, sim: Simulator) -> None:
    """A journal of a later flextier is left alone."""
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=3")
    assert "version 3" in refused(path, sim, NewerJournalError)


def test_another_programs_database(path: str, sim: Simulator) -> None:
    """A database of another program is left as it is."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE things (name TEXT)")
    before = Path(path).read_bytes()
    assert "another program" in refused(path, sim)
    assert Path(path).read_bytes() == before


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 5000])
def test_no_database_at_all(content: bytes, path: str, sim: Simulator) -> None:
    """A file that is no database is recognised and left as it is."""
    Path(path).write_bytes(content)
    refused(path, sim)
    assert Path(path).read_bytes() == content


def test_no_such_directory(tmp_path: Path, sim: Simulator) -> None:
    """The path is named."""
    refused(str(tmp_path / "nowhere" / "calls.db"), sim)


def test_a_directory_in_its_place(tmp_path: Path, sim: Simulator) -> None:
    """The path is named."""
    refused(str(tmp_path), sim)


def _text(client: FlexOpenAI, question: str) -> str | None:
    messages: Any = [{"role": "user", "content": question}]
    answer = client.chat.completions.create(model="o3", messages=messages)
    return answer.choices[0].message.content


def fill(connection: Any) -> None:
    """Leave no page, and hardly a byte, for another answer."""
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count={pages}")
    for size in (3000, 1000, 300, 100, 30):
        with contextlib.suppress(sqlite3.OperationalError):
            while True:
                connection.execute(
                    "INSERT INTO calls (key, n, state, owner, answer) "
                    "VALUES (randomblob(16), 1, 'junk', 0, randomblob(?))",
                    (size,),
                )


@pytest.mark.parametrize("policy", [POLICY, FLEX], ids=["batch", "flex"])
def test_a_journal_that_fills_up(policy: FlexPolicy, path: str, sim: Simulator) -> None:
    """An answer that cannot be written is handed over, with a warning; a new call is not made."""
    with FlexOpenAI(**options(sim, policy.replace(journal=path))) as client:
        ask(client, "What of it?")
        journal = journal_at(path)
        collected, answered = journal.collected, journal.answered

        def full(write: Any) -> Any:
            def then(*args: Any, **kwargs: Any) -> None:
                fill(journal._connection)
                write(*args, **kwargs)

            return then

        journal.collected = full(collected)  # type: ignore[method-assign]
        journal.answered = full(answered)  # type: ignore[method-assign]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            texts, failed = [], []
            for question in questions(8):
                try:
                    texts.append((question, _text(client, question)))
                except JournalError as error:  # noqa: PERF203 - each is a call
                    failed.append(error)
    assert texts
    assert all(text == f"[simulated] {question}" for question, text in texts)
    assert all("full" in str(error) for error in failed)
    assert failed or any(w.category is JournalWarning for w in caught)
    forget()
    assert sim.paid()["twice"] == []


# --- for people -------------------------------------------------------------------------------


def test_what_is_in_it(path: str, sim: Simulator) -> None:
    """Counted, written out as JSONL, and forgotten by age."""
    with FlexOpenAI(**options(sim, FLEX.replace(journal=path))) as client, track():
        for question in questions(3):
            ask(client, question)
    forget()
    journal = Journal(path)
    out = io.StringIO()
    assert journal.counts()["done"] == journal.export(out) == 3
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {(line["model"], line["lane"], line["status"]) for line in lines} == {
        ("o3", "flex", 200)
    }
    assert lines[0]["answer"]["choices"][0]["message"]["content"] == "[simulated] What of number 0?"
    assert journal.forget(older_than=3600) == 0
    assert journal.forget() == 3
    assert journal.counts()["done"] == 0
    assert abs(lines[0]["at"] - time.time()) < 600
    journal.close()


@pytest.mark.parametrize("extra", [{"background": True}], ids=["background"])
def test_what_the_extra_body_asks_for_counts(
    extra: dict[str, Any], path: str, sim: Simulator
) -> None:
    """A background response of the caller's own passes the journal by, however it was asked for."""
    with FlexOpenAI(**options(sim, FLEX.replace(journal=path))) as client:
        ids = {
            client.responses.create(model="gpt-5-mini", input="Hi", extra_body=extra).id
            for _ in range(2)
        }
    assert len(ids) == 2
    assert Journal(path).counts()["done"] == 0
