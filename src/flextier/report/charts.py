"""The charts of the page, drawn with Vega-Altair. Colours are the page's CSS variables.

Each is drawn twice: wide, and narrow for a phone, where a scaled-down chart is illegible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert

from flextier._utils.formatting import count, dollars, percent, plain
from flextier.lanes import LANES, tier_lane
from flextier.pricing.decimals import added
from flextier.report.period import WEEKDAYS
from flextier.report.summary import WAITS, FlexAttempts, Summary, TimeBucket

Rows = list[dict[str, Any]]
"""The data of a chart; ``tip`` labels a mark."""

COLORS = {lane.family: lane.colors for lane in LANES.values() if lane.colors}
"""Colours of lanes, by family, on a light page and on a dark one; other lanes share one."""
_OTHERS = "other lanes"

HEAT = ("none refused", "to 10 %", "to 30 %", "to 60 %", "over 60 %")
"""Classes of the share of refused attempts."""
_HEAT_BOUNDS = (0.0, 0.1, 0.3, 0.6)

WAIT_NAMES = ("none", "to 1 s", "to 5 s", "to 15 s", "to 1 min", "to 5 min", "to 15 min",
              "to 1 h", "longer")  # fmt: skip

assert len(WAIT_NAMES) == len(WAITS) + 1


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a chart, in CSS pixels."""

    name: str
    width: int
    height: int
    ticks: int
    """The approximate number of labels on an axis of time."""


WIDE, NARROW = Size("wide", 620, 230, 7), Size("narrow", 340, 220, 4)

_CONFIG = {
    "autosize": {"type": "fit", "contains": "padding"},
    "background": "transparent",
    "padding": 2,
    "view": {"stroke": None},
    "text": {"fontSize": 12},
    "axis": {
        "title": None,
        "labelColor": "var(--muted)",
        "labelFontSize": 12,
        "labelPadding": 6,
        "gridColor": "var(--line)",
        "ticks": False,
        "domain": False,
    },
    "legend": {
        "title": None,
        "orient": "top",
        "labelColor": "var(--ink)",
        "labelFontSize": 12.5,
        "symbolType": "square",
        "columnPadding": 14,
        "offset": 8,
    },
}
"""The page's colours and fonts."""

Drawing = Callable[[Summary, Size], alt.TopLevelMixin]


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False), config=_CONFIG)
    return drawn


def warm_up() -> None:
    """Start the drawing library, which takes a while, before the first chart needs it."""
    svg(alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_bar().encode(x="x:Q"))


def spending(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """Bars of the cost, inside bars of the standard price."""
    rows: Rows = []
    for bucket in summary.buckets:
        sums, name = bucket.sums, bucket.label
        tip = (
            f"{name}: spent {dollars(sums.cost)}, standard {dollars(sums.standard_cost)}, "
            f"saved {dollars(sums.saved)}"
        )
        for kind, amount in (("standard price", sums.standard_cost), ("spent", sums.cost)):
            rows.append({**_extent(bucket), "kind": kind, "amount": float(amount), "tip": tip})
    money = [amount for x in summary.buckets for amount in (x.sums.standard_cost, x.sums.cost)]
    base = _chart(rows).encode(x=_time(size), x2="end:T")
    bars = base.mark_bar().encode(
        y=alt.Y("amount:Q", stack=None, axis=_money_axis(money)),
        y2=alt.Y2Datum(0),
        color=_colours({"spent": "var(--spent)", "standard price": "var(--standard-soft)"}, "kind"),
    )
    tops = (
        base.transform_filter("datum.kind == 'standard price'")
        .mark_rule(stroke="var(--standard)", strokeWidth=1.5)
        .encode(y="amount:Q")
    )
    return _sized(bars + tops, size)


def saved(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """The total saved up to the end of each bucket."""
    amounts = list(accumulate((bucket.sums.saved for bucket in summary.buckets), added))
    first = summary.buckets[0]
    rows: Rows = [{"at": _iso(first.start), "amount": 0.0, "tip": ""}]
    for bucket, amount in zip(summary.buckets, amounts, strict=True):
        tip = f"By the end of {bucket.label}: {dollars(amount)} saved"
        rows.append({"at": _iso(bucket.end), "amount": float(amount), "tip": tip})
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=_time(size, "at:T"), y=alt.Y("amount:Q", axis=_money_axis(amounts))
    )
    area = base.mark_area(
        color="var(--saved-soft)", line={"color": "var(--saved)", "strokeWidth": 2.5}, aria=False
    )
    points = (
        base.transform_filter("datum.tip != ''")
        .mark_point(filled=True, size=90, color="var(--saved)", opacity=0)
        .encode(description="tip:N")
    )
    return _sized(area + points, size)


def lanes(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """The share of each lane in the answered calls."""
    rows: Rows = []
    for bucket in summary.buckets:
        whole, name = sum(bucket.calls_by_lane.values()), bucket.label
        below = 0
        for lane, calls in lanes_of(bucket.calls_by_lane).items():
            if calls:
                tip = f"{name}: {percent(calls, whole)} on {lane}, {count(calls, 'call')}"
                share = {"low": below / whole, "high": (below + calls) / whole}
                rows.append({**_extent(bucket), **share, "lane": lane, "tip": tip})
            below += calls
    names = lanes_of(dict.fromkeys(summary.by_lane, 0))
    percents = alt.Axis(tickCount=4, labelExpr="format(100 * datum.value, '.0f') + ' %'")
    chart = _chart(rows).encode(
        x=_time(size),
        x2="end:T",
        y=alt.Y("high:Q", scale=alt.Scale(domain=[0, 1]), axis=percents),
        y2="low:Q",
        color=_colours({name: f"var(--lane-{name.partition(' ')[0]})" for name in names}, "lane"),
    )
    return _sized(chart.mark_bar(), size)


def lanes_of(calls: Mapping[str, int]) -> dict[str, int]:
    """Calls by lane, in the order of ``COLORS``; lanes with the same colour are added up."""
    by_colour: Counter[str] = Counter()
    for lane, number in calls.items():
        family = tier_lane(lane).family
        by_colour[family if family in COLORS else _OTHERS] += number
    return {lane: by_colour[lane] for lane in (*COLORS, _OTHERS) if lane in by_colour}


def refusals(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """The share of refused attempts by weekday and hour; hours are rows in the narrow size."""
    rows = [
        {
            "hour": f"{hour:02d}",
            "day": day,
            "class": HEAT[sum(share > end for end in _HEAT_BOUNDS)],
            "shown": "<1" if 0 < share < 0.005 else f"{100 * share:.0f}",
            "tip": f"{day} {hour:02d}:00: {attempts_text(attempts)}",
        }
        for day, hours in zip(WEEKDAYS, summary.flex_attempts, strict=True)
        for hour, attempts in enumerate(hours)
        if (share := attempts.refused_share) is not None
    ]
    names = {"hour:O": [f"{hour:02d}" for hour in range(24)], "day:O": list(WEEKDAYS)}
    x, y = names if size is WIDE else reversed(names)

    def axis(channel: Any, field: str, orient: str) -> Any:
        scale = alt.Scale(domain=names[field], paddingInner=0.06)
        return channel(field, sort=None, scale=scale, axis={"orient": orient, "labelAngle": 0})

    base = _chart(rows).encode(x=axis(alt.X, x, "top"), y=axis(alt.Y, y, "left"))
    cells = base.mark_rect(cornerRadius=3).encode(
        color=_colours({name: f"var(--heat-{n})" for n, name in enumerate(HEAT)}, "class")
    )
    inks = alt.Scale(domain=list(HEAT), range=[f"var(--heat-ink-{n})" for n in range(len(HEAT))])
    texts = base.mark_text(fontSize=11, aria=False).encode(
        text="shown:N", color=alt.Color("class:N", scale=inks, legend=None)
    )
    both = alt.layer(cells, texts).resolve_scale(color="independent")
    return _sized(both, size, height=260 if size is WIDE else 600)


def attempts_text(attempts: FlexAttempts) -> str:
    """The share of refused attempts in words."""
    if not attempts.total:
        return "no attempts"
    refused = percent(attempts.refused, attempts.total)
    return f"{refused} of {count(attempts.total, 'attempt')} refused"


def waits(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """A histogram of waits, up to the longest."""
    counts, whole = summary.waits.counts, summary.waits.calls
    last = max((place for place, calls in enumerate(counts) if calls), default=0)
    rows = [
        {
            "name": name,
            "value": calls / whole,
            "shown": percent(calls, whole) if calls else "",
            "tip": f"{name}: {count(calls, 'call')}, {percent(calls, whole)}",
        }
        for name, calls in zip(WAIT_NAMES, counts[: max(last + 1, 3)], strict=False)
    ]
    return _bars(rows, size, names=WAIT_NAMES, longest=1.12, color="var(--wait)", step=30)


def premium(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """What fallbacks cost more than the first lanes, by reason."""
    most = max(float(one.premium) for one in summary.fallbacks)
    names = [plain(one.reason, 24) for one in summary.fallbacks]
    rows = [
        {
            "name": name,
            "value": float(one.premium),
            "shown": f"{dollars(one.premium)}, {count(one.calls, 'call')}",
            "tip": f"{plain(one.reason)}: {dollars(one.premium)} for {count(one.calls, 'call')}",
        }
        for name, one in zip(names, summary.fallbacks, strict=True)
    ]
    longest = (most or 1) * (1.35 if size is WIDE else 2.2)
    return _bars(rows, size, names=names, longest=longest, color="var(--lane-standard)", step=34)


def _bars(
    rows: Rows, size: Size, *, names: Sequence[str], longest: float, color: str, step: int
) -> alt.TopLevelMixin:
    """Horizontal bars, each with its ``name`` before it and ``shown`` behind its ``value``.

    All ``names`` get room; ``longest`` is the value at the right edge.
    """
    # Browsers may use a wider font than the one that the drawing library measures with.
    names_axis = alt.Axis(minExtent=8 * max(map(len, names)) + 6)
    base = _chart(rows).encode(
        x=alt.X("value:Q", axis=None, scale=alt.Scale(domainMin=0, domainMax=longest)),
        y=alt.Y("name:O", sort=None, axis=names_axis),
    )
    bars = base.mark_bar(color=color, cornerRadiusEnd=3)
    texts = base.mark_text(align="left", dx=6, color="var(--ink)", aria=False).encode(
        text="shown:N"
    )
    return _sized(bars + texts, size, height=step * len(rows) + 12)


def _chart(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows)).encode(description="tip:N")


def _extent(bucket: TimeBucket) -> dict[str, Any]:
    """Start and end of a bar on the axis of time, with a gap between bars."""
    gap = (bucket.end - bucket.start) / 12
    return {"start": _iso(bucket.start + gap), "end": _iso(bucket.end - gap)}


def _iso(at: Any) -> str:
    # Local time is drawn as if it were UTC, so that the zone of this machine does not matter.
    return f"{at.isoformat()}Z"


def _time(size: Size, field: str = "start:T") -> alt.X:
    return alt.X(
        field,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(
            tickCount=size.ticks,
            grid=False,
            labelOverlap="greedy",
            labelSeparation=18,
            labelFlush=True,
            format={"hours": "%H:%M"},
        ),
    )


def _money_axis(amounts: Sequence[Decimal]) -> alt.Axis:
    most = max((abs(amount) for amount in amounts), default=Decimal(0))
    digits = 0 if most >= 10 else max(2, 1 - most.adjusted()) if most else 2
    return alt.Axis(format=f"$,.{digits}f", tickCount=4)


def _colours(colours: Mapping[str, str], field: str) -> alt.Color:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale)


def _sized(chart: Any, size: Size, height: int | None = None) -> alt.TopLevelMixin:
    sized: alt.TopLevelMixin = chart.properties(
        width=size.width, height=height or size.height
    ).configure_legend(columns=5 if size is WIDE else 3)
    return sized


_SVG = "http://www.w3.org/2000/svg"
_UNUSED_ATTRIBUTES = ("aria-label", "aria-roledescription", "aria-hidden", "role", "class",
                      "pointer-events")  # fmt: skip


def inlined(svg: str, *, name: str, title: str, description: str) -> str:
    """A chart as SVG to be embedded in a page, where its ``name`` is unique.

    A screen reader gets one picture with a title and a description; a table beside it has the
    numbers. Labels of marks become tooltips.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        label = element.get("role") == "graphics-symbol" and element.get("aria-label")
        for attribute in _UNUSED_ATTRIBUTES:
            element.attrib.pop(attribute, None)
        if label:
            _insert(element, 0, "title", label)
    width, height = root.get("width", ""), root.get("height", "")
    root.attrib.clear()
    root.attrib |= {
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-description",
    }
    _insert(root, 0, "title", title).set("id", f"{name}-title")
    _insert(root, 1, "desc", description).set("id", f"{name}-description")
    return ElementTree.tostring(root, encoding="unicode")


def _insert(parent: ElementTree.Element, place: int, tag: str, text: str) -> ElementTree.Element:
    child = ElementTree.Element(f"{{{_SVG}}}{tag}")
    child.text = text
    parent.insert(place, child)
    return child
