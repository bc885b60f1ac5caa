"""Seconds that a report takes, over a ledger of a million made-up records.

The records are made of a few thousand that differ, spread over weeks whose flex weather has a
rhythm: refusals on weekday afternoons. They are written past the ledger's own writer, to be quick.

    python benchmarks/report_speed.py [--records N] [--days N] [--format NAME] [--keep FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from flextier.calls.report import Attempt, CallReport
from flextier.costs import Usage, record_of
from flextier.ledger.rows import microseconds, row_of
from flextier.ledger.schema import calls
from flextier.ledger.store import LedgerStore
from flextier.ledger.url import LedgerUrl

_FORMATS = ("table", "json", "csv", "html")
_MODELS = {"o4-mini": 9, "gpt-5-mini": 6, "o3": 3, "gpt-5": 2, "house-model": 0.1}
_TAGS = (("nightly", "summaries"), ("nightly", "labels"), ("evaluation",), ("search",), ())
_COLUMNS = [column.name for column in calls.columns if column.name != "id"]
_KINDS = 1_500  # different records in each weather


@dataclass(frozen=True)
class _Weather:
    """How the flex lane meets calls."""

    refuse: float
    """The chance that a try is refused."""
    patience: int
    """Refusals after which a call falls back."""


_CALM, _BUSY, _SHUT = _Weather(0.02, 9), _Weather(0.45, 6), _Weather(0.9, 4)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the ledger, time the reports, print a line for each."""
    options = _parser().parse_args(arguments)
    formats = (options.format,) if options.format else _FORMATS
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "ledger.db"
        began = time.perf_counter()
        make_ledger(path, options.records, options.days)
        print(f"{options.records:,} records made in {time.perf_counter() - began:.1f} s")
        for name in formats:
            print(f"report --format {name}: {_seconds(path, name):.1f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Seconds that a report takes.")
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--days", type=int, default=60, metavar="N", help="up to now")
    parser.add_argument("--format", choices=_FORMATS, help="only that one [all]")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="keep the ledger there")
    return parser


def _seconds(path: Path, name: str) -> float:
    """Of the whole command, from its start to its end."""
    code = "import sys; from flextier.cli import main; sys.exit(main(sys.argv[1:]))"
    options = ["--ledger", f"sqlite:///{path}", "--since", "all", "--format", name]
    command = [sys.executable, "-c", code, "report", *options]
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def make_ledger(path: Path, records: int, days: int) -> None:
    """Make a new ledger of made-up calls in the days up to now."""
    store = LedgerStore(LedgerUrl.read(path), readonly=False)
    store.open()
    marks = ", ".join("?" * len(_COLUMNS))
    insert = f"INSERT INTO {calls.name} ({', '.join(_COLUMNS)}) VALUES ({marks})"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(insert, _rows(random.Random(7), records, days))


def _rows(chance: random.Random, records: int, days: int) -> Iterator[tuple[Any, ...]]:
    kinds = {
        weather: [_row(chance, weather) for _ in range(_KINDS)] for weather in (_CALM, _BUSY, _SHUT)
    }
    call_id, at_us = _COLUMNS.index("call_id"), _COLUMNS.index("at_us")
    for at in _times(chance, records, days):
        row = list(chance.choice(kinds[_weather(at)]))
        row[call_id], row[at_us] = f"{chance.getrandbits(128):032x}", microseconds(at)
        yield tuple(row)


def _times(chance: random.Random, records: int, days: int) -> Iterator[datetime]:
    """In order; more by day than by night, and more from week to week."""
    now = datetime.now(timezone.utc)
    for number in range(records):
        at = now - timedelta(days=days) * (1 - (number + chance.random()) / records) ** 1.3
        if 1 <= at.hour < 7 and chance.random() < 0.6:
            at = min(now, at + timedelta(hours=6))
        yield at


def _weather(at: datetime) -> _Weather:
    if at.weekday() < 5 and 15 <= at.hour < 18:
        return _SHUT
    if at.hour in (13, 14, 18, 19, 20) or (at.weekday() < 5 and 9 <= at.hour < 13):
        return _BUSY
    return _CALM


def _row(chance: random.Random, weather: _Weather) -> tuple[Any, ...]:
    model = chance.choices(list(_MODELS), list(_MODELS.values()))[0]
    attempts, waited = _attempts(chance, weather)
    lane = attempts[-1].lane
    report = CallReport(
        model=model,
        lane=lane,
        attempts=attempts,
        waited=waited,
        elapsed=waited + sum(attempt.seconds for attempt in attempts),
        fallback="capacity" if lane == "standard" else None,
        usage=_usage(chance),
        id="made up",
        first_lane="flex",
        at=datetime.now(timezone.utc).timestamp(),
        output_limit=8_000,
    )
    if attempts[0].outcome == "timeout" and lane == "standard":
        report = replace(report, fallback="timeout")
    if chance.random() < 0.004:
        failed = replace(attempts[-1], outcome="rejected", status=400)
        report = replace(report, usage=None, error="BadRequestError", attempts=(failed,))
    row = row_of(record_of(report, tags=chance.choice(_TAGS)))
    return tuple(row[name] for name in _COLUMNS)


def _attempts(chance: random.Random, weather: _Weather) -> tuple[tuple[Attempt, ...], float]:
    attempts, waited = [], 0.0
    if chance.random() < 0.01:
        attempts.append(Attempt("flex", "timeout", 900.0))
    while len(attempts) < weather.patience and chance.random() < weather.refuse:
        attempts.append(Attempt("flex", "capacity", chance.uniform(0.1, 0.4), 429, _id(chance)))
        waited += chance.uniform(0, min(60, 2 ** len(attempts)))
    patient = len(attempts) < weather.patience and chance.random() > weather.refuse / 4
    lane, seconds = ("flex", chance.lognormvariate(3, 0.8)) if patient else ("standard", 8.0)
    attempts.append(Attempt(lane, "served", seconds, 200, _id(chance)))
    return tuple(attempts), waited


def _usage(chance: random.Random) -> Usage:
    tokens, output = int(chance.lognormvariate(7.5, 1)), int(chance.lognormvariate(6, 1))
    return Usage(tokens, output, cached_input_tokens=tokens // 3, reasoning_tokens=output // 2)


def _id(chance: random.Random) -> str:
    return f"req_{chance.getrandbits(128):032x}"


if __name__ == "__main__":
    main()
