"""Records of calls, for ledgers to keep."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from flextier.calls.report import Attempt
from flextier.costs import CallRecord, Usage, record_of
from tests.costs.records import NOON, report

_IDS = count(1)

WHOLE = record_of(
    report(
        Attempt("flex", "capacity", 0.25, 429, "req_1"),
        Attempt("flex", "timeout", 900.0),
        Attempt("standard", "transient", 0.1, sent=False),
        Attempt("standard", "served", 3.0, 200, "req_2"),
        lane="standard",
        fallback="timeout",
        usage=Usage(1_000, 100, 60, 30, 40),
        waited=1.5,
        elapsed=905.125,
        output_limit=500,
    ),
    framework="langchain",
    run_id="run",
    parent_run_id="chain",
    tags=("nightly", 'with "quotes", and ü', "nightly"),
)
"""A record with something in every field; but no metadata, which ledgers do not keep."""


def call(**facts: Any) -> CallRecord:
    """A record like no other: an answered o3 call on flex, but for what is said."""
    number = next(_IDS)
    defaults = {"call_id": f"call-{number}", "at": NOON + timedelta(seconds=number)}
    return replace(record_of(report()), **{**defaults, **facts})


def costing(cost: Decimal | None, standard: Decimal | None, **facts: Any) -> CallRecord:
    """A record with the given cost, as if another program had priced it."""
    zero = Decimal(0)
    priced = replace(
        call().cost,
        rates=None,
        input=cost,
        cached_input=None if cost is None else zero,
        cache_write=None if cost is None else zero,
        output=None if cost is None else zero,
        standard=standard,
    )
    return call(cost=priced, **facts)


def ids(records: Iterable[CallRecord]) -> list[str]:
    """The names of calls."""
    return [record.call_id for record in records]


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, with the arguments in ``sys.argv``."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def leave(status: int) -> NoReturn:
    """End the process without the interpreter's own end, with what it has printed."""
    sys.stdout.flush()
    os._exit(status)


def environment() -> dict[str, str]:
    """An environment in which a process finds the tests, wherever it runs."""
    found = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, found))}
