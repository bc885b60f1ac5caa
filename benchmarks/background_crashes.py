"""Does an agent's run on background lanes survive SIGKILL, and what does it pay for twice?

A program of its own makes a run of ten steps with a journal: five questions, each answered with a
call of a tool, whose output is the next step; every step follows the one before by
``previous_response_id``. It is killed at random moments (while it starts, when a response is being
created, when one is looked at, between), and started again until it is through; then the next run
begins, until all kills are spent.

Every step has to be answered, and the simulator's account is held against that: a step may be paid
for twice only if, at a kill, its creation was under way: the journal knew that it had been asked
for, and not yet the response's id. The API has nothing that such a response could be found by.

    python benchmarks/background_crashes.py [--kills 30] [--seed N] [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from flextier.sim import BackgroundWeather, Simulator, Weather

STEPS = 10

_PROGRAM = """
import os
import sys

from flextier import FlexOpenAI, continuation
from flextier.background import poll_schedule

poll_schedule.MIN_POLL_INTERVAL = float(os.environ["MIN_POLL_INTERVAL"])  # less than in programs
run, steps = sys.argv[1], int(sys.argv[2])
tool = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
client, last = FlexOpenAI(), None


def step(said):
    return client.responses.create(
        model="gpt-6.2-sol",
        input=said,
        tools=[tool],
        previous_response_id=None if last is None else last.id,
    )


with continuation(run):
    for number in range(steps // 2):
        last = step(f"{run}: what is the weather in 'city {number}'?")
        outputs = [
            {"type": "function_call_output", "call_id": call.call_id, "output": f"{number} degrees"}
            for call in last.output
            if call.type == "function_call"
        ]
        assert outputs, last
        last = step(outputs)
        assert f"{number} degrees" in last.output_text, last
"""


@dataclass
class Outcome:
    """What was found."""

    runs: int = 0
    starts: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    """By what the program was at."""
    in_flight: int = 0
    """Kills at which a creation was under way, by the journal."""
    waiting: int = 0
    """Kills at which the journal had a response that was waited for."""
    failed: int = 0
    """Programs that ended by themselves, with an error."""
    answered: int = 0
    """Steps that the journals have answers of."""
    created: int = 0
    """Responses, at the simulator."""
    paid: int = 0
    twice: int = 0
    """Steps that were paid for more than once, by how much more."""
    orphaned: int = 0
    """Responses that no journal knows."""
    follow_ups: int = 0
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether all steps were answered, and no more was paid than cannot be helped."""
        whole = self.answered == STEPS * self.runs and not self.failed
        return whole and self.twice == self.paid - self.answered <= self.in_flight

    def __str__(self) -> str:
        places = ", ".join(f"{count} {where}" for where, count in self.kills.items())
        return (
            f"{self.kills.total()} kills ({places}), {self.starts} starts, {self.seconds:.0f} s\n"
            f"{self.runs} runs of {STEPS} steps: {self.answered} steps answered, "
            f"{self.failed} programs failed\n"
            f"at the kills: {self.in_flight} creations under way, "
            f"{self.waiting} responses waited for\n"
            f"responses created: {self.created}, of them follow-ups: {self.follow_ups}, "
            f"known to no journal: {self.orphaned}\n"
            f"answers paid: {self.paid}, steps paid twice: {self.twice}\n"
            f"{'right' if self.is_right else 'WRONG'}"
        )


def crash(
    place: Path,
    kills: int,
    *,
    seed: int = 0,
    seconds: tuple[float, float] = (0.6, 1.6),
    soonest: float = 0.4,
) -> Outcome:
    """Kill runs the given number of times.

    Args:
        place: a directory to work in.
        kills: how often.
        seed: chooses the moments.
        seconds: that a response takes, a range.
        soonest: seconds to the first looks at a response.
    """
    (place / "agent.py").write_text(_PROGRAM)
    chance, outcome, began = random.Random(seed), Outcome(), time.monotonic()
    weather = Weather(background=BackgroundWeather(seconds=seconds, follow_up=1.0))
    with Simulator(weather, seed=seed, record_paid=True, keep_requests=1) as simulator:
        moments = [chance.choice(_MOMENTS)(chance, seconds[1]) for _ in range(kills)]
        while outcome.runs == 0 or moments:
            outcome.runs += 1
            journal = place / f"run-{outcome.runs}.db"
            start = _starter(place, simulator.base_url, outcome.runs, journal, soonest)
            _until_through(start, simulator, journal, moments, outcome)
        # A response whose id was lost ends, and is paid for, all the same.
        while simulator.stats()["background"]["pending"]:
            time.sleep(0.05)
        _account(simulator, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


Moment = tuple[str, Callable[[Simulator, "subprocess.Popen[bytes]"], None]]


def _until_through(
    start: Callable[[], subprocess.Popen[bytes]],
    simulator: Simulator,
    journal: Path,
    moments: list[Moment],
    outcome: Outcome,
) -> None:
    """One run: started again until it has come to its end."""
    while True:
        outcome.starts += 1
        child = start()
        if moments:
            where, wait = moments[-1]
            wait(simulator, child)
            child.kill()
        status = child.wait()
        states = _states(journal)
        if status == -9:
            moments.pop()
            outcome.kills[where] += 1
            outcome.in_flight += states.get("asked", 0)
            outcome.waiting += states.get("background", 0)
            continue
        outcome.failed += status != 0
        outcome.answered += states.get("done", 0)
        return


def _states(journal: Path) -> dict[str, int]:
    """How many steps are in each state, by the journal of a program that is dead."""
    if not journal.exists():
        return {}
    try:
        connection = sqlite3.connect(journal)
        states = dict(connection.execute("SELECT state, count(*) FROM calls GROUP BY state"))
        connection.close()
    except sqlite3.OperationalError:  # killed before there was a table
        return {}
    return states


def _account(simulator: Simulator, outcome: Outcome) -> None:
    """What the simulator has created, and was paid for."""
    paid, background = simulator.paid(), simulator.stats()["background"]
    outcome.created = background["created"]
    outcome.follow_ups = background["follow_ups"]
    outcome.paid = paid["payments"]
    outcome.twice = sum(line["times"] - 1 for line in paid["twice"])
    outcome.orphaned = outcome.created - outcome.answered


def _starter(
    place: Path, base_url: str, run: int, journal: Path, soonest: float
) -> Callable[[], subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "crashes",
        "FLEXTIER_LANES": "background,standard",
        "FLEXTIER_JOURNAL": str(journal),
        "MIN_POLL_INTERVAL": str(soonest),
    }
    command = [sys.executable, "agent.py", f"run {run}", str(STEPS)]
    return lambda: subprocess.Popen(command, cwd=place, env=environment)


# --- when to kill -----------------------------------------------------------------------------


def _starting(chance: random.Random, longest: float) -> Moment:
    seconds = chance.uniform(0.0, 1.5)
    return "while it started", lambda simulator, child: time.sleep(seconds)


def _creating(chance: random.Random, longest: float) -> Moment:
    seconds = chance.uniform(0.0, 0.006)
    return "at a creation", _await("/v1/responses", seconds)


def _looking(chance: random.Random, longest: float) -> Moment:
    seconds = chance.uniform(0.0, 0.006)
    return "at a look", _await("/v1/responses/{id}", seconds)


def _between(chance: random.Random, longest: float) -> Moment:
    seconds = chance.uniform(0.0, 1.5 * longest)
    return "in a wait", _await("", seconds)


_MOMENTS = (_starting, _creating, _looking, _between)


def _await(path: str, then: float) -> Callable[[Simulator, subprocess.Popen[bytes]], None]:
    """Wait for the next request to a path (empty: to any), and the given seconds more."""

    def seen(simulator: Simulator) -> int:
        stats = simulator.stats()
        if path == "/v1/responses":  # known when it is created, and not when it is answered
            return int(stats["background"]["created"])
        return int(stats["paths"].get(path, 0) if path else stats["requests"])

    def moment(simulator: Simulator, child: subprocess.Popen[bytes]) -> None:
        before = seen(simulator)
        while seen(simulator) == before and child.poll() is None:
            time.sleep(0.0005)
        time.sleep(then)

    return moment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as the command line says; returns 1 if a step was lost or paid twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="work there, and keep it")
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as directory:
        outcome = crash(options.keep or Path(directory), options.kills, seed=options.seed)
    print(outcome)
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
