"""Durations as text, and times of day."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from flextier._utils.durations import next_time_of_day, parse_duration, seconds_of

VIENNA = ZoneInfo("Europe/Vienna")


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (90, 90),
        ("3600", 3600),
        ("1.5", 1.5),
        ("90s", 90),
        ("90m", 5400),
        ("6h", 6 * 3600),
        ("1h30m", 5400),
        (" 1H30M ", 5400),
        ("1.5h", 5400),
        ("2d", 2 * 86400),
        ("4w", 28 * 86400),
        (timedelta(minutes=2), 120),
    ],
)
def test_durations(span: Any, expected: float) -> None:
    """Seconds, or numbers with units."""
    assert parse_duration(span) == seconds_of(span) == expected


@pytest.mark.parametrize(
    "span", [0, -1, "0s", "soon", "", "6 hours", "nan", "inf", "h", "-5m", "1h 30m", None, "5ms"]
)
def test_what_is_no_duration(span: Any) -> None:
    """The message says what can be given."""
    with pytest.raises(ValueError, match="must be seconds, or a duration such as 90s, 15m, 1h30m"):
        parse_duration(span)


def test_zero_is_a_duration_where_it_has_a_meaning() -> None:
    """Whether 0 is allowed is for the field to say."""
    assert seconds_of("0s") == seconds_of(0) == 0


@pytest.mark.parametrize("span", ["06:00", "22:30:05"])
def test_a_time_of_day_is_no_duration(span: str) -> None:
    """The message names the argument that takes it."""
    with pytest.raises(ValueError, match=r"times of day go into until \(--until\)"):
        parse_duration(span)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        ("2026-11-20T22:30", "06:00", "2026-11-21T06:00"),
        ("2026-11-20T22:30", "6:00", "2026-11-21T06:00"),
        ("2026-11-20T05:59:59", "06:00", "2026-11-20T06:00"),
        ("2026-11-20T06:00", "06:00", "2026-11-21T06:00"),
        ("2026-11-20T22:30", "22:30:05", "2026-11-20T22:30:05"),
        ("2026-12-31T23:00", "00:00", "2027-01-01T00:00"),
        # Summer time ends on the 25th at 3:00, and begins on 28 March 2027 at 2:00.
        ("2026-10-24T22:00", "06:00", "2026-10-25T06:00"),
        ("2027-03-27T22:00", "06:00", "2027-03-28T06:00"),
        ("2027-03-27T22:00", "02:30", "2027-03-28T03:30"),
    ],
)
def test_the_next_time_of_day(now: str, text: str, expected: str) -> None:
    """By the clock on the wall, also over nights in which it is changed."""
    found = next_time_of_day(text, _moment(now), VIENNA)
    assert datetime.fromtimestamp(found, VIENNA).isoformat()[: len(expected)] == expected


def test_a_night_in_which_the_clock_is_changed() -> None:
    """Eight hours by the clock last nine, or seven."""
    autumn, spring = _moment("2026-10-24T22:00"), _moment("2027-03-27T22:00")
    assert next_time_of_day("06:00", autumn, VIENNA) - autumn == 9 * 3600
    assert next_time_of_day("06:00", spring, VIENNA) - spring == 7 * 3600


def test_a_time_that_is_shown_twice() -> None:
    """The first one; after that the second one."""
    first = datetime(2026, 10, 25, 0, 30, tzinfo=timezone.utc).timestamp()
    assert next_time_of_day("02:30", first - 1, VIENNA) == first
    assert next_time_of_day("02:30", first, VIENNA) == first + 3600


@pytest.fixture
def _in_vienna(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Vienna")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="time.tzset")
@pytest.mark.usefixtures("_in_vienna")
@pytest.mark.parametrize(
    ("now", "text", "hours"),
    [
        ("2026-11-20T22:30", "06:00", 7.5),
        ("2026-10-24T22:00", "06:00", 9),
        ("2027-03-27T22:00", "06:00", 7),
        ("2027-03-27T22:00", "02:30", 4.5),
        ("2026-10-25T00:30", "02:30", 2),
    ],
)
def test_the_clock_of_this_machine(now: str, text: str, hours: float) -> None:
    """Without a zone, local time counts, with its summer time."""
    begun = _moment(now)
    assert next_time_of_day(text, begun) - begun == hours * 3600


@pytest.mark.parametrize("text", ["25:00", "06:60", "6", "6am", "", "2h", 6, None])
def test_what_is_no_time_of_day(text: Any) -> None:
    """The message says what can be given."""
    with pytest.raises(ValueError, match="must be a time of day such as 06:00"):
        next_time_of_day(text, 0.0)


def _moment(local: str) -> float:
    return datetime.fromisoformat(local).replace(tzinfo=VIENNA).timestamp()
