"""The arguments of a run: their names, and the default number of rows in flight."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flextier.bulk import arun, run
from flextier.bulk.options import RunOptions, options


def checked(place: Path, **arguments: Any) -> RunOptions:
    """The options of a run of an empty file."""
    source = place / "in.jsonl"
    source.touch()
    return options(source, place / "out.jsonl", **arguments)


@pytest.mark.parametrize(
    ("lanes", "deadline", "rows"),
    [
        (None, None, 64),
        ("flex,standard", "6h", 64),
        ("batch,standard", None, 50_000),
        ("background,standard", "6h", 50_000),
        ("auto", None, 50_000),
        ("auto", "3h", 50_000),
        ("auto", "2h", 64),
    ],
)
def test_rows_at_a_time(lanes: str | None, deadline: str | None, rows: int, tmp_path: Path) -> None:
    """Many where they may wait offline; few where each has a connection."""
    assert checked(tmp_path, lanes=lanes, deadline=deadline).concurrency == rows
    assert checked(tmp_path, lanes=lanes, deadline=deadline, concurrency=7).concurrency == 7


def test_a_run_until_a_time_of_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the next one; of two ends the earlier one counts."""
    now = datetime(2026, 11, 20, 22, 30).timestamp()
    monkeypatch.setattr(time, "time", lambda: now)
    assert checked(tmp_path, until="06:00").deadline == 7.5 * 3600
    assert checked(tmp_path, until="06:00", deadline="2h").deadline == 7200
    assert checked(tmp_path, until="06:00", deadline="1d").deadline == 7.5 * 3600


@pytest.mark.parametrize(
    ("lanes", "rows"),
    [("background,standard", 64), ("batch,background", 50_000), ("flex", 64), ("auto", 50_000)],
)
def test_rows_at_a_time_under_a_budget(lanes: str, rows: int, tmp_path: Path) -> None:
    """What is under way is not stopped by it: only a file of calls is worth this many."""
    assert checked(tmp_path, lanes=lanes, budget=5).concurrency == rows


def test_the_lanes_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count where the run names none."""
    monkeypatch.setenv("FLEXTIER_LANES", "background,standard")
    assert checked(tmp_path).concurrency == 50_000


async def test_a_misspelt_argument(tmp_path: Path) -> None:
    """The error suggests the right name."""
    with pytest.raises(TypeError, match="argument 'retry_error': did you mean 'retry_errors'"):
        run(len, tmp_path / "in.csv", tmp_path / "out.csv", retry_error=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'xyz'$"):
        await arun(len, tmp_path / "in.csv", tmp_path / "out.csv", xyz=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("function", [run, arun])
def test_help_shows_every_argument(function: Callable[..., Any]) -> None:
    """Names, types and defaults are in the signature, as if they were written there."""
    parameters = inspect.signature(function).parameters
    assert [*parameters][:4] == ["runnable", "input", "output", "key"]
    assert {name: one.default for name, one in parameters.items() if one.default} == {
        "runnable": inspect.Parameter.empty,
        "input": inspect.Parameter.empty,
        "output": inspect.Parameter.empty,
        "output_column": "output",
        "order": "input",
    }
    assert parameters["concurrency"].annotation == int | None
