"""Dates that are far off: of a wrong clock, or meant as the end of time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path

import pytest

from flextier.cli import main
from flextier.costs import CallRecord
from flextier.report import period
from flextier.report.page import page
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


@pytest.mark.parametrize(
    "cut",
    [
        period.hour,
        period.day,
        period.week,
        period.month,
        period.year,
        period.decade,
        period.century,
    ],
)
def test_buckets_at_the_ends_of_time(cut: period.Truncate) -> None:
    """They end where time does, without a gap."""
    last = datetime.max
    for first in (datetime.min, datetime(9999, 12, 31, 1)):
        end = min(last, period.next_bucket(period.next_bucket(first, cut), cut))
        found = list(period.buckets(first, end, cut))
        assert found[0][0] <= first
        assert found[-1][1] >= end
        assert all(one[1] == other[0] for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("cut", "at", "name"),
    [
        (period.hour, datetime(9, 1, 2, 3, 4), "0009-01-02 03:00"),
        (period.month, datetime(9, 1, 2), "0009-01"),
        (period.year, datetime(2026, 5, 4), "2026"),
        (period.decade, datetime(2026, 5, 4), "2020 to 2029"),
        (period.decade, datetime(9, 5, 4), "0001 to 0009"),
        (period.century, datetime(9999, 5, 4), "9900 to 9999"),
        (period.year, datetime(9999, 5, 4), "9999"),
    ],
)
def test_names_of_buckets(cut: period.Truncate, at: datetime, name: str) -> None:
    """As short as what they are allows."""
    assert period.bucket_name(cut(at), period.next_bucket(cut(at), cut)) == name
