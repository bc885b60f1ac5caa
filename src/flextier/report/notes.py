"""What figures do not say by themselves: what is not in them, estimated, or missing."""

from __future__ import annotations

from collections.abc import Iterator

from flextier._utils.formatting import count, day, dollars, moment, plain
from flextier.ledger.sessions import Session
from flextier.report.summary import Summary
from flextier.report.time_buckets import coarseness


def notes(summary: Summary) -> list[str]:
    """Sentences, the gravest first."""
    return [*missing(summary), *_money(summary), *_time(summary)]


def missing(summary: Summary) -> Iterator[str]:
    """Which records the ledger may lack."""
    for session in summary.troubled:
        yield from _session(session)


def _session(session: Session) -> Iterator[str]:
    who = f"Process {session.pid} on {plain(session.host)}"
    seen = f"{moment(session.seen, 'seconds')} UTC"
    if session.state == "broken off":
        yield (
            f"{who} ended without closing the ledger, as when it is killed: calls that it had not "
            f"written by {seen} are missing."
        )
    elif session.state == "running":
        yield f"{who} is still writing: what it has not written since {seen} is not in here yet."
    if session.lost:
        yield f"{who} lost {count(session.lost, 'record')} that it could not write."


def _money(summary: Summary) -> Iterator[str]:
    total = summary.total
    if total.unpriced_calls:
        yield (
            f"{count(total.unpriced_calls, 'call')} without a known price, not in any amount: the "
            "real cost is higher."
        )
    if total.estimated_calls:
        yield (
            f"{count(total.estimated_calls, 'call')} priced by an estimate: the list has no rate "
            "of its own for that lane."
        )
    if total.possibly_billed_attempts:
        tries = count(total.possibly_billed_attempts, "attempt")
        bound = dollars(total.possibly_billed) if total.possibly_billed else None
        yield f"{tries} without an answer may have been billed: " + (
            f"at most {bound} more, where the bound is known." if bound else "no bound is known."
        )


def _time(summary: Summary) -> Iterator[str]:
    first, last = summary.first, summary.last
    if first is None or last is None:
        return
    if slot := coarseness(first, last):
        yield (
            f"The calls began between {day(first)} and {day(last)}, so charts have one bar a "
            f"{slot}: if a record's date is wrong, --since or --until can leave it out."
        )
