"""Records as tests make them, by hand and at random."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from hypothesis import strategies as st

from flextier.calls.report import Attempt, CallReport
from flextier.costs import CallRecord, Usage, record_of

NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def report(*attempts: Attempt, **facts: Any) -> CallReport:
    """A report of an answered o3 call on flex, but for what is said."""
    defaults: dict[str, Any] = {
        "model": "o3",
        "lane": "flex",
        "attempts": attempts or (Attempt("flex", "served", 3.0, 200),),
        "waited": 0.0,
        "elapsed": 3.0,
        "usage": Usage(1_000, 100),
        "id": "call-1",
        "at": NOON.timestamp(),
        "first_lane": "flex",
        "served_model": "o3-2025-04-16",
    }
    return CallReport(**{**defaults, **facts})


def _usage(parts: tuple[int, int, int, int, int]) -> Usage:
    cached, write, other, reasoning, text = parts
    return Usage(cached + write + other, reasoning + text, cached, write, reasoning)


_TOKENS = st.integers(0, 200_000)
USAGES = st.tuples(_TOKENS, _TOKENS, _TOKENS, _TOKENS, _TOKENS).map(_usage)
ATTEMPTS = st.builds(
    Attempt,
    lane=st.sampled_from(["flex", "standard"]),
    outcome=st.sampled_from(["capacity", "timeout", "transient", "cancelled"]),
    seconds=st.just(0.1),
)


TAGS = st.sets(st.sampled_from("abc"))


def records() -> st.SearchStrategy[CallRecord]:
    """The record of any call."""
    return st.builds(record_of, reports(), tags=TAGS)


@st.composite
def reports(draw: st.DrawFn) -> CallReport:
    """Any call: answered or not, on a lane or fallen back, priced or not."""
    answered = draw(st.booleans())
    lane = draw(st.sampled_from(["flex", "standard", "priority", "background-8h"]))
    fallback = draw(st.sampled_from([None, "capacity", "timeout", "downgraded"]))
    last = Attempt(lane, "served" if answered else "timeout", 1.0)
    model = draw(st.sampled_from(["o3", "o4-mini", "gpt-5", "in-house"]))
    return report(
        *draw(st.lists(ATTEMPTS, max_size=3)),
        last,
        model=model,
        served_model=draw(st.sampled_from([None, "o3-2025-04-16", "no-such-model"])),
        lane=lane,
        fallback=fallback,
        usage=draw(USAGES) if answered else None,
        usage_estimated=draw(st.booleans()),
        output_limit=draw(st.none() | st.integers(1, 10_000)),
    )
