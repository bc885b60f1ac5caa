"""The charts of the page, drawn with Vega-Altair. Colours are the page's CSS variables.

Each is drawn twice: wide, and narrow for a phone, where a scaled-down chart is illegible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
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

Drawing = Callable[[Summary, Size], alt.TopLevelMixin]


def svg(chart: alt.TopLevelMixin) -> str:
    """The chart as SVG."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
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
    money = [bucket.sums.standard_cost for bucket in summary.buckets]
    money += [bucket.sums.cost for bucket in summary.buckets]
    base = alt.Chart(alt.InlineData(values=rows))
    x = _time(size)
    bars = base.mark_bar().encode(
        x=x,
        x2="end:T",
        y=alt.Y("amount:Q", title=None, stack=None, axis=_money_axis(money)),
        y2=alt.Y2Datum(0),
        color=_colours({"spent": "var(--spent)", "standard price": "var(--standard-soft)"}, "kind"),
        description="tip:N",
    )
    tops = (
        base.transform_filter("datum.kind == 'standard price'")
        .mark_rule(stroke="var(--standard)", strokeWidth=1.5)
        .encode(x=x, x2="end:T", y=alt.Y("amount:Q"), description="tip:N")
    )
    return _styled(alt.layer(bars, tops), size)


def saved(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """The total saved up to the end of each bucket."""
    amounts = list(accumulate((bucket.sums.saved for bucket in summary.buckets), added))
    first = summary.buckets[0]
    rows: Rows = [{"at": _iso(first.start), "amount": 0.0, "tip": ""}]
    for bucket, amount in zip(summary.buckets, amounts, strict=True):
        tip = f"By the end of {bucket.label}: {dollars(amount)} saved"
        rows.append({"at": _iso(bucket.end), "amount": float(amount), "tip": tip})
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=_time(size, "at:T"),
        y=alt.Y("amount:Q", title=None, axis=_money_axis(amounts)),
    )
    area = base.mark_area(
        color="var(--saved-soft)", line={"color": "var(--saved)", "strokeWidth": 2.5}, aria=False
    )
    points = (
        base.transform_filter("datum.tip != ''")
        .mark_point(filled=True, size=90, color="var(--saved)", opacity=0)
        .encode(description="tip:N")
    )
    return _styled(area + points, size)


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
    names = list(lanes_of(dict.fromkeys(summary.by_lane, 0)))
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar()
        .encode(
            x=_time(size),
            x2="end:T",
            y=alt.Y(
                "high:Q",
                title=None,
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(tickCount=4, labelExpr="format(100 * datum.value, '.0f') + ' %'"),
            ),
            color=_colours(
                {name: f"var(--lane-{name.partition(' ')[0]})" for name in names}, "lane"
            ),
            y2="low:Q",
            description="tip:N",
        )
    )
    return _styled(chart, size)


def lanes_of(calls: Mapping[str, int]) -> dict[str, int]:
    """Calls by lane, in the order of ``COLORS``; lanes with the same colour are added up."""
    by_colour: Counter[str] = Counter()
    for lane, number in calls.items():
        by_colour[_displayed_lane(lane)] += number
    return {lane: by_colour[lane] for lane in (*COLORS, _OTHERS) if lane in by_colour}


def _displayed_lane(lane: str) -> str:
    family = tier_lane(lane).family
    return family if family in COLORS else _OTHERS


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
    wide = size is WIDE
    hours = alt.Axis(orient="top" if wide else "left", labelAngle=0)
    days = alt.Axis(orient="left" if wide else "top", labelAngle=0)
    hour_scale = alt.Scale(domain=[f"{hour:02d}" for hour in range(24)], paddingInner=0.06)
    day_scale = alt.Scale(domain=list(WEEKDAYS), paddingInner=0.06)
    x, y = ("hour:O", "day:O") if wide else ("day:O", "hour:O")
    x_axis, y_axis = (hours, days) if wide else (days, hours)
    x_scale, y_scale = (hour_scale, day_scale) if wide else (day_scale, hour_scale)
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(x, title=None, axis=x_axis, scale=x_scale, sort=None),
        y=alt.Y(y, title=None, axis=y_axis, scale=y_scale, sort=None),
        description="tip:N",
    )
    cells = base.mark_rect(cornerRadius=3).encode(
        color=_colours({name: f"var(--heat-{n})" for n, name in enumerate(HEAT)}, "class")
    )
    inks = alt.Scale(domain=list(HEAT), range=[f"var(--heat-ink-{n})" for n in range(len(HEAT))])
    texts = base.mark_text(fontSize=11, aria=False).encode(
        text="shown:N", color=alt.Color("class:N", scale=inks, legend=None)
    )
    both = alt.layer(cells, texts).resolve_scale(color="independent")
    return _styled(both, size, height=260 if wide else 600)


def attempts_text(attempts: FlexAttempts) -> str:
    """The share of refused attempts in words."""
    if not attempts.total:
        return "no attempts"
    refused = percent(attempts.refused, attempts.total)
    return f"{refused} of {count(attempts.total, 'attempt')} refused"


def waits(summary: Summary, size: Size) -> alt.TopLevelMixin:
    """A histogram of waits."""
    counts = _without_empty_tail(summary.waits.counts)
    whole = summary.waits.calls
    rows = [
        {
            "name": name,
            "value": calls / whole,
            "shown": percent(calls, whole) if calls else "",
            "tip": f"{name}: {count(calls, 'call')}, {percent(calls, whole)}",
        }
        for name, calls in zip(WAIT_NAMES, counts, strict=False)
    ]
    return _bars(rows, size, names=WAIT_NAMES, longest=1.12, color="var(--wait)", step=30)


def _without_empty_tail(counts: Sequence[int]) -> Sequence[int]:
    """The counts up to the last that is not 0, at least three."""
    last = max((place for place, calls in enumerate(counts) if calls), default=0)
    return counts[: max(last + 1, 3)]


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
    """Horizontal bars, each with its name before it and its value behind it.

    Args:
        rows: a bar each: ``name``, ``value``, and ``shown`` and ``tip`` for the reader.
        size: the size.
        names: all names that may appear, which get room.
        longest: the value at the right edge: there has to be room for ``shown``.
        color: of the bars.
        step: the pixels from one bar to the next.
    """
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("value:Q", title=None, axis=None, scale=alt.Scale(domainMin=0, domainMax=longest)),
        y=alt.Y("name:O", title=None, sort=None, axis=_names_axis(names)),
        description="tip:N",
    )
    bars = base.mark_bar(color=color, cornerRadiusEnd=3)
    texts = base.mark_text(align="left", dx=6, color="var(--ink)", aria=False).encode(
        text="shown:N"
    )
    return _styled(bars + texts, size, height=step * len(rows) + 12)


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
        title=None,
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


def _names_axis(names: Iterable[str]) -> alt.Axis:
    # Browsers may use a wider font than the one that the drawing library measures with.
    return alt.Axis(minExtent=8 * max(map(len, names)) + 6)


def _colours(colours: Mapping[str, str], field: str) -> alt.Color:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", title=None, scale=scale)


def _styled(chart: Any, size: Size, height: int | None = None) -> alt.TopLevelMixin:
    """The chart in the page's size and colours."""
    styled: alt.TopLevelMixin = (
        chart.properties(
            width=size.width,
            height=height or size.height,
            autosize=alt.AutoSizeParams(type="fit", contains="padding"),
            background="transparent",
            padding=2,
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--muted)",
            labelFontSize=12,
            domainColor="var(--line)",
            gridColor="var(--line)",
            tickColor="var(--line)",
            ticks=False,
            domain=False,
            labelPadding=6,
        )
        .configure_legend(
            orient="top",
            labelColor="var(--ink)",
            labelFontSize=12.5,
            symbolType="square",
            columnPadding=14,
            columns=5 if size is WIDE else 3,
            offset=8,
        )
        .configure_text(fontSize=12)
    )
    return styled


_SVG = "http://www.w3.org/2000/svg"
_UNUSED_ATTRIBUTES = (
    "aria-label",
    "aria-roledescription",
    "aria-hidden",
    "role",
    "class",
    "pointer-events",
)
_LABELLED = "graphics-symbol"


def inlined(svg: str, *, name: str, title: str, description: str) -> str:
    """A chart as SVG to be embedded in a page.

    A screen reader gets one picture with a title and a description; a table beside it has the
    numbers. Labels of marks become tooltips.

    Args:
        svg: as the drawing library writes it.
        name: unique on the page.
        title: title of the picture.
        description: description of the picture.
    """
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for element in list(root.iter()):
        _add_title(element)
    width, height = root.get("width"), root.get("height")
    root.attrib.clear()
    root.attrib.update(
        {
            "viewBox": f"0 0 {width} {height}",
            "width": f"{width}",
            "height": f"{height}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
        }
    )
    for place, (tag, text) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(f"{{{_SVG}}}{tag}")
        child.set("id", f"{name}-{'title' if tag == 'title' else 'description'}")
        child.text = text
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _add_title(element: ElementTree.Element) -> None:
    """Turn the label of a mark into its tooltip."""
    label = element.get("aria-label")
    is_label = element.get("role") == _LABELLED and label
    for name in _UNUSED_ATTRIBUTES:
        element.attrib.pop(name, None)
    if is_label:
        tip = ElementTree.Element(f"{{{_SVG}}}title")
        tip.text = label
        element.insert(0, tip)
