"""A report as text for a terminal, JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flextier._utils.formatting import count, dollars, moment, percent, plain, text_table
from flextier.costs.totals import Sums
from flextier.ledger.sessions import Session
from flextier.pricing.decimals import plain_digits
from flextier.report.notes import notes
from flextier.report.summary import WAITS, WEEKDAYS, Fallbacks, NotableCall, Summary

KEYS = ("model", "lane", "tag", "day")
_HEAD = ("calls", "failed", "fell back", "refused", "input", "output", "cost", "standard", "saved")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LONGEST = 48
MOST_GROUPS = 50
"""The most groups shown in a table; CSV and JSON have them all."""


def groups(summary: Summary, by: str) -> Mapping[str, Sums]:
    """The sums by one of ``KEYS``."""
    found: Mapping[str, Sums] = getattr(summary, f"by_{by}")
    return found


def foremost(found: Mapping[str, Sums], by: str) -> tuple[list[str], int]:
    """The names that a person is shown, dearest or latest first, and how many others there are."""
    if by == "day":
        names = sorted(found, reverse=True)
    else:
        names = sorted(found, key=lambda name: (-found[name].cost, name))
    return names[:MOST_GROUPS], max(len(names) - MOST_GROUPS, 0)


def span(summary: Summary) -> str:
    """Which time the report is about."""
    period = summary.period
    start = summary.first if period.since is None else period.local(period.since)
    since = "the beginning" if start is None else moment(start)
    until = moment(period.local(period.until or summary.made))
    return f"{since} to {until} {period.zone_name}"


def text(summary: Summary, by: str | None) -> str:
    """Aligned columns, and below them what they do not say."""
    lines = [f"{plain(summary.ledger)}: {span(summary)}", ""]
    if not summary.records:
        return "\n".join([*lines, "No calls on record.", *notes(summary)])
    for key in (by,) if by else ("lane", "model", "tag"):
        if found := groups(summary, key):
            lines += [*_aligned(key, found, summary.total), ""]
    return "\n".join([*lines, *notes(summary)]).rstrip()


def _aligned(key: str, found: Mapping[str, Sums], total: Sums) -> Iterator[str]:
    names, left = foremost(found, key)
    rows = [
        (key, *_HEAD, "share"),
        *(_row(plain(name, _LONGEST), found[name]) for name in names),
        _row("all", total),
    ]
    yield from text_table(rows, left=1)
    if left:
        yield f"and {count(left)} more: --by {key} --format csv has all of them"


def _row(name: str, sums: Sums) -> tuple[str, ...]:
    return (
        name,
        count(sums.calls),
        count(sums.failed_calls),
        count(sums.fallback_calls),
        count(sums.refusals),
        count(sums.input_tokens),
        count(sums.output_tokens),
        dollars(sums.cost),
        dollars(sums.standard_cost),
        dollars(sums.saved),
        percent(sums.saved, sums.standard_cost),
    )


def comma_separated(summary: Summary, by: str, *, for_terminal: bool = False) -> str:
    """A line a group, exact; a spreadsheet takes no name for a formula.

    Args:
        summary: the content.
        by: one of ``KEYS``.
        for_terminal: write control characters in names as escapes; a file has them as they are.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([by, *Sums().to_dict()])
    for name, sums in groups(summary, by).items():
        cell = _cell(plain(name) if for_terminal else name)
        writer.writerow([cell, *sums.to_dict().values()])
    return stream.getvalue()


def _cell(name: str) -> str:
    return f"'{name}" if name.startswith(_FORMULA) else name


def as_json(summary: Summary, by: str | None) -> str:
    """Everything, exact: money as strings of US$."""
    return json.dumps(to_dict(summary, by), indent=2) + "\n"


def to_dict(summary: Summary, by: str | None) -> dict[str, Any]:
    """Everything as plain JSON types; times are those of the period's zone."""
    period = summary.period
    return {
        "ledger": summary.ledger,
        "since": period.since and period.since.isoformat(),
        "until": (period.until or summary.made).isoformat(),
        "time_zone": period.zone_name,
        "first": summary.first and summary.first.isoformat(),
        "last": summary.last and summary.last.isoformat(),
        "total": summary.total.to_dict(),
        **{
            f"by_{key}": {name: sums.to_dict() for name, sums in groups(summary, key).items()}
            for key in ((by,) if by else KEYS)
        },
        "flex_tries": _tries(summary),
        "waits": _waits(summary),
        "fallbacks": [_fallback(one) for one in summary.fallbacks],
        "slowest": [_call(call) for call in summary.slowest],
        "dearest": [_call(call) for call in summary.dearest],
        "sessions": [_session(session) for session in summary.troubled],
        "notes": notes(summary),
    }


def _tries(summary: Summary) -> list[dict[str, Any]]:
    return [
        {"weekday": weekday, "hour": hour, "refused": tries.refused, "served": tries.served}
        for weekday, hours in zip(WEEKDAYS, summary.tries, strict=True)
        for hour, tries in enumerate(hours)
        if tries.all
    ]


def _waits(summary: Summary) -> dict[str, Any]:
    waits = summary.waits
    return {
        "median": waits.median,
        "ninth_decile": waits.ninth_decile,
        "longest": waits.longest,
        "calls": [
            {"up_to": end, "calls": calls}
            for end, calls in zip((*WAITS, None), waits.counts, strict=True)
        ],
    }


def _fallback(one: Fallbacks) -> dict[str, Any]:
    return {
        "reason": one.reason,
        "calls": one.calls,
        "premium": plain_digits(one.premium),
        "calls_of_unknown_premium": one.unknown,
    }


def _call(call: NotableCall) -> dict[str, Any]:
    return {
        "call_id": call.call_id,
        "at": call.at.isoformat(),
        "model": call.model,
        "lane": call.lane,
        "tags": list(call.tags),
        "answered": call.answered,
        "basis": call.basis,
        "cost": None if call.cost is None else plain_digits(call.cost),
        "waited": call.waited,
        "elapsed": call.elapsed,
        "refusals": call.refusals,
    }


def _session(session: Session) -> dict[str, Any]:
    return {
        "host": session.host,
        "pid": session.pid,
        "state": session.state,
        "started": session.started.isoformat(),
        "seen": session.seen.isoformat(),
        "written": session.written,
        "lost": session.lost,
    }
