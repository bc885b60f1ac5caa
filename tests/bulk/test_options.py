"""What a run is told: how many rows are under way if nothing says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flextier.bulk.options import RunOptions, options


def told(place: Path, **given: Any) -> RunOptions:
    """The options of a run of an empty file."""
    source = place / "in.jsonl"
    source.touch()
    usual: dict[str, Any] = dict.fromkeys(
        ("key", "input_column", "lanes", "deadline", "concurrency", "budget", "errors")
    )
    usual |= dict.fromkeys(("with_cost", "retry_errors", "overwrite"), False)
    usual |= {"output_column": "output", "order": "input", **given}
    return options(source, place / "out.jsonl", **usual)


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
    assert told(tmp_path, lanes=lanes, deadline=deadline).concurrency == rows
    assert told(tmp_path, lanes=lanes, deadline=deadline, concurrency=7).concurrency == 7


@pytest.mark.parametrize(
    ("lanes", "rows"),
    [("background,standard", 64), ("batch,background", 50_000), ("flex", 64), ("auto", 50_000)],
)
def test_rows_at_a_time_under_a_budget(lanes: str, rows: int, tmp_path: Path) -> None:
    """What is under way is not stopped by it: only a file of calls is worth so many."""
    assert told(tmp_path, lanes=lanes, budget=5).concurrency == rows


def test_the_lanes_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count where the run names none."""
    monkeypatch.setenv("FLEXTIER_LANES", "background,standard")
    assert told(tmp_path).concurrency == 50_000
