"""A report as one HTML page without scripts, network requests or other files."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined

from flextier._utils.formatting import count, dollars, moment, percent, plain, seconds
from flextier._version import __version__
from flextier.costs.formatting import HEAD, UNPRICED, row
from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.report.charts import COLORS
from flextier.report.figures import Table, figures
from flextier.report.formats import KEYS, groups, notes, span, top_groups
from flextier.report.period import Period
from flextier.report.summary import Summary

_NAME_LENGTH = 60

_TEMPLATES = Environment(
    loader=PackageLoader("flextier.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")


def page(summary: Summary, by: str | None = None) -> str:
    """The report as HTML; the table of sums by ``by``, one of ``KEYS``, is open at first."""
    drawn = figures(summary) if summary.records else ()
    return _TEMPLATES.get_template("page.html").render(
        summary=summary,
        period=span(summary),
        zone=summary.period.zone_name,
        created=moment(summary.period.local(summary.created)),
        version=__version__,
        tiles=_tiles(summary),
        notes=notes(summary),
        figures=drawn,
        colors=COLORS,
        drawings={figure.name: tuple(figure.drawn(summary)) for figure in drawn},
        breakdowns=[(key, _breakdown(key, groups(summary, key))) for key in KEYS],
        opened=by or "model",
        calls=(
            ("slowest", "Slowest calls", _calls(summary.slowest, summary.period)),
            ("dearest", "Dearest calls", _calls(summary.dearest, summary.period)),
        ),
    )


def _tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """Title, number and remark of each tile."""
    total = summary.total
    lane = percent(total.calls - total.fallback_calls, total.calls)
    return [
        ("Saved", dollars(total.saved), _of(percent(total.saved, total.standard_cost), "standard")),
        ("Spent", dollars(total.cost), "where a price is known"),
        ("Standard price", dollars(total.standard_cost), "for the same tokens"),
        ("Calls answered", count(total.calls), _of(lane, "them on their first lane")),
        ("Fell back", count(total.fallback_calls), f"{dollars(total.fallback_premium)} dearer"),
        ("Failed", count(total.failed_calls), "calls without an answer"),
    ]


def _of(share: str, whole: str) -> str:
    return f"{share} of {whole}" if share else ""


def _breakdown(key: str, by_name: Mapping[str, Sums]) -> tuple[Table, int]:
    """A table of the dearest groups, or the latest days, and the number of omitted ones."""
    names, omitted = top_groups(by_name, key)
    return Table((key, *HEAD), tuple(row(name, by_name[name]) for name in names)), omitted


def _calls(calls: tuple[CallRecord, ...], period: Period) -> Table:
    head = ("began", "took", "waited", "refused", "cost", "model", "lane", "tags", "call")
    rows = (
        (
            moment(period.local(call.at)),
            seconds(call.elapsed),
            seconds(call.waited),
            count(call.refusals),
            _cost(call),
            plain(call.model, _NAME_LENGTH),
            plain(call.lane, _NAME_LENGTH) + ("" if call.answered else ", failed"),
            plain(", ".join(call.tags), _NAME_LENGTH),
            plain(call.call_id, _NAME_LENGTH),
        )
        for call in calls
    )
    return Table(head, tuple(rows))


def _cost(call: CallRecord) -> str:
    if call.cost.total is None:
        return UNPRICED if call.answered else "no answer"
    return f"{dollars(call.cost.total)}{' estimated' if call.cost.basis == 'estimated' else ''}"
