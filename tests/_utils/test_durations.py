"""Durations and times of day as text."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from flextier._utils.durations import parse_duration

EVENING = datetime(2026, 11, 20, 22, 30)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (90, 90),
        ("3600", 3600),
        ("1.5", 1.5),
        ("90m", 5400),
        ("6h", 6 * 3600),
        ("1h30m", 5400),
        ("2d", 2 * 86400),
        (timedelta(minutes=2), 120),
        ("06:00", 7.5 * 3600),
        ("22:30", 86400),
        ("22:30:05", 5),
    ],
)
def test_durations(span: str, expected: float) -> None:
    """Seconds, units, and a time of day: the next one."""
    assert parse_duration(span, now=EVENING) == expected


@pytest.mark.parametrize("span", [0, -1, "soon", "", "6 hours", "25:00", "nan", "inf", "h"])
def test_what_is_no_duration(span: str) -> None:
    """The message says what can be given."""
    with pytest.raises(ValueError, match="give seconds above 0"):
        parse_duration(span, now=EVENING)
