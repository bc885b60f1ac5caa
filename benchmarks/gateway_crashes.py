"""Does a gateway with a journal survive SIGKILL? It is killed at random moments, and started again.

Processes with the stock SDK make calls through ``flextier serve``, and repeat those whose
connection was lost; every second process names its calls (``x-flextier-call``), the others' repeats
are known by ``x-stainless-retry-count``. At the end each call must have its own answer, and the
simulator's account of paid calls is held against that: a call may be paid twice only if, at a kill,
the journal knew that it had been asked and not that it was answered. On the batch lane none may.

    python benchmarks/gateway_crashes.py [--calls N] [--kills N] [--lanes LANES] [--processes N]
                                         [--at-once N] [--seed N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from _callers import Callers, Running, body, call_id
from _crashes import account, journaled, moments, provider

from flextier.journal.cache_key import cache_key
from flextier.sim.base.paid_lines import digest

CHAT = "/chat/completions"
_COMMAND = [sys.executable, "-c", "import sys; from flextier.cli import main; sys.exit(main())"]


@dataclass
class Outcome:
    """What was found."""

    calls: int
    kills: int = 0
    lanes: Counter[str] = field(default_factory=Counter)
    """How many calls were answered on each lane; or the name of an error."""
    answered: int = 0
    """Calls that have an answer of their own."""
    in_flight: int = 0
    """Calls that had been asked, and not been recorded as answered, all kills together."""
    batched: int = 0
    """Calls that were lines of a batch on its way, all kills together."""
    paid: int = 0
    twice: int = 0
    """Answers that were paid for again."""
    unexplained: int = 0
    """Of those: the ones that were not in flight at any kill."""
    twice_in_batches: int = 0
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether every call is answered, and no more was paid than cannot be helped."""
        is_whole = self.answered == self.calls and self.paid == self.calls + self.twice
        return is_whole and not self.unexplained and not self.twice_in_batches

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.seconds:.0f} s\n"
            f"calls answered: {self.answered:,} of {self.calls:,}: {dict(self.lanes)}\n"
            f"answers paid: {self.paid:,}; paid twice: {self.twice:,}, of them not in flight at a "
            f"kill: {self.unexplained:,}, in batches: {self.twice_in_batches:,}\n"
            f"at the kills: {self.in_flight:,} requests in flight, {self.batched:,} lines of "
            "batches on their way\n"
            f"{'right' if self.is_right else 'WRONG'}"
        )


def crash(
    place: Path,
    calls: int,
    kills: int,
    *,
    lanes: str = "flex,standard",
    processes: int = 20,
    at_once: int = 8,
    seed: int = 0,
    latency: float = 0.1,
    retry_after: float | None = None,
) -> Outcome:
    """Make calls through a gateway that is killed.

    Args:
        place: a directory to work in.
        calls: of all processes together.
        kills: of the gateway.
        lanes: the ladder.
        processes: of callers.
        at_once: calls of each process.
        seed: chooses the moments.
        latency: seconds that an answer takes.
        retry_after: seconds before a caller repeats a call; None: as the SDK waits.
    """
    outcome, began = Outcome(calls), time.monotonic()
    chosen = moments(random.Random(seed), calls, kills, lanes)
    with provider(latency) as simulator, socket.socket() as reserved:
        # Otherwise a caller may get the port for its own end, and connect to itself.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        callers: Callers = {
            "url": f"http://127.0.0.1:{port}/v1",
            "processes": processes,
            "calls": calls,
            "at_once": at_once,
            "max_retries": 1_000,
            "names_calls": True,
        }
        if retry_after is not None:
            callers["retry_after"] = retry_after
        in_flight: set[bytes] = set()
        clients = Running(callers, place)
        gateway = _gateway(place, simulator.base_url, port, lanes)

        def is_over() -> bool:
            return clients.process.poll() is not None or gateway.poll() is not None

        try:
            for moment in chosen:
                moment(simulator, is_over)
                outcome.kills += not is_over()
                gateway.kill()
                if (status := gateway.wait()) != -signal.SIGKILL:
                    raise RuntimeError(f"the gateway has ended with status {status}")
                asked, batched = journaled(place / "journal.db")
                in_flight |= asked
                outcome.in_flight += len(asked)
                outcome.batched += batched
                gateway = _gateway(place, simulator.base_url, port, lanes)
            clients.wait_with(gateway)
        finally:
            clients.end()
            gateway.kill()
            gateway.wait()
        made = clients.outcomes()
        paid = account(simulator)
        keys = _keys(simulator.base_url, callers)
    outcome.paid, outcome.twice, outcome.twice_in_batches = paid[:3]
    outcome.unexplained = sum(keys[line] not in in_flight for line in paid[3])
    outcome.lanes.update(lane for _, lane in made)
    known = {"flex", "standard", "batch", "journal"}
    outcome.answered = len({number for number, lane in made if lane in known})
    outcome.seconds = time.monotonic() - began
    return outcome


def _keys(base_url: str, callers: Callers) -> dict[str, bytes]:
    """The journal's key of each call, by what the simulator knows it by."""
    keys = {}
    for number in range(callers["calls"]):
        asked = body(number, callers)
        is_named = number % callers["processes"] % 2 == 0
        namespace = f"//{call_id(number)}" if is_named else ""
        key = cache_key(f"{base_url}/", CHAT, json.dumps(asked).encode(), namespace)
        keys[digest(f"/v1{CHAT}", asked)] = key
    return keys


def _gateway(place: Path, upstream: str, port: int, lanes: str) -> subprocess.Popen[bytes]:
    settings = {
        "OPENAI_BASE_URL": upstream,
        "OPENAI_API_KEY": "crashes",
        "FLEXTIER_BATCH_WINDOW": "0.5",
        "FLEXTIER_BATCH_POLL_INTERVAL": "0.2",
    }
    options = ["--port", str(port), "--journal", str(place / "journal.db"), "--lanes", lanes]
    with (place / "log").open("ab") as log:
        return subprocess.Popen(
            [*_COMMAND, "serve", *options], env={**os.environ, **settings}, stderr=log
        )


def main() -> int:
    """Kill as the command line says; returns 1 if a call was lost, or paid for without need."""
    parser = argparse.ArgumentParser(description="Kills a gateway at random moments.")
    parser.add_argument("--calls", type=int, default=2_000, metavar="N")
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--lanes", default="flex,standard", metavar="LANES")
    parser.add_argument("--processes", type=int, default=20, metavar="N")
    parser.add_argument("--at-once", type=int, default=8, metavar="N", help="of each process [8]")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        outcome = crash(
            Path(directory),
            options.calls,
            options.kills,
            lanes=options.lanes,
            processes=options.processes,
            at_once=options.at_once,
            seed=options.seed,
        )
        for line in (Path(directory) / "log").read_text().splitlines():
            if '"level": "info"' not in line:
                print(json.dumps(line)[:300], file=sys.stderr)
    print(outcome)
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
