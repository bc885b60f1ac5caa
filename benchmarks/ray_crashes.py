"""Does flextier.ray.run survive SIGKILL of a worker, of the gateway, and of the program?

The three are killed one after the other, again and again, at moments spread over the rows. A
program that was killed, and its cluster with it, is started again; workers and the gateway are
started again by Ray. At the end the output must have every row once, and the simulator's account
of paid calls is held against that: a call may be paid twice only if, at a kill, the journal knew
that it had been asked and not that it was answered. On the batch lane none may. `make test-ray`
makes the environment that it needs.

    .venv-ray/bin/python benchmarks/ray_crashes.py [--rows N] [--kills N] [--lanes LANES] [--seed N]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _crashes import account, journaled, provider

from flextier.sim import Simulator

_PROGRAM = """
import os
import sys

import ray
from ray.data.checkpoint import CheckpointConfig

import flextier.ray


def build():
    from flextier import AsyncFlexOpenAI

    client = AsyncFlexOpenAI()

    async def ask(row):
        messages = [{"role": "user", "content": f"row {row['id']}"}]
        answer = await client.chat.completions.create(model="o4-mini", messages=messages)
        return answer.choices[0].message.content

    return ask


ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
context = ray.data.DataContext.get_current()
context.enable_progress_bars = False
here = os.getcwd()
context.checkpoint_config = CheckpointConfig(id_column="id", checkpoint_path=f"{here}/checkpoint")
rows = ray.data.read_parquet(f"{here}/in")
policy = {"journal": "journal.db", "lanes": sys.argv[1]}
rows = flextier.ray.run(rows, build, policy=policy, workers=2, concurrency=16, num_cpus=0.25)
rows.write_parquet(f"{here}/out")
"""
_BLOCK = 25
"""Rows of a file of the input."""
VICTIMS = ("worker", "gateway", "program")
_TITLES = {"worker": "ray::MapWorker", "gateway": "ray::_GatewayActor"}
_LIMIT = 300.0
"""Seconds without a request, after which a program hangs."""


@dataclass
class Outcome:
    """What was found."""

    rows: int
    kills: Counter[str] = field(default_factory=Counter)
    """What was killed, and how often."""
    answered: Counter[int] = field(default_factory=Counter)
    """How often the output has each row with a response."""
    errors: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    """Calls that had been asked, and not been recorded as answered, all kills together."""
    paid: int = 0
    twice: int = 0
    """Answers that were paid for again."""
    twice_in_batches: int = 0
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        """Whether every row is in the output once, and no more was paid than cannot be helped."""
        once = sum(times == 1 for times in self.answered.values())
        is_whole = once == self.rows == len(self.answered) and not self.errors
        return is_whole and self.twice <= self.in_flight and not self.twice_in_batches

    def __str__(self) -> str:
        once = sum(times == 1 for times in self.answered.values())
        return (
            f"killed: {dict(self.kills)}; {self.seconds:.0f} s\n"
            f"rows answered once: {once:,} of {self.rows:,}; errors: {dict(self.errors)}\n"
            f"answers paid: {self.paid:,}; paid twice: {self.twice:,}, of them in batches: "
            f"{self.twice_in_batches:,}; in flight at the kills: {self.in_flight:,}\n"
            f"{'right' if self.is_right else 'WRONG'}"
        )


def crash(
    place: Path,
    rows: int,
    kills: int,
    *,
    lanes: str = "flex,standard",
    seed: int = 0,
    latency: float = 0.3,
) -> Outcome:
    """Run N rows, killed the given number of times.

    Args:
        place: a directory to work in.
        rows: of the input.
        kills: of workers, gateways and programs, in turns.
        lanes: the ladder.
        seed: chooses the moments.
        latency: seconds that an answer takes.
    """
    _write_rows(place / "in", rows)
    (place / "program.py").write_text(_PROGRAM)
    chance, outcome, began = random.Random(seed), Outcome(rows), time.monotonic()
    spread = [rows * (number + chance.uniform(0.5, 1)) / (kills + 1) for number in range(kills)]
    with provider(latency) as simulator:
        program = _start(place, simulator.base_url, lanes)
        try:
            for number, answers in enumerate(spread):
                if not _wait_for(simulator, program, int(answers)):
                    break
                victim = VICTIMS[number % len(VICTIMS)]
                if not _kill(program, victim):
                    continue  # it is being started
                outcome.kills[victim] += 1
                outcome.in_flight += len(journaled(place / "journal.db")[0])
                if victim == "program":
                    program = _start(place, simulator.base_url, lanes)
            if status := program.wait(timeout=_LIMIT):
                raise RuntimeError(f"the program has ended with status {status}: see {place}/log")
        finally:
            _end(program)
        outcome.paid, outcome.twice, outcome.twice_in_batches, _ = account(simulator)
    outcome.seconds = time.monotonic() - began
    _read_output(place / "out", outcome)
    return outcome


def _write_rows(folder: Path, rows: int) -> None:
    import pyarrow
    from pyarrow import parquet

    folder.mkdir()
    for start in range(0, rows, _BLOCK):
        ids = list(range(start, min(start + _BLOCK, rows)))
        parquet.write_table(pyarrow.table({"id": ids}), folder / f"{start:06}.parquet")


def _read_output(folder: Path, outcome: Outcome) -> None:
    from pyarrow import dataset

    for row in dataset.dataset(folder, format="parquet").to_table().to_pylist():
        if row["error"] is not None:
            outcome.errors[row["error"][:100]] += 1
        elif row["output"] == f"[simulated] row {row['id']}":
            outcome.answered[row["id"]] += 1


# --- the processes of a cluster -------------------------------------------------------------------


def _start(place: Path, base_url: str, lanes: str) -> subprocess.Popen[bytes]:
    settings = {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "crashes",
        "FLEXTIER_BATCH_WINDOW": "0.5",
        "FLEXTIER_BATCH_POLL_INTERVAL": "0.2",
        "RAY_worker_niceness": "0",  # as fast as the simulator on a machine that is shared
    }
    with (place / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "program.py", lanes],
            cwd=place,
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )


def _wait_for(simulator: Simulator, program: subprocess.Popen[bytes], answers: int) -> bool:
    """Wait until as many answers were paid for; False: the program has ended before."""
    before, since = -1, time.monotonic()
    while (paid := simulator.paid()["payments"]) < answers:
        if program.poll() is not None:
            return False
        if paid != before:
            before, since = paid, time.monotonic()
        if time.monotonic() - since > _LIMIT:
            raise RuntimeError(f"no answer in {_LIMIT:.0f} s")
        time.sleep(0.02)
    return program.poll() is None


def _kill(program: subprocess.Popen[bytes], victim: str) -> bool:
    """Kill a process of the cluster, or the program with its cluster; False: there is none."""
    if victim == "program":
        _end(program)
        return True
    for pid in _descendants(program.pid):
        if _title(pid).startswith(_TITLES[victim]):
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _end(program: subprocess.Popen[bytes]) -> None:
    """Kill a program, and all of its cluster that Ray leaves."""
    cluster = _descendants(program.pid)
    program.kill()
    program.wait()
    for pid in cluster:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields: Any = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(parents.get(pid, ()))
    for one in found:
        found.extend(parents.get(one, ()))
    return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def main() -> int:
    """Kill as the command line says; returns 1 if a row was lost or paid for without need."""
    parser = argparse.ArgumentParser(description="Kills a run on Ray at random moments.")
    parser.add_argument("--rows", type=int, default=5_000, metavar="N")
    parser.add_argument("--kills", type=int, default=30, metavar="N")
    parser.add_argument("--lanes", default="flex,standard", metavar="LANES")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        outcome = crash(
            Path(directory), options.rows, options.kills, lanes=options.lanes, seed=options.seed
        )
    print(outcome)
    return 0 if outcome.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
