"""The page's figures: each is a chart, a sentence that describes it, and a table of its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

from flextier._utils.formatting import count, dollars, percent, plain, seconds
from flextier.pricing.decimals import added
from flextier.report import charts
from flextier.report.charts import inlined
from flextier.report.period import WEEKDAYS
from flextier.report.summary import HOURS, Summary

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells as text; the first column names the rows."""

    head: Cells
    rows: tuple[Cells, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its title, description and table."""

    name: str
    title: str
    description: str
    table: Table
    drawing: charts.Drawing | None = None

    def drawn(self, summary: Summary) -> Iterator[tuple[str, Markup]]:
        """The names of the sizes, and the chart as SVG in each; nothing, if there is no chart."""
        if self.drawing is None:
            return
        for size in (charts.WIDE, charts.NARROW):
            svg = charts.svg(self.drawing(summary, size))
            name = f"{self.name}-{size.name}"
            inline = inlined(svg, name=name, title=self.title, description=self.description)
            yield size.name, Markup(inline)


def figures(summary: Summary) -> tuple[Figure, ...]:
    """All figures, in the order of the page."""
    return tuple(make(summary) for make in (_spending, _saved, _lanes, _refusals, _waits, _premium))


def _spending(summary: Summary) -> Figure:
    total = summary.total
    rows = tuple(
        (
            bucket.label,
            dollars(bucket.sums.cost),
            dollars(bucket.sums.standard_cost),
            dollars(bucket.sums.saved),
            count(bucket.sums.calls),
        )
        for bucket in summary.buckets
    )
    return Figure(
        "spending",
        "Spent, and the standard price of the same",
        f"{dollars(total.cost)} was spent. On the standard lane the same tokens would have cost "
        f"{dollars(total.standard_cost)}.",
        Table(("when", "spent", "standard price", "saved", "calls"), rows),
        charts.spending,
    )


def _saved(summary: Summary) -> Figure:
    total = summary.total
    share = percent(total.saved, total.standard_cost)
    amounts = accumulate((bucket.sums.saved for bucket in summary.buckets), added)
    rows = tuple(
        (bucket.label, dollars(amount))
        for bucket, amount in zip(summary.buckets, amounts, strict=True)
    )
    return Figure(
        "saved",
        "Saved so far",
        f"{dollars(total.saved)} saved" + (f": {share} of the standard price." if share else "."),
        Table(("by the end of", "saved so far"), rows),
        charts.saved,
    )


def _lanes(summary: Summary) -> Figure:
    lanes = [lane for lane, sums in summary.by_lane.items() if sums.calls]
    lanes.sort(key=lambda lane: -summary.by_lane[lane].calls)
    shares = [
        f"{percent(summary.by_lane[lane].calls, summary.total.calls)} on {plain(lane, 24)}"
        for lane in lanes
    ]
    description = f"Of {count(summary.total.calls, 'answered call')}: {', '.join(shares)}."
    title = "Lanes that calls were billed on"
    table = Table(
        ("when", *(plain(lane) for lane in lanes)),
        tuple(
            (
                bucket.label,
                *(count(bucket.calls_by_lane.get(lane, 0)) for lane in lanes),
            )
            for bucket in summary.buckets
        ),
    )
    if not lanes:
        return Figure("lanes", title, "No call was answered.", table)
    return Figure("lanes", title, description, table, charts.lanes)


def _refusals(summary: Summary) -> Figure:
    title = f"When flex is worth trying: refused attempts by hour ({summary.period.zone_name})"
    total = sum(attempts.total for attempts in summary.flex_attempts_by_hour)
    if not total:
        return Figure("refusals", title, "No attempts on flex.", Table((), ()))
    refused = sum(attempts.refused for attempts in summary.flex_attempts_by_hour)
    description = (
        f"Flex refused {percent(refused, total)} of {count(total, 'attempt')}. "
        f"{_extremes(summary)}The numbers in the cells are per cent; empty cells had no attempts."
    )
    rows = tuple(
        (f"{hour:02d}:00", *(charts.attempts_text(hours[hour]) for hours in summary.flex_attempts))
        for hour in range(HOURS)
    )
    table = Table(("hour", *WEEKDAYS), rows)
    return Figure("refusals", title, description, table, charts.refusals)


def _extremes(summary: Summary) -> str:
    """The hours with the fewest and the most refusals; empty if hours do not differ."""
    known = [
        (share, hour)
        for hour, attempts in enumerate(summary.flex_attempts_by_hour)
        if (share := attempts.refused_share) is not None
    ]
    least, most = sorted(known)[:3], sorted(known, reverse=True)[:3]
    if len(known) < 6 or most[0][0] - least[0][0] < 0.05:
        return ""
    return f"Least at {_hours(least)}; most at {_hours(most)}. "


def _hours(ranked: list[tuple[float, int]]) -> str:
    *others, last = sorted(f"{hour:02d}" for _, hour in ranked)
    shares = sorted(share for share, _ in ranked)
    low, high = percent(shares[0], 1), percent(shares[-1], 1)
    text = low if low == high else f"{low} to {high}"
    return f"{', '.join(others)} and {last} o'clock ({text})"


def _waits(summary: Summary) -> Figure:
    waits = summary.waits
    none = percent(waits.counts[0], waits.calls)
    half = f"Half waited {seconds(waits.median)} at most, n" if waits.median else "N"
    rows = tuple(
        (name, count(calls), percent(calls, waits.calls))
        for name, calls in zip(charts.WAIT_NAMES, waits.counts, strict=True)
    )
    return Figure(
        "waits",
        "How long calls waited between attempts",
        f"{none} of the calls did not wait. {half}ine in ten waited "
        f"{seconds(waits.ninth_decile)} at most, the longest {seconds(waits.longest)}.",
        Table(("waited", "calls", "share"), rows),
        charts.waits,
    )


def _premium(summary: Summary) -> Figure:
    title = "What falling back cost"
    if not summary.fallbacks:
        return Figure("premium", title, "No call fell back.", Table((), ()))
    calls = sum(one.calls for one in summary.fallbacks)
    description = (
        f"{count(calls, 'call')}, {percent(calls, summary.total.calls)} of those answered, fell "
        f"back to a dearer lane, for {dollars(summary.total.fallback_premium)} more than the lanes "
        f"that they were meant for."
    )
    if unknown := sum(one.unknown for one in summary.fallbacks):
        description += (
            f" For {count(unknown, 'call')} no premium is known: the model is not sold on that "
            "lane, or has no price."
        )
    table = Table(
        ("reason", "calls", "premium", "of unknown premium"),
        tuple(
            (plain(one.reason), count(one.calls), dollars(one.premium), count(one.unknown))
            for one in summary.fallbacks
        ),
    )
    has_premium = any(one.premium for one in summary.fallbacks)
    return Figure("premium", title, description, table, charts.premium if has_premium else None)
