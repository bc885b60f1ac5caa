"""Ctrl-C while sync calls wait in other threads: they end at once, and nothing more is sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from flextier.sim import Fault, Simulator, Weather
from tests.sim.callers import eventually

ROOT = Path(__file__).parents[2]
TEXTS = "['Name a tree.', 'Name a town.', 'Name a river.']"


class Program:
    """A process of ``interrupted_program.py``."""

    def __init__(self, process: subprocess.Popen[str], given: IO[str], printed: IO[str]) -> None:
        self.process = process
        self._given = given
        self._printed = printed

    def run(self, line: str) -> None:
        """Have it run a line."""
        self._given.write(line + "\n")
        self._given.flush()

    def interrupt(self) -> str:
        """Send it SIGINT; what it prints then.

        Python does not notice a signal that comes just before the main thread begins to wait or to
        read: it is sent again after ten seconds, half of the calls' patience.
        """
        again = threading.Timer(10, self.process.send_signal, (signal.SIGINT,))
        self.process.send_signal(signal.SIGINT)
        again.start()
        try:
            return self.printed("interrupted")
        finally:
            again.cancel()

    def printed(self, start: str) -> str:
        """The next line that it prints with such a start."""
        return next((line for line in self._printed if line.startswith(start)), "")


@pytest.fixture(scope="module")
def program(flextier_sim_server: Simulator) -> Iterator[Program]:
    """One for all tests: it takes a second or two to start."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    process = subprocess.Popen(
        [
            sys.executable,
            "-um",
            "tests.langchain.interrupted_program",
            flextier_sim_server.base_url,
        ],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Program(process, process.stdin, process.stdout)


@pytest.mark.parametrize(
    "line",
    [
        "chain.batch(inputs)",
        f"model.bind(stop=['.']).batch({TEXTS}, {{'max_concurrency': 2}}, return_exceptions=True)",
        f"list(model.batch_as_completed({TEXTS}))",
    ],
    ids=["chain", "narrow", "as_completed"],
)
def test_calls_that_wait_for_flex(line: str, program: Program, sim: Simulator) -> None:
    """None is sent on standard, where its answer would be billed, and no one would get it."""
    sim.weather = Weather(slots=0)
    program.run(line)
    assert program.printed("waits")
    assert program.interrupt() == "interrupted True\n"
    assert "default" not in {request.tier for request in sim.requests}


def test_calls_that_wait_for_an_answer(program: Program, sim: Simulator) -> None:
    """Their requests are abandoned, and not retried."""
    sim.script(*[Fault.stall()] * 4)
    program.run("chain.batch(inputs)")
    assert eventually(lambda: len(sim.requests) == 4)
    assert program.interrupt()
    assert len(sim.requests) == 4


def test_calls_of_other_threads_end_with_the_program(program: Program, sim: Simulator) -> None:
    """Python joins the threads of executors at its exit; after Ctrl-C, they do not wait."""
    sim.weather = Weather(slots=0)
    program.run("for one in inputs: pool.submit(chain.invoke, one)")
    assert program.printed("done")
    assert eventually(lambda: any(request.outcome == "refused" for request in sim.requests))
    assert program.interrupt() == ""  # its output ends, and so does it
    program.process.wait()
    assert program.process.returncode == -signal.SIGINT
    assert "default" not in {request.tier for request in sim.requests}
