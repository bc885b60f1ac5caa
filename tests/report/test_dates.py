"""Dates that are far off: of a wrong clock, or meant as the end of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from flextier.cli import main
from flextier.costs import CallRecord
from flextier.report.page import page
from flextier.report.period import UNITS, Unit, buckets
from tests.ledger.calls import call
from tests.report.conftest import summary_of

Keep = Callable[[Iterable[CallRecord]], Path]

FAR = datetime(5138, 11, 16, 9, 46, 40, tzinfo=timezone.utc)  # 1e11 s: milliseconds in between
FIRST = datetime(1, 1, 1, tzinfo=timezone.utc)
LAST = datetime.max.replace(tzinfo=timezone.utc)


def test_one_date_that_is_far_off(keep: Keep, capsys: pytest.CaptureFixture[str]) -> None:
    """The page stays small, and the report says that its bars are centuries."""
    file = keep([*(call() for _ in range(6)), call(at=FAR)])
    summary = summary_of(file)

    assert len(summary.buckets) == 32
    assert sum(slot.sums.calls for slot in summary.buckets) == 7
    html = page(summary)
    assert len(html) < 500_000
    assert "5100 to 5199" in html
    assert "and 5138-11-16, so charts have one bar per century" in html
    main(["report", "--ledger", str(file), "--since", "all"])
    assert "one bar per century" in capsys.readouterr().out


def test_ordinary_times_need_no_note(keep: Keep) -> None:
    """Nothing is said about bars of months or less."""
    assert "one bar per" not in page(summary_of(keep([call()])))


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_ends_of_time(keep: Keep, zone: str) -> None:
    """The first and the last moment that there is are dates like others, in every zone."""
    summary = summary_of(keep([call(at=FIRST), call(at=LAST)]), tz=zone)

    assert sum(slot.sums.calls for slot in summary.buckets) == 2
    assert len(summary.buckets) == 100
    assert sorted(summary.by_day)[0].startswith("0001-01-0")
    assert "0001-01-0" in page(summary)


@pytest.mark.parametrize("since", ["0001-01-01", "0001-01-01T00:00+00:00"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_since_the_first_year(
    since: str, zone: str, keep: Keep, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown with four digits."""
    assert main(["report", "--ledger", str(keep([call()])), "--since", since, "--tz", zone]) == 0
    assert ": 0001-01-01 00:00 to " in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_buckets_at_the_ends_of_time(unit: Unit) -> None:
    """They end where time does, without a gap."""
    last = datetime.max
    for first in (datetime.min, datetime(9999, 12, 31, 23, 1)):
        end = min(last, unit.next(unit.next(first)))
        found = list(buckets(first, end, unit))
        assert found[0][0] <= first
        assert found[-1][1] >= end
        assert all(one[1] == other[0] for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("unit", "at", "name"),
    [
        ("5 minutes", datetime(2026, 1, 2, 3, 14), "2026-01-02 03:10"),
        ("hour", datetime(9, 1, 2, 3, 4), "0009-01-02 03:00"),
        ("day", datetime(2026, 11, 21, 3), "Sat 2026-11-21"),
        ("week", datetime(2026, 11, 21, 3), "week of 2026-11-16"),
        ("month", datetime(9, 1, 2), "0009-01"),
        ("year", datetime(2026, 5, 4), "2026"),
        ("decade", datetime(2026, 5, 4), "2020 to 2029"),
        ("decade", datetime(9, 5, 4), "0001 to 0009"),
        ("century", datetime(9999, 5, 4), "9900 to 9999"),
        ("year", datetime(9999, 5, 4), "9999"),
    ],
)
def test_names_of_buckets(unit: str, at: datetime, name: str) -> None:
    """As short as what they are allows."""
    assert UNITS[unit].label(UNITS[unit].start(at)) == name
