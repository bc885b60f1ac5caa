"""A report as one page: it needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from flextier._utils.formatting import count, dollars, moment, percent, plain, seconds
from flextier._version import __version__
from flextier.costs.totals import Sums
from flextier.report.figures import Figure, Table, figures
from flextier.report.formats import foremost, groups, span
from flextier.report.notes import notes
from flextier.report.summary import NotableCall, Summary

_LONGEST = 60
_BY = ("model", "lane", "tag", "day")

_TEMPLATES = Environment(
    loader=PackageLoader("flextier.report", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


_TEMPLATES.filters["kept"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")


def page(summary: Summary, by: str | None = None) -> str:
    """The report as HTML.

    Args:
        summary: the content.
        by: ``"model"``, ``"lane"``, ``"tag"`` or ``"day"``: which table of sums is open at first.
    """
    drawn = figures(summary) if summary.records else ()
    return _TEMPLATES.get_template("page.html").render(
        summary=summary,
        period=span(summary),
        zone=summary.period.zone_name,
        made=moment(summary.period.local(summary.made)),
        version=__version__,
        tiles=_tiles(summary),
        notes=notes(summary),
        figures=drawn,
        drawings={figure.name: _drawings(figure) for figure in drawn},
        breakdowns=[(key, _breakdown(key, groups(summary, key))) for key in _BY],
        opened=by or "model",
        calls=(
            ("slowest", "Slowest calls", _calls(summary.slowest)),
            ("dearest", "Dearest calls", _calls(summary.dearest)),
        ),
    )


def _drawings(figure: Figure) -> tuple[tuple[str, Markup], ...]:
    # The drawing library has escaped what is in them.
    drawn = (("wide", figure.wide), ("narrow", figure.narrow))
    return tuple((size, Markup(svg)) for size, svg in drawn if svg)


def _tiles(summary: Summary) -> list[tuple[str, str, str]]:
    """What is counted, its number, and what belongs to it."""
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


def _breakdown(key: str, found: Mapping[str, Sums]) -> tuple[Table, int]:
    """The dearest groups, or the latest days, and how many are left out."""
    names, left = foremost(found, key)
    rows = tuple(_sums(name, found[name]) for name in names)
    head = (key, "calls", "failed", "fell back", "refused", "input", "output", "spent", "standard",
            "saved", "share")  # fmt: skip
    return Table(head, rows), left


def _sums(name: str, sums: Sums) -> tuple[str, ...]:
    return (
        plain(name, _LONGEST),
        count(sums.calls),
        count(sums.failed_calls),
        count(sums.fallback_calls),
        count(sums.refusals),
        count(sums.input_tokens),
        count(sums.output_tokens),
        _marked(dollars(sums.cost), sums),
        dollars(sums.standard_cost),
        dollars(sums.saved),
        percent(sums.saved, sums.standard_cost),
    )


def _marked(amount: str, sums: Sums) -> str:
    """An amount, with what keeps it from being exact."""
    marks = [
        f"{count(number)} {what}"
        for number, what in (
            (sums.unpriced_calls, "unpriced"),
            (sums.estimated_calls, "estimated"),
        )
        if number
    ]
    return f"{amount} ({', '.join(marks)})" if marks else amount


def _calls(found: tuple[NotableCall, ...]) -> Table:
    head = ("began", "took", "waited", "refused", "cost", "model", "lane", "tags", "call")
    return Table(head, tuple(_call(call) for call in found))


def _call(call: NotableCall) -> tuple[str, ...]:
    return (
        moment(call.at),
        seconds(call.elapsed),
        seconds(call.waited),
        count(call.refusals),
        _cost(call),
        plain(call.model, _LONGEST),
        plain(call.lane, _LONGEST) if call.answered else f"{plain(call.lane, _LONGEST)}, failed",
        plain(", ".join(call.tags), _LONGEST),
        plain(call.call_id, _LONGEST),
    )


def _cost(call: NotableCall) -> str:
    if call.cost is None:
        return "no answer" if not call.answered else "unpriced"
    return f"{dollars(call.cost)}{' estimated' if call.basis == 'estimated' else ''}"
