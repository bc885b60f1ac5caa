"""The failure table of the docs over LlamaIndex's ways to ask, and real sockets.

Every test counts the requests on the wire: what the simulator saw is what the report says.
"""

from __future__ import annotations

from typing import Any

import pytest

from flextier.sim import Fault, Simulator
from tests.client.callers import FAST
from tests.client.test_failure_table import ROWS, Row, check_row, seen
from tests.llama_index.callers import CALLERS, COMPLETE, EVERY_WAY, PLAIN, LlamaCaller

pytestmark = pytest.mark.sampled(2)

over_chats = pytest.mark.parametrize("caller", CALLERS, ids=str)
over_all = pytest.mark.parametrize("caller", EVERY_WAY, ids=str)
over_plain = pytest.mark.parametrize("plain", PLAIN, ids=str)


@over_chats
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.sampled(4)
def test_row(row: Row, caller: LlamaCaller, sim: Simulator) -> None:
    """Each failure becomes what the table says, and the wire saw what the report says."""
    check_row(row, caller, sim)


# A completion is a chat of one message: one row of each kind of end shows that it stays one.
KINDS = {"served", "refused-once", "refused-until-patience-is-spent", "status-500", "quota"}


@pytest.mark.parametrize("caller", COMPLETE, ids=str)
@pytest.mark.parametrize("row", [row for row in ROWS if row.name in KINDS], ids=str)
@pytest.mark.sampled(3)
def test_row_of_a_completion(row: Row, caller: LlamaCaller, sim: Simulator) -> None:
    """`complete` goes the same way as `chat`."""
    check_row(row, caller, sim)


@pytest.mark.parametrize("fault", [Fault.not_json(), Fault.cut()], ids=repr)
@over_plain
def test_an_unreadable_answer_is_transient(
    fault: Fault, plain: LlamaCaller, sim: Simulator
) -> None:
    """A body that is cut or not JSON is asked for again."""
    sim.script(fault)

    outcome = plain(sim.base_url)

    assert outcome.outcomes == ["transient", "served"]
    assert len(sim.requests) == 2


@over_chats
def test_an_unsupported_lane_is_remembered_for_the_model(
    caller: LlamaCaller, sim: Simulator
) -> None:
    """After one 400 about the tier, later calls for that model go straight to standard."""
    sim.script(Fault.unsupported())
    caller(sim.base_url)

    again = caller(sim.base_url)
    other = caller(sim.base_url, model="o4-mini")

    assert again.lanes == ["standard"]
    assert again.report.fallback == "lane_unsupported"
    assert other.lanes == ["flex"]


@over_chats
def test_a_long_retry_after_shuts_the_lane(caller: LlamaCaller, sim: Simulator) -> None:
    """A lane that asked for more time than there is left is not asked again until then."""
    sim.script(Fault.refuse(retry_after=1000))
    caller(sim.base_url)

    again = caller(sim.base_url)

    assert again.lanes == ["standard"]
    assert again.report.fallback == "capacity"
    assert seen(sim) == ["flex", "default", "default"]


def test_what_one_class_has_learnt_the_other_knows(sim: Simulator) -> None:
    """Lanes belong to the account and the model, not to the class that asks."""
    sim.script(Fault.refuse(retry_after=1000))

    lanes = [caller(sim.base_url).lanes for caller in CALLERS]

    assert lanes == [["flex", "standard"], *[["standard"]] * (len(CALLERS) - 1)]


# --- the caller's tier --------------------------------------------------------------------------


def _said(where: str, tier: str) -> dict[str, Any]:
    """The arguments that name a tier in one of the places where it can be named."""
    field = {"service_tier": tier}
    return {
        "constructor": {"llm": {"additional_kwargs": field}},
        "call": field,
        "call-additional": {"additional_kwargs": field},
    }[where]


TIERS = [("flex", "flex", "flex"), ("auto", "flex", "flex"), ("default", "default", "standard")]


@pytest.mark.parametrize("where", ["constructor", "call", "call-additional"])
@pytest.mark.parametrize(("tier", "asked", "lane"), TIERS)
@over_chats
@pytest.mark.sampled(3)
def test_the_callers_tier(
    tier: str, asked: str, lane: str, where: str, caller: LlamaCaller, sim: Simulator
) -> None:
    """`flex` and `auto` leave the choice to the ladder; `default` stays on standard."""
    outcome = caller(sim.base_url, **_said(where, tier))

    assert seen(sim) == [asked]
    assert outcome.report.lane == lane


@pytest.mark.parametrize("where", ["constructor", "call", "call-additional"])
@over_all
@pytest.mark.sampled(3)
def test_another_tier_is_the_callers_choice(
    where: str, caller: LlamaCaller, sim: Simulator
) -> None:
    """A call with a tier of its own stays on it, with the same retries."""
    sim.script(Fault.status(500), Fault.serve())

    outcome = caller(sim.base_url, **_said(where, "priority"))

    assert seen(sim) == ["priority", "priority"]
    assert outcome.report.lane == "priority"


@pytest.mark.parametrize("where", ["call", "call-additional"])
@over_chats
def test_the_tier_of_the_call_wins(where: str, caller: LlamaCaller, sim: Simulator) -> None:
    """What one call says counts for it, whatever the constructor said."""
    for tier in ("default", "auto"):
        caller(sim.base_url, **_said("constructor", "priority"), **_said(where, tier))
    caller(sim.base_url, **_said("constructor", "flex"), **_said(where, "priority"))

    assert seen(sim) == ["default", "flex", "priority"]


@over_chats
def test_the_named_argument_wins_over_additional_kwargs(
    caller: LlamaCaller, sim: Simulator
) -> None:
    """Where one call says two things, the argument of that name is the nearer one."""
    caller(sim.base_url, **_said("call", "priority"), **_said("call-additional", "default"))

    assert seen(sim) == ["priority"]


# --- what the report contains --------------------------------------------------------------------


@over_chats
def test_a_downgrade_by_the_server_is_reported(caller: LlamaCaller, sim: Simulator) -> None:
    """The lane of the report is the one the answer was billed on, not the one asked for."""
    sim.script(Fault.serve(tier="default"))

    outcome = caller(sim.base_url)

    assert seen(sim) == ["flex"]
    assert outcome.report.lane == "standard"
    assert outcome.report.fallback == "downgraded"


@over_plain
def test_possibly_billed_is_said(plain: LlamaCaller, sim: Simulator) -> None:
    """A stall is possibly billed, a refusal never is."""
    sim.script(Fault.refuse(), Fault.stall())

    outcome = plain(sim.base_url, FAST.replace(flex_timeout=0.5, patience=0.4))

    assert [a.possibly_billed for a in outcome.report.attempts] == [False, True, False]


@over_all
def test_standard_only_sends_the_tier_by_name(caller: LlamaCaller, sim: Simulator) -> None:
    """Flex switched off: one request on an explicit `default`, whatever the project's default."""
    outcome = caller(sim.base_url, FAST.replace(lanes=("standard",)))

    assert seen(sim) == ["default"]
    assert outcome.report.fallback is None
