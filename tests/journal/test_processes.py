"""Processes that share a journal, and processes that are killed: nothing is paid for twice."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import pytest

from flextier.journal import Journal
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.crowd import files, questions, until
from tests.journal.conftest import Start

API = "flextier.batch.api:BatchAPI"
JOURNAL = "flextier.journal.journal:Journal"
RECORDER = "flextier.routing.stream_journal:StreamJournal"

POINTS: dict[str, tuple[str, str]] = {
    "before-the-seal": ("before", f"{JOURNAL}.seal"),
    "seal-upload": ("after", f"{JOURNAL}.seal"),
    "upload-save": ("after", f"{API}.upload"),
    "upload-create": ("before", f"{API}.create"),
    "create-save": ("after", f"{API}.create"),
    "first-look": ("after", f"{API}.retrieve"),
    "before-the-download": ("before", f"{API}.download"),
    "download-record": ("before", f"{JOURNAL}.collected"),
    "record-hand-over": ("after", f"{JOURNAL}.collected"),
}


def all_right(results: list[Any]) -> bool:
    """Whether every call was answered, and rightly."""
    return all(one.is_right for one in results)


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS)
@pytest.mark.exhaustive
def test_killed_and_started_again(point: tuple[str, str], start: Start, sim: Simulator) -> None:
    """Wherever the process is killed, the next has every answer, and none is paid twice."""
    asked = questions(20)
    assert start(asked, die=point).died()
    assert all_right(start(asked).results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (20, [])


@pytest.mark.parametrize("point", ["seal-upload", "upload-create", "create-save"])
@pytest.mark.exhaustive
def test_killed_and_started_twice(point: str, start: Start, sim: Simulator) -> None:
    """Two that start after the dead one share what it left: only one of them asks for a line."""
    asked = questions(20)
    assert start(asked, die=POINTS[point]).died()
    one, other = (start(asked, batch_window=0.5) for _ in range(2))
    assert all_right(one.results)
    assert all_right(other.results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (20, [])


@pytest.mark.exhaustive
def test_killed_twice(start: Start, sim: Simulator) -> None:
    """The second process may be killed as well, between finding the batch and its answers."""
    asked = questions(10)
    assert start(asked, die=("after", f"{API}.create")).died()
    assert start(asked, die=("after", f"{API}.find")).died()
    assert all_right(start(asked).results)
    assert (files(sim), sim.paid()["twice"]) == (1, [])


@pytest.mark.exhaustive
def test_killed_while_the_batch_runs(start: Start, sim: Simulator) -> None:
    """A batch that runs for hours is found again, and waited for."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    asked = questions(10)
    assert start(asked, die=("after", f"{API}.retrieve")).died()
    results = start(asked).results
    assert all_right(results)
    assert {one.lane for one in results} <= {
        "batch",
        "journal",
    }  # who comes late, finds it recorded
    assert (files(sim), sim.paid()["twice"]) == (1, [])


@pytest.mark.exhaustive
def test_a_batch_that_is_not_found_at_once(start: Start, sim: Simulator) -> None:
    """One 404 on a batch of an earlier run is not believed."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    asked = questions(3)
    assert start(asked, die=("after", f"{API}.retrieve")).died()
    sim.script(Fault.status(404).on(method="GET", path="/batches/{id}"))
    assert all_right(start(asked).results)
    assert (files(sim), sim.paid()["twice"]) == (1, [])


@pytest.mark.exhaustive
def test_killed_when_a_batch_is_created_again(start: Start, sim: Simulator) -> None:
    """A batch that found no room is created again under its tag: the new one is not overlooked."""
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}
    sim.script_batches(BatchOutcome.fail(full))
    asked = questions(10)
    assert start(asked, die=("after", f"{API}.create", 2), batch_poll_interval=0.05).died()
    assert files(sim) == 2
    assert all_right(start(asked).results)
    assert (files(sim), sim.paid()["twice"]) == (2, [])


def test_killed_with_answers_from_flex(start: Start, sim: Simulator) -> None:
    """On flex, what was answered before the kill is not asked again."""
    asked = questions(20)
    point = ("after", f"{JOURNAL}.answered", 12)
    assert start(asked, die=point, lanes=("flex", "standard")).died()
    results = start(asked, lanes=("flex", "standard")).results
    assert all_right(results)
    lanes = Counter(one.lane for one in results)
    assert lanes["journal"] == 12
    assert {one.cost for one in results if one.lane == "journal"} <= {"0", "0.00"}
    # What had reached the server when it was killed is billed, and not recorded.
    assert sim.paid()["lines"] == 20


STREAMS: dict[str, tuple[tuple[str, str, int], int]] = {
    "middle-of-the-stream": (("before", f"{RECORDER}.__call__", 12), 6),
    "last-event-record": (("before", f"{JOURNAL}.answered", 3), 6),
    "record-hand-over": (("after", f"{JOURNAL}.answered", 3), 5),
}


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(("point", "paid"), STREAMS.values(), ids=STREAMS)
@pytest.mark.exhaustive
def test_killed_while_streaming(
    point: tuple[str, str, int], paid: int, api: str, start: Start, sim: Simulator
) -> None:
    """A stream whose last event is on its way to the caller is paid for: it is not sent again."""
    asked = questions(5)
    settings = {"lanes": ("flex", "standard"), "stream": api}
    assert start(asked, die=point, **settings).died()
    results = start(asked, **settings).results
    assert all_right(results)
    assert len(sim.requests) == paid
    assert sim.paid()["payments"] <= paid


LANES = {"batch": ("batch", "standard"), "flex": ("flex", "standard")}


@pytest.mark.parametrize("lanes", LANES.values(), ids=LANES)
@pytest.mark.parametrize("repeats", ["each", "once"])
@pytest.mark.exhaustive
def test_two_processes_ask_the_same(
    lanes: tuple[str, ...], repeats: str, start: Start, sim: Simulator
) -> None:
    """Two processes that ask the same 200 lines at once: each line is sent once, all get it."""
    asked = questions(200)
    settings = {"lanes": lanes, "journal_duplicates": repeats, "batch_window": 1.0}
    both = [start(asked, **settings) for _ in range(2)]
    for program in both:
        assert all_right(program.results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (200, [])


def test_two_processes_on_different_lanes(start: Start, sim: Simulator) -> None:
    """What waits for a batch in one process is not bought on flex by another."""
    asked = questions(20)
    one = start(asked, lines=21, batch_window=1.0)
    until(lambda: _counts(start, one) >= 20, "asked")
    other = start(asked, lanes=("flex", "standard"))
    assert all_right(one.results)
    assert all_right(other.results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (20, [])


def _counts(start: Start, program: Any) -> int:
    time.sleep(0.05)
    journal = Journal(program.path)
    try:
        return sum(journal.counts().values())
    finally:
        journal.close()


@pytest.mark.exhaustive
def test_two_processes_and_no_room(start: Start, sim: Simulator) -> None:
    """A batch that found no room is its owner's to create again, also if another looks at it."""
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}
    sim.script_batches(*[BatchOutcome.fail(full)] * 3)
    asked = questions(20)
    both = [start(asked, batch_poll_interval=0.3, batch_window=0.5) for _ in range(2)]
    for program in both:
        assert all_right(program.results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (20, [])


@pytest.mark.exhaustive
def test_two_processes_and_a_batch_that_expires(start: Start, sim: Simulator) -> None:
    """What a batch has not done is asked for again by one of the two."""
    sim.script_batches(BatchOutcome.expire(after=7))
    asked = questions(20)
    both = [start(asked, batch_window=0.5) for _ in range(2)]
    for program in both:
        assert all_right(program.results)
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (20, [])


def test_a_stopped_owner_keeps_its_claim(start: Start, sim: Simulator) -> None:
    """A process that stands still between seal and create is not taken for dead."""
    asked = questions(10)
    one = start(asked, die=("before", f"{API}.create", 1, signal.SIGSTOP))
    until(one.stopped, "the stop")
    other = start(asked)
    until(lambda: _owners(one) == 2, "the other process")
    time.sleep(0.5)
    assert files(sim) == 0
    one.send(signal.SIGCONT)
    assert all_right(one.results)
    assert all_right(other.results)
    assert (files(sim), sim.paid()["twice"]) == (1, [])


def _owners(program: Any) -> int:
    time.sleep(0.05)
    journal = Journal(program.path)
    try:
        with journal._transaction() as sql:
            runs: int = sql("SELECT count(*) FROM runs").fetchone()[0]
        return runs - 1
    finally:
        journal.close()
