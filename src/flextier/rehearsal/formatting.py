"""A rehearsal in words and tables."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from flextier._utils.formatting import text_table
from flextier.rehearsal.oracle import Clairvoyant
from flextier.rehearsal.responses import TOKENS
from flextier.rehearsal.result import Rehearsal, TraceResult
from flextier.rehearsal.trace import Trace

_COLUMNS = (
    "",
    "cost",
    "late",
    "failed",
    "refusals",
    "an answer",
    "rate-limited",
    "95 %",
    "longest",
)


def heading(trace: Trace) -> list[str]:
    """What is rehearsed."""
    when = f"over {trace.arrivals:,g} s" if trace.arrivals else "at once"
    work = f"{trace.jobs:,} calls {when}, each to be answered within {trace.deadline:,g} s"
    title = f"{trace.name}: {trace.about}" if trace.about else trace.name
    return [title, f"{work}; seed {trace.seed}"]


def figures(result: Rehearsal) -> list[str]:
    """The figures of a rehearsal, a line each."""
    counts = result.counts
    limited = f", and {_number(counts.rate_limited, 'rate limit')}" if counts.rate_limited else ""
    lines = [
        ("cost", _cost(result)),
        ("clairvoyant", _bound(result)),
        ("late", f"{result.late}, the latest by {result.latest:.1f} s" if result.late else "none"),
        ("failed", _failed(result)),
        ("answers", ", ".join(f"{n:,} {lane}" for lane, n in result.lanes.items()) or "none"),
        ("refusals", f"{counts.refusals:,}{_an_answer(result)}{limited}"),
        ("stalls", f"{counts.stalls:,}; {counts.abandoned:,} given up, possibly billed"),
        ("seconds", _seconds(result)),
        ("time", f"{result.virtual_seconds:,.0f} s virtual, {result.real_seconds:.1f} s real"),
    ]
    return [f"{word:13}{text}" for word, text in lines]


def table(outcomes: Sequence[TraceResult]) -> list[str]:
    """Several ways to make the same calls, side by side, with the clairvoyant's below them."""
    rows = [_COLUMNS, *map(_row, outcomes), _row_of(outcomes[0].clairvoyant)]
    return text_table(rows, left=1)


def _row(outcome: TraceResult) -> tuple[str, ...]:
    an_answer = outcome.refusals_an_answer
    return (
        outcome.name,
        "-" if outcome.cost is None else f"{outcome.cost:.3f}",
        f"{outcome.late:,}",
        f"{outcome.failed:,}",
        f"{outcome.counts.refusals:,}",
        "-" if an_answer is None else f"{an_answer:.2f}",
        f"{outcome.counts.rate_limited:,}",
        f"{outcome.seconds(0.95):,.1f} s",
        f"{outcome.seconds(1):,.1f} s",
    )


def _row_of(known: Clairvoyant) -> tuple[str, ...]:
    return ("(clairvoyant)", f"{known.cost:.3f}", f"{known.late:,}", "0", "0", "0.00", "0", "", "")


def _cost(result: Rehearsal) -> str:
    if result.cost is None:
        return "nothing was answered"
    share = f"{result.cost:.3f} of standard's"
    paid, full = result.dollars, result.standard_dollars
    if paid is None or full is None:
        return share
    tokens = f"{TOKENS.input_tokens:,} tokens in and {TOKENS.output_tokens:,} out a call"
    return f"{share}: {_money(paid)} instead of {_money(full)}, at {tokens}"


def _bound(result: Rehearsal) -> str:
    known, more = result.clairvoyant, result.distance
    late = f"{known.late:,} late" if known.late else "none late"
    if more is None:
        return f"{known.cost:.3f}, {late}"
    return f"{known.cost:.3f}, {late}; this was {more:+.1%} of that"


def _failed(result: TraceResult) -> str:
    if not result.failed:
        return "none"
    listed = ", ".join(f"{name} {n:,}" for name, n in sorted(result.errors.items()))
    return f"{result.failed:,}: {listed}"


def _an_answer(result: TraceResult) -> str:
    each = result.refusals_an_answer
    return "" if each is None else f", {each:.2f} an answer"


def _seconds(result: TraceResult) -> str:
    half, most, longest = (result.seconds(share) for share in (0.5, 0.95, 1.0))
    return f"half of the calls {half:,.1f} or less, 95 % {most:,.1f}, the longest {longest:,.1f}"


def _number(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def _money(amount: Decimal) -> str:
    return f"${amount:,.2f}"
