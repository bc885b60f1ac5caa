"""Text and tables of a rehearsal's result."""

from __future__ import annotations

from collections.abc import Sequence

from flextier._utils.formatting import count, dollars, text_table
from flextier.rehearsal.provider import TOKENS
from flextier.rehearsal.result import Rehearsal, TraceResult
from flextier.rehearsal.trace import Trace

_COLUMNS = (
    "", "cost", "late", "failed", "refusals", "an answer", "rate-limited", "95 %", "longest",
)  # fmt: skip


def heading(trace: Trace) -> list[str]:
    """The trace, its calls, deadline and seed."""
    when = f"over {trace.arrivals:,g} s" if trace.arrivals else "at once"
    work = f"{trace.jobs:,} calls {when}, each to be answered within {trace.deadline:,g} s"
    for arrives, jobs, deadline in trace.late_jobs:
        work += f"; {jobs:,} more after {arrives:,g} s, within {deadline:,g} s"
    title = f"{trace.name}: {trace.about}" if trace.about else trace.name
    return [title, f"{work}; seed {trace.seed}"]


def figures(result: Rehearsal) -> list[str]:
    """The figures of a rehearsal, one line each."""
    counts = result.counts
    each = result.refusals_an_answer
    refusals = f"{counts.refusals:,}" + ("" if each is None else f", {each:.2f} an answer")
    if counts.rate_limited:
        refusals += f", and {count(counts.rate_limited, 'rate limit')}"
    lines = [
        ("cost", _cost(result)),
        ("clairvoyant", _clairvoyant(result)),
        ("late", f"{result.late}, the latest by {result.latest:.1f} s" if result.late else "none"),
        ("failed", _failed(result)),
        ("answers", ", ".join(f"{n:,} {lane}" for lane, n in result.lanes.items()) or "none"),
        ("refusals", refusals),
        ("stalls", f"{counts.stalls:,}; {counts.abandoned:,} abandoned, possibly billed"),
        ("seconds", _seconds(result)),
        ("time", f"{result.virtual_seconds:,.0f} s virtual, {result.real_seconds:.1f} s real"),
    ]
    return [f"{word:13}{text}" for word, text in lines]


def table(outcomes: Sequence[TraceResult]) -> list[str]:
    """The results of several clients over the same trace, and the clairvoyant's in the last row."""
    best = outcomes[0].clairvoyant
    last = ("(clairvoyant)", f"{best.cost:.3f}", f"{best.late:,}", "0", "0", "0.00", "0", "", "")
    return text_table([_COLUMNS, *map(_row, outcomes), last], left=1)


def _row(outcome: TraceResult) -> tuple[str, ...]:
    per_answer = outcome.refusals_an_answer
    return (
        outcome.name,
        "-" if outcome.cost is None else f"{outcome.cost:.3f}",
        f"{outcome.late:,}",
        f"{outcome.failed:,}",
        f"{outcome.counts.refusals:,}",
        "-" if per_answer is None else f"{per_answer:.2f}",
        f"{outcome.counts.rate_limited:,}",
        f"{outcome.seconds(0.95):,.1f} s",
        f"{outcome.seconds(1):,.1f} s",
    )


def _cost(result: Rehearsal) -> str:
    if result.cost is None:
        return "nothing was answered"
    share = f"{result.cost:.3f} of standard's"
    paid, full = result.dollars, result.standard_dollars
    if paid is None or full is None:
        return share
    tokens = f"{TOKENS.input_tokens:,} tokens in and {TOKENS.output_tokens:,} out a call"
    return f"{share}: {dollars(paid)} instead of {dollars(full)}, at {tokens}"


def _clairvoyant(result: Rehearsal) -> str:
    best, distance = result.clairvoyant, result.distance
    text = f"{best.cost:.3f}, {f'{best.late:,}' if best.late else 'none'} late"
    return text if distance is None else f"{text}; this was {distance:+.1%} of that"


def _failed(result: TraceResult) -> str:
    if not result.failed:
        return "none"
    listed = ", ".join(f"{name} {n:,}" for name, n in sorted(result.errors.items()))
    return f"{result.failed:,}: {listed}"


def _seconds(result: TraceResult) -> str:
    median, p95, longest = (result.seconds(share) for share in (0.5, 0.95, 1.0))
    return f"half of the calls {median:,.1f} or less, 95 % {p95:,.1f}, the longest {longest:,.1f}"
