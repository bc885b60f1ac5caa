"""The failure table of the docs, row by row, over every way to make a call and real sockets.

Every test counts the requests on the wire: what the simulator saw is what the report says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai
import pytest
from tenacity import RetryCallState

from flextier import FlexPolicy
from flextier.calls.context import listen
from flextier.calls.report import Retry
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, Caller, Outcome

pytestmark = pytest.mark.sampled(2)


@dataclass(frozen=True)
class Row:
    """Faults in the order they are met, and what has to come of the call."""

    name: str
    faults: tuple[Fault, ...]
    attempts: tuple[str, ...]
    """``lane:outcome`` of every attempt."""
    raises: type[Exception] | None = None
    fallback: str | None = None
    policy: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


FLEX_ONLY = {"lanes": ("flex",)}
STANDARD_ONLY = {"lanes": ("standard",)}

ROWS = [
    Row("served", (), ("flex:served",)),
    Row("refused-once", (Fault.refuse(),), ("flex:capacity", "flex:served")),
    Row(
        "refused-by-the-older-code",
        (Fault.refuse(code="resource_unavailable"),),
        ("flex:capacity", "flex:served"),
    ),
    Row(
        "any-other-429-on-flex",
        (Fault.status(429, error_code="something_new"),),
        ("flex:capacity", "flex:served"),
    ),
    Row(
        "refused-until-patience-is-spent",
        (Fault.refuse(),),
        ("flex:capacity", "standard:served"),
        fallback="capacity",
        policy={"patience": 0},
    ),
    Row(
        "refused-with-no-next-lane",
        (Fault.refuse(),),
        ("flex:capacity",),
        raises=openai.RateLimitError,
        policy={"patience": 0, **FLEX_ONLY},
    ),
    Row(
        "retry-after-that-fits",
        (Fault.refuse(retry_after=0.02),),
        ("flex:capacity", "flex:served"),
    ),
    Row(
        "retry-after-longer-than-patience",
        (Fault.refuse(retry_after=301),),
        ("flex:capacity", "standard:served"),
        fallback="capacity",
    ),
    Row(
        "retry-after-longer-than-the-deadline",
        (Fault.refuse(retry_after=100),),
        ("flex:capacity", "standard:served"),
        fallback="capacity",
        policy={"deadline": 60},
    ),
    Row(
        "refusal-that-asks-not-to-retry",
        (Fault.refuse(should_retry=False),),
        ("flex:capacity", "standard:served"),
        fallback="capacity",
        policy={"patience": 59},
    ),
    Row(
        "rate-limited",
        (Fault.rate_limit(retry_after_ms=5), Fault.rate_limit(reset="10ms")),
        ("flex:rate_limited", "flex:rate_limited", "flex:served"),
    ),
    Row(
        "rate-limited-on-standard",
        (Fault.rate_limit(retry_after=0.01),),
        ("standard:rate_limited", "standard:served"),
        policy=STANDARD_ONLY,
    ),
    Row("quota", (Fault.quota(),), ("flex:quota",), raises=openai.RateLimitError),
    Row(
        "request-timeout-408",
        (Fault.status(408),),
        ("flex:timeout", "standard:served"),
        fallback="timeout",
        policy={"patience": 0},
    ),
    Row(
        "request-timeout-408-within-patience",
        (Fault.status(408),),
        ("flex:timeout", "flex:served"),
    ),
    Row(
        "stall",
        (Fault.stall(),),
        ("flex:timeout", "standard:served"),
        fallback="timeout",
        policy={"flex_timeout": 0.3, "patience": 0.1},
    ),
    Row(
        "stall-on-standard",
        (Fault.stall(),),
        ("standard:timeout", "standard:served"),
        policy={"standard_timeout": 0.5, **STANDARD_ONLY},
    ),
    *(
        Row(
            f"status-{status}",
            (Fault.status(status), Fault.status(status)),
            ("flex:transient", "flex:transient", "flex:served"),
        )
        for status in (409, 500, 502, 503, 504)
    ),
    Row(
        "transient-until-max-retries",
        (Fault.status(500),) * 3,
        ("flex:transient",) * 3 + ("standard:served",),
        fallback="transient",
    ),
    Row(
        "transient-on-every-lane",
        (Fault.status(503),) * 4,
        ("flex:transient",) * 2 + ("standard:transient",) * 2,
        raises=openai.InternalServerError,
        fallback="transient",
        policy={"max_retries": 1},
    ),
    Row(
        "server-asks-not-to-retry",
        (Fault.status(500, headers={"x-should-retry": "false"}),),
        ("flex:transient", "standard:served"),
        fallback="transient",
    ),
    Row("reset-connection", (Fault.reset(),), ("flex:transient", "flex:served")),
    Row(
        "no-flex-for-this-model",
        (Fault.unsupported(),),
        ("flex:lane_unsupported", "standard:served"),
        fallback="lane_unsupported",
    ),
    Row(
        "no-flex-and-no-next-lane",
        (Fault.unsupported(),),
        ("flex:lane_unsupported",),
        raises=openai.BadRequestError,
        policy=FLEX_ONLY,
    ),
    *(
        Row(
            f"rejected-{status}",
            (Fault.status(status, param="messages"),),
            ("flex:rejected",),
            raises=error,
        )
        for status, error in (
            (400, openai.BadRequestError),
            (401, openai.AuthenticationError),
            (403, openai.PermissionDeniedError),
            (404, openai.NotFoundError),
            (422, openai.UnprocessableEntityError),
        )
    ),
]


def seen(sim: Simulator) -> list[str | None]:
    """The service tiers of the requests that reached the wire."""
    return [request.tier for request in sim.requests]


def tiers(outcome: Outcome) -> list[str]:
    """The service tiers that the report's attempts stand for."""
    return [{"standard": "default"}.get(lane, lane) for lane in outcome.lanes]


def check_row(row: Row, caller: Callable[[str, FlexPolicy], Outcome], sim: Simulator) -> None:
    """Meet a row's faults, and look at what came of it; for the tests of the frameworks, too."""
    sim.script(*row.faults)

    outcome = caller(sim.base_url, FAST.replace(**row.policy))

    assert [f"{a.lane}:{a.outcome}" for a in outcome.report.attempts] == list(row.attempts)
    assert seen(sim) == tiers(outcome)
    assert outcome.report.fallback == row.fallback
    if row.raises is None:
        assert outcome.error is None
        assert outcome.text
        assert outcome.report.served
        assert outcome.report.lane == outcome.lanes[-1]
    else:
        assert type(outcome.error) is row.raises
        assert outcome.error.report is outcome.report


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.sampled(3)
def test_row(row: Row, caller: Caller, sim: Simulator) -> None:
    """Each failure becomes what the table says, and the wire saw what the report says."""
    check_row(row, caller, sim)


@pytest.mark.parametrize("fault", [Fault.not_json(), Fault.not_json("application/json")], ids=repr)
def test_an_answer_that_is_not_json_is_transient(
    fault: Fault, plain: Caller, sim: Simulator
) -> None:
    """A body that is not JSON is asked for again, whatever it says it is."""
    sim.script(fault)

    outcome = plain(sim.base_url)

    assert outcome.outcomes == ["transient", "served"]
    assert len(sim.requests) == 2


def test_a_cut_body_is_transient(plain: Caller, sim: Simulator) -> None:
    """A body that ends early is asked for again."""
    sim.script(Fault.cut())

    outcome = plain(sim.base_url)

    assert outcome.outcomes == ["transient", "served"]


def test_an_unreadable_answer_at_last_is_an_openai_error(plain: Caller, sim: Simulator) -> None:
    """When every answer is unreadable, the caller gets a connection error that says so."""
    sim.script(*[Fault.not_json()] * 2)

    outcome = plain(sim.base_url, FAST.replace(max_retries=0))

    assert isinstance(outcome.error, openai.APIConnectionError)
    assert "not JSON" in str(outcome.error)
    assert len(sim.requests) == 2


def test_an_unsupported_lane_is_remembered_for_the_model(caller: Caller, sim: Simulator) -> None:
    """After one 400 about the tier, later calls for that model go straight to standard."""
    sim.script(Fault.unsupported())
    caller(sim.base_url)

    again = caller(sim.base_url)
    other = caller(sim.base_url, model="o4-mini")

    assert again.lanes == ["standard"]
    assert again.report.fallback == "lane_unsupported"
    assert other.lanes == ["flex"]


def test_a_long_retry_after_shuts_the_lane(caller: Caller, sim: Simulator) -> None:
    """A lane that asked for more time than there is left is not asked again until then."""
    sim.script(Fault.refuse(retry_after=1000))
    caller(sim.base_url)

    again = caller(sim.base_url)

    assert again.lanes == ["standard"]
    assert again.report.fallback == "capacity"
    assert seen(sim) == ["flex", "default", "default"]


@pytest.mark.parametrize(
    ("tier", "asked", "lane"),
    [("flex", "flex", "flex"), ("auto", "flex", "flex"), ("default", "default", "standard")],
)
def test_the_callers_tier(tier: str, asked: str, lane: str, caller: Caller, sim: Simulator) -> None:
    """`flex` and `auto` leave the choice to the ladder; `default` stays on standard."""
    outcome = caller(sim.base_url, service_tier=tier)

    assert seen(sim) == [asked]
    assert outcome.report.lane == lane


def test_another_tier_is_the_callers_choice(caller: Caller, sim: Simulator) -> None:
    """A call with a tier of its own stays on it, with the same retries."""
    sim.script(Fault.status(500), Fault.serve())

    outcome = caller(sim.base_url, service_tier="priority")

    assert seen(sim) == ["priority", "priority"]
    assert outcome.report.lane == "priority"


def test_a_tier_in_extra_body_counts(plain: Caller, sim: Simulator) -> None:
    """`extra_body` wins over the body on the wire, so the tier in it is read and routed too."""
    pinned = plain(sim.base_url, extra_body={"service_tier": "priority"})
    open_ = plain(sim.base_url, extra_body={"service_tier": "auto"})

    assert (pinned.report.lane, open_.report.lane) == ("priority", "flex")
    assert seen(sim) == ["priority", "flex"]


def test_a_downgrade_by_the_server_is_reported(caller: Caller, sim: Simulator) -> None:
    """The lane of the report is the one the answer was billed on, not the one asked for."""
    sim.script(Fault.serve(tier="default"))

    outcome = caller(sim.base_url)

    assert seen(sim) == ["flex"]
    assert outcome.report.lane == "standard"
    assert outcome.report.fallback == "downgraded"


def test_standard_only_sends_the_tier_by_name(caller: Caller, sim: Simulator) -> None:
    """Flex switched off: one request on an explicit `default`, whatever the project's default."""
    outcome = caller(sim.base_url, FAST.replace(lanes=("standard",)))

    assert seen(sim) == ["default"]
    assert outcome.report.fallback is None


def test_possibly_billed_is_reported(plain: Caller, sim: Simulator) -> None:
    """A stall may have been billed, a refusal never is: the report shows the difference."""
    sim.script(Fault.refuse(), Fault.stall())

    outcome = plain(sim.base_url, FAST.replace(flex_timeout=0.5, patience=0.4))

    assert [a.possibly_billed for a in outcome.report.attempts] == [False, True, False]


def test_the_policy_of_the_client_is_the_default(sim: Simulator) -> None:
    """Without a policy the fields have the documented defaults."""
    outcome = Caller("chat", stream=False, is_async=False)(sim.base_url, FlexPolicy())

    assert outcome.lanes == ["flex"]


def test_a_retry_is_reported_before_its_wait(caller: Caller, sim: Simulator) -> None:
    """A listener gets the failure, the next lane and the wait, once for each retry."""
    sim.script(Fault.refuse(), Fault.refuse(), Fault.status(500))
    retries: list[Retry] = []
    errors: list[type] = []

    def listener(retry: Retry) -> None:
        retries.append(retry)
        assert isinstance(retry.state, RetryCallState)
        assert retry.state.outcome is not None
        errors.append(type(retry.state.outcome.exception()))

    with listen(on_retry=listener):
        outcome = caller(sim.base_url, FAST.replace(lanes=("flex",)))

    assert [(r.model, r.failed.outcome, r.lane) for r in retries] == [
        ("o3", "capacity", "flex"),
        ("o3", "capacity", "flex"),
        ("o3", "transient", "flex"),
    ]
    # How long after a refusal the lane is asked again is learnt: at least what refusals take.
    assert all(0 < r.wait <= 3 for r in retries[:2])
    assert 0 <= retries[2].wait <= 0.02
    assert outcome.report.waited >= sum(r.wait for r in retries) - 0.02
    assert errors == [openai.RateLimitError, openai.RateLimitError, openai.InternalServerError]


def test_a_retry_on_the_next_lane_says_so(caller: Caller, sim: Simulator) -> None:
    """`lane` is the lane of the try to come."""
    sim.script(Fault.refuse())
    retries: list[Retry] = []

    with listen(on_retry=retries.append):
        caller(sim.base_url, FAST.replace(patience=0))

    assert [(r.failed.lane, r.lane, r.wait) for r in retries] == [("flex", "standard", 0.0)]
