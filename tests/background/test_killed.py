"""Programs that are killed and started again: they go on where they were."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flextier.sim import Simulator
from tests.background.asking import background, created, looks, served
from tests.background.program import Program
from tests.batch.crowd import questions, until

pytestmark = pytest.mark.exhaustive  # kills

ASKED = questions(3, "step")
ANSWERS = [f"[simulated] {question}" for question in ASKED]
JOURNAL = "flextier.journal.journal:Journal"
LOOKING = "flextier.background.api:BackgroundRequests.poll"

Start = Callable[..., Program]


@pytest.fixture(scope="session")
def processes() -> Any:
    """Processes that begin with everything imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.background.program"])
    return context


@pytest.fixture
def start(processes: Any, sim: Simulator, tmp_path: Path) -> Iterator[Start]:
    """Starts the program in a process of its own."""
    begun: list[Program] = []

    def begin(asked: list[str] = ASKED, **settings: Any) -> Program:
        path = str(tmp_path / "calls.db")
        begun.append(Program(processes, sim.base_url, path, asked, settings))
        return begun[-1]

    yield begin
    for program in begun:
        program.end()


POINTS: dict[str, tuple[tuple[str, str, int], list[str], int]] = {
    "accepted-not-written": (("before", f"{JOURNAL}.accepted", 2), ["journal", "", ""], 4),
    "accepted": (("after", f"{JOURNAL}.accepted", 2), ["journal", "", ""], 3),
    "looking": (("before", LOOKING, 4), ["", "", ""], 3),
    "ended-not-written": (("before", f"{JOURNAL}.answered", 3), ["journal", "journal", ""], 3),
}


@pytest.mark.parametrize(("point", "lanes", "paid"), POINTS.values(), ids=POINTS)
def test_killed_and_started_again(
    point: tuple[str, str, int], lanes: list[str], paid: int, start: Start, sim: Simulator
) -> None:
    """Only what was accepted in the last moment, unknown to the journal, is paid for twice."""
    assert start(die=point).died()
    answers = start().answers
    assert [text for _, text in answers] == ANSWERS
    for (lane, _), expected in zip(answers, lanes, strict=True):
        assert lane == (expected or lane)
        assert lane in ("journal", "background-2h")
    until(lambda: sim.stats()["background"]["pending"] == 0)
    assert (created(sim), served(sim)) == (paid, {"background-2h": paid})


def test_two_programs_at_once(start: Start, sim: Simulator) -> None:
    """They share the work: each step is asked for by one of them, and paid for once."""
    sim.weather = background(seconds=0.3)
    one, other = start(journal_duplicates="once"), start(journal_duplicates="once")
    assert [text for _, text in one.answers] == [text for _, text in other.answers] == ANSWERS
    assert served(sim) == {"background-2h": 3}


def test_another_goes_on_for_the_dead_one(start: Start, sim: Simulator) -> None:
    """Who waits for the answer of a process that is killed, takes its response over."""
    sim.weather = background(seconds=0.8)
    one = start(ASKED[:1])
    until(lambda: looks(sim))
    other = start(ASKED[:1])
    one.process.kill()
    assert one.died()
    assert other.answers == [("background-2h", ANSWERS[0])]
    assert served(sim) == {"background-2h": 1}
