"""Does a bulk run survive SIGKILL? It is killed at random moments, and started again each time.

The moments are spread over the rows: by how many requests the simulator has served, some while the
process starts, some while the output is written; on the batch lane by the requests that a batch
takes, and by time. At the end the output must have every row once, and the simulator's account of
paid lines is held against that: a call can be paid twice only if, at a kill, the journal knew that
it had been asked and not that it was answered. On the batch lane none can.

    python benchmarks/bulk_crashes.py [--rows N] [--kills N] [--lanes LANES] [--concurrency N]
                                      [--calls N] [--seed N] [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from _crashes import account, journaled, moments, provider

_RUNNABLE = """
import os

from flextier import AsyncFlexOpenAI

client = AsyncFlexOpenAI()
CALLS = int(os.environ["CALLS"])


async def ask(row):
    for call in range(CALLS):
        messages = [{"role": "user", "content": f"row {row['id']} call {call}"}]
        answer = await client.chat.completions.create(model="o4-mini", messages=messages)
    return answer.choices[0].message.content
"""
_COMMAND = [
    sys.executable,
    "-c",
    "import sys; from flextier.cli import main; sys.exit(main())",
]


@dataclass
class Outcome:
    """What was found."""

    rows: int
    starts: int = 0
    kills: int = 0
    in_flight: int = 0
    """Calls that had been asked, and not been recorded as answered, all kills together."""
    batched: int = 0
    """Calls that were lines of a batch on its way, all kills together."""
    exit_status: int = -1
    answered: Counter[int] = field(default_factory=Counter)
    """How often the output has each row."""
    failed: int = 0
    paid: int = 0
    """Answers that were paid for."""
    twice: int = 0
    """Of those: the ones that had been paid for before."""
    twice_in_batches: int = 0
    """Of those: the ones that were paid for in a batch at least once."""
    seconds: float = 0.0

    @property
    def once(self) -> int:
        """Rows that the output has once."""
        return sum(count == 1 for count in self.answered.values())

    @property
    def is_right(self) -> bool:
        """Whether every row is in the output once, and no more was paid than cannot be helped."""
        whole = self.once == self.rows == len(self.answered) and self.exit_status == 0
        return whole and self.twice <= self.in_flight and not self.twice_in_batches

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.starts} starts, {self.seconds:.0f} s; "
            f"exit status {self.exit_status}\n"
            f"rows answered once: {self.once:,} of {self.rows:,}; failed: {self.failed:,}\n"
            f"answers paid: {self.paid:,}; paid twice: {self.twice:,}, of them in batches: "
            f"{self.twice_in_batches:,}\n"
            f"at the kills: {self.in_flight:,} requests in flight, {self.batched:,} lines of "
            "batches on their way\n"
            f"{'right' if self.is_right else 'WRONG'}"
        )


def crash(
    place: Path,
    rows: int,
    kills: int,
    *,
    lanes: str = "flex,standard",
    concurrency: int = 64,
    calls: int = 1,
    seed: int = 0,
    latency: float = 0.02,
) -> Outcome:
    """Run N rows, killed at least the given number of times.

    Args:
        place: a directory to work in.
        rows: of the input.
        kills: at least this many.
        lanes: the ladder.
        concurrency: rows under way at a time.
        calls: of each row, one after the other.
        seed: chooses the moments.
        latency: seconds that an answer takes.
    """
    with (place / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": number}) + "\n" for number in range(rows))
    (place / "work.py").write_text(_RUNNABLE)
    chance, outcome, began = random.Random(seed), Outcome(rows), time.monotonic()
    with provider(latency) as simulator:
        arguments = ["--lanes", lanes, "--concurrency", str(concurrency)]
        start = _starter(place, simulator.base_url, calls, arguments)
        for moment in moments(chance, rows * calls, kills, lanes):
            outcome.starts += 1
            child = start()
            moment(simulator, lambda: child.poll() is not None)  # noqa: B023 - is not kept
            child.kill()
            # One that was through already is no kill; the next start finds nothing to do.
            outcome.kills += child.wait() == -9
            asked, batched = journaled(place / "out.jsonl.run" / "journal.db")
            outcome.in_flight += len(asked)
            outcome.batched += batched
        outcome.starts += 1
        outcome.exit_status = start().wait()
        outcome.paid, outcome.twice, outcome.twice_in_batches, _ = account(simulator)
    outcome.seconds = time.monotonic() - began
    if (output := place / "out.jsonl").exists():
        with output.open() as file:
            outcome.answered.update(json.loads(line)["id"] for line in file)
    if (errors := place / "out.jsonl.errors.jsonl").exists():
        outcome.failed = errors.read_text().count("\n")
    return outcome


def _starter(
    place: Path, base_url: str, calls: int, arguments: list[str]
) -> Callable[[], subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "crashes",
        "CALLS": str(calls),
        "FLEXTIER_BATCH_WINDOW": "0.2",
        "FLEXTIER_BATCH_POLL_INTERVAL": "0.2",
    }
    command = [*_COMMAND, "run", "work:ask", "in.jsonl", "out.jsonl", *arguments]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL)

    return start


def main() -> int:
    """Kill as the command line says; returns 1 if a row was lost or answered twice."""
    parser = argparse.ArgumentParser(description="Kills a bulk run at random moments.")
    parser.add_argument("--rows", type=int, default=20_000, metavar="N")
    parser.add_argument("--kills", type=int, default=50, metavar="N")
    parser.add_argument("--lanes", default="flex,standard", metavar="LANES")
    parser.add_argument("--concurrency", type=int, metavar="N", help="64, or 2,000 for batches")
    parser.add_argument("--calls", type=int, default=1, metavar="N", help="of each row")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="work there, and keep it")
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        outcome = crash(
            options.keep or Path(directory),
            options.rows,
            options.kills,
            lanes=options.lanes,
            concurrency=options.concurrency or (2_000 if "batch" in options.lanes else 64),
            calls=options.calls,
            seed=options.seed,
        )
    print(outcome)
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
