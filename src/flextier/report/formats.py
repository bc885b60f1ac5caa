"""A report as text for a terminal, JSON or CSV, with notes on what its figures do not include."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from flextier._utils.formatting import count, day, moment, plain, text_table
from flextier.costs.formatting import HEAD, UNPRICED, is_unpriced, row
from flextier.costs.formatting import notes as cost_notes
from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.ledger.sessions import Session
from flextier.pricing.decimals import optional_digits, plain_digits
from flextier.report.period import COARSE, WEEKDAYS, Period, unit_of
from flextier.report.summary import WAITS, Summary

KEYS = ("model", "lane", "tag", "day")
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r")
_MOST_GROUPS = 50
"""Maximum number of groups in a table; CSV and JSON have all."""


def groups(summary: Summary, by: str) -> Mapping[str, Sums]:
    """The sums by one of ``KEYS``."""
    sums: Mapping[str, Sums] = getattr(summary, f"by_{by}")
    return sums


def top_groups(by_name: Mapping[str, Sums], by: str) -> tuple[list[str], int]:
    """The names for a table, dearest or latest first, and the number of omitted ones."""
    if by == "day":
        names = sorted(by_name, reverse=True)
    else:
        names = sorted(by_name, key=lambda name: (-by_name[name].cost, name))
    return names[:_MOST_GROUPS], max(len(names) - _MOST_GROUPS, 0)


def span(summary: Summary) -> str:
    """The period of the report in words."""
    period = summary.period
    start = summary.first if period.since is None else period.local(period.since)
    since = "the beginning" if start is None else moment(start)
    until = moment(period.local(period.until or summary.created))
    return f"{since} to {until} {period.zone_name}"


def text(summary: Summary, by: str | None) -> str:
    """Tables of sums with aligned columns, and the notes."""
    lines = [f"{plain(summary.ledger)}: {span(summary)}", ""]
    if not summary.records:
        return "\n".join([*lines, "No calls on record.", *notes(summary)])
    for key in (by,) if by else ("lane", "model", "tag"):
        if by_name := groups(summary, key):
            lines += [*_table(key, by_name, summary.total), ""]
    return "\n".join([*lines, *notes(summary)]).rstrip()


def _table(key: str, by_name: Mapping[str, Sums], total: Sums) -> Iterator[str]:
    names, omitted = top_groups(by_name, key)
    rows = [
        (key, *HEAD),
        *(row(name, by_name[name]) for name in names),
        row("all", total),
    ]
    yield from text_table(rows, left=1)
    if omitted:
        yield f"and {count(omitted)} more: --by {key} --format csv has all of them"


def comma_separated(summary: Summary, by: str, *, for_terminal: bool = False) -> str:
    """One exact line for each group, by one of ``KEYS``. No name is a formula to a spreadsheet.

    ``for_terminal`` escapes control characters in names.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([by, *Sums().to_dict()])
    for name, sums in groups(summary, by).items():
        cell = _cell(plain(name) if for_terminal else name)
        writer.writerow([cell, *_csv_fields(sums).values()])
    return stream.getvalue()


def _csv_fields(sums: Sums) -> dict[str, Any]:
    """The sums; words in the place of an amount of which nothing is known."""
    fields = sums.to_dict()
    if is_unpriced(sums):
        fields |= dict.fromkeys(("cost", "saved"), UNPRICED)
        if not sums.standard_cost:
            fields["standard_cost"] = UNPRICED
    if sums.possibly_billed_attempts and not sums.possibly_billed:
        fields["possibly_billed"] = "unknown"
    return fields


def _cell(name: str) -> str:
    # csv does not quote a lone \r, at which a spreadsheet begins another row.
    shown = name.replace("\r", "\\r")
    return f"'{shown}" if name.startswith(_FORMULA_PREFIXES) else shown


def as_json(summary: Summary, by: str | None) -> str:
    """All figures, exact: money as strings of US$."""
    return json.dumps(to_dict(summary, by), indent=2) + "\n"


def to_dict(summary: Summary, by: str | None) -> dict[str, Any]:
    """All figures as plain JSON types; times have their offset from UTC."""
    period = summary.period
    return {
        "ledger": summary.ledger,
        "since": period.since and period.since.isoformat(),
        "until": (period.until or summary.created).isoformat(),
        "time_zone": period.zone_name,
        "first": summary.first and summary.first.isoformat(),
        "last": summary.last and summary.last.isoformat(),
        "total": summary.total.to_dict(),
        **{
            f"by_{key}": {name: sums.to_dict() for name, sums in groups(summary, key).items()}
            for key in ((by,) if by else KEYS)
        },
        "flex_tries": _flex_attempts(summary),
        "waits": _waits(summary),
        "fallbacks": [
            {
                "reason": one.reason,
                "calls": one.calls,
                "premium": plain_digits(one.premium),
                "calls_of_unknown_premium": one.unknown,
            }
            for one in summary.fallbacks
        ],
        "slowest": [_call(call, period) for call in summary.slowest],
        "dearest": [_call(call, period) for call in summary.dearest],
        "sessions": [_session(session) for session in summary.incomplete],
        "notes": notes(summary),
    }


def _flex_attempts(summary: Summary) -> list[dict[str, Any]]:
    return [
        {"weekday": weekday, "hour": hour, **asdict(attempts)}
        for weekday, hours in zip(WEEKDAYS, summary.flex_attempts, strict=True)
        for hour, attempts in enumerate(hours)
        if attempts.total
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


def _call(call: CallRecord, period: Period) -> dict[str, Any]:
    names = ("call_id", "model", "lane", "answered", "waited", "elapsed", "refusals")
    return {
        **{name: getattr(call, name) for name in names},
        "at": period.zoned(call.at).isoformat(),
        "tags": list(call.tags),
        "basis": call.cost.basis,
        "cost": optional_digits(call.cost.total),
    }


def _session(session: Session) -> dict[str, Any]:
    times = {name: getattr(session, name).isoformat() for name in ("started", "seen")}
    names = ("host", "pid", "state", "written", "lost")
    return {**{name: getattr(session, name) for name in names}, **times}


def notes(summary: Summary) -> list[str]:
    """Sentences on what the figures do not include, the most important first."""
    money = cost_notes(summary.total, summary.estimates)
    missing = (f"P{plain(str(session)).removeprefix('p')}." for session in summary.incomplete)
    return [*missing, *money, *_dates(summary)]


def _dates(summary: Summary) -> Iterator[str]:
    first, last = summary.first, summary.last
    if first is None or last is None:
        return
    unit = unit_of(first, last).name
    if unit in COARSE:
        yield (
            f"The calls began between {day(first)} and {day(last)}, so charts have one bar per "
            f"{unit}: if a record's date is wrong, --since or --until can exclude it."
        )
