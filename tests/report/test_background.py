"""Background windows in a report: lanes of their own in tables, one colour in the chart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from flextier.costs import CallRecord
from flextier.report.charts import WIDE, lanes, lanes_of, svg
from tests.costs.test_background_calls import background
from tests.report.conftest import summary_of

Keep = Callable[[Iterable[CallRecord]], Path]

MADE = [
    background(id="one"),
    background(id="two", lane="background-2h", first_lane="background-2h"),
    background(id="three", lane="background-soonest", first_lane="background-soonest"),
    background(id="four", lane="standard", first_lane="standard"),
]


def test_sums_by_lane(keep: Keep) -> None:
    """Each window has sums of its own."""
    summary = summary_of(keep(MADE))
    assert {lane: sums.calls for lane, sums in summary.by_lane.items()} == dict.fromkeys(
        ("background-8h", "background-2h", "background-soonest", "standard"), 1
    )
    assert summary.by_lane["background-8h"].cost == MADE[0].cost.total


def test_one_colour() -> None:
    """The chart shows the windows together, in the colour of background; other lanes are others."""
    calls = {"background-8h": 2, "priority": 1, "background-2h": 3, "flex": 4, "backgrounds": 1}
    assert lanes_of(calls) == {"flex": 4, "background": 5, "other lanes": 2}
    assert list(lanes_of(calls)) == ["flex", "background", "other lanes"]


def test_the_chart(keep: Keep) -> None:
    """Three of four calls on background, in one bar."""
    drawn = svg(lanes(summary_of(keep(MADE)), WIDE))
    assert "75 % on background, 3 calls" in drawn
    assert "25 % on standard, 1 call" in drawn
    assert "var(--lane-background)" in drawn
