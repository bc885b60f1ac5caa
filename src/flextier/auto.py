"""``lanes="auto"``: the lanes that it chooses by model and deadline, and why (:func:`explain`)."""

from __future__ import annotations

from typing import Any

from flextier._utils.durations import Duration
from flextier._utils.formatting import text_table
from flextier.costs import price_book
from flextier.lanes import AUTO, LANES, CallFacts
from flextier.planning.auto_plan import RUN_STEP, Considered, Plan, plan, span
from flextier.policy import FlexPolicy, PolicyFields
from flextier.pricing.decimals import plain_digits

__all__ = ["Considered", "Plan", "explain"]

ENDPOINTS = {"responses": "/responses", "chat": "/chat/completions"}


def explain(
    model: str,
    *,
    deadline: Duration | None = None,
    api: str = "responses",
    stream: bool = False,
    step: bool = False,
    policy: FlexPolicy | PolicyFields | None = None,
) -> Plan:
    """The lanes that ``lanes="auto"`` chooses for a call, and why; nothing is sent.

    Args:
        model: its name.
        deadline: for the whole call, in seconds or as ``"10h"``. None: the policy's.
        api: ``"responses"`` or ``"chat"`` (Chat Completions).
        stream: whether the call is streamed.
        step: whether it is a step of a run (an agent's call), which does not wait for a batch.
        policy: the other knobs. None: from the environment.

    Raises:
        ValueError: ``api`` is unknown.
        PolicyError: a knob has an invalid value.

    Lanes that the API has rejected in this process are not left out.
    """
    if api not in ENDPOINTS:
        raise ValueError(f"api={api!r}: one of {', '.join(ENDPOINTS)}")
    knobs = FlexPolicy.of(policy or {}).replace(lanes=(AUTO,))
    if deadline is not None:
        knobs = knobs.replace(deadline=deadline)
    facts = CallFacts(ENDPOINTS[api], {"model": model}, stream)
    declined = {lane.name: why for lane in LANES.values() if (why := lane.ineligible(facts))}
    return plan(model, knobs, declined, no_batch=RUN_STEP if step else "")


def table(plan: Plan) -> str:
    """The plan as a table: lanes, prices, durations, and why other lanes are not used."""
    time = "no deadline" if plan.deadline is None else f"{span(plan.deadline)} to the deadline"
    heads = ("", "lane", "US$/M in", "out", "of standard", "an answer takes")
    taken = [one for one in plan.considered if not one.against]
    rows = [_row(plan, one, str(rank)) for rank, one in enumerate(taken, start=1)]
    lines = [f"{plan.model}, {time}", "", *text_table([heads, *rows])]
    if any(lane.execution == "batch" for lane in plan.lanes):
        few = f"{plan.batch_min_calls} calls at once or more (batch_min_calls)"
        lines += ["", f"batch: for {few}; with fewer, the next lane"]
    against = [(one.lane.name, one.against) for one in plan.considered if one.against]
    if against:
        lines += ["", "Not used:", *text_table(against)]
    return "\n".join(lines) + "\n"


def _row(plan: Plan, one: Considered, rank: str) -> tuple[str, ...]:
    rates = _rates(plan.model, one.lane.name)
    share = f"{100 * one.share:.0f} %" + ("" if one.priced else " (general discount)")
    return (rank, one.lane.name, *(rates or ("-", "-")), share, one.lane.takes)


def _rates(model: str, lane: str) -> tuple[str, str] | None:
    """US$ per million tokens of input and output, of short prompts; None: no price is known."""
    try:
        rates = price_book().sheet(model=model, lane=lane).bands[-1].rates
    except ValueError:
        return None
    return None if rates is None else (plain_digits(rates.input), plain_digits(rates.output))


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON types; rates in US$ per million tokens, as text."""
    return {
        "model": plan.model,
        "deadline": plan.deadline,
        "lanes": [lane.name for lane in plan.lanes],
        "why": plan.why,
        "source": plan.source or None,
        "considered": [
            {
                "lane": one.lane.name,
                "tried": not one.against,
                "against": one.against or None,
                "share_of_standard": float(one.share),
                "priced": one.priced,
                "rates": _rates(plan.model, one.lane.name),
                "takes": one.lane.takes,
            }
            for one in plan.considered
        ],
    }
