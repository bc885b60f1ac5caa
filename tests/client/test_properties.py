"""Laws that hold whatever goes wrong, over real sockets."""

from __future__ import annotations

import openai
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flextier import FlexPolicy
from flextier.capacity import CAPACITY
from flextier.sim import Fault, Simulator
from tests.client.callers import CALLERS, Caller
from tests.client.test_failure_table import seen, tiers

# What goes wrong, as which outcome it is to be reported, and what the SDK raises for it.
TROUBLE: dict[str, tuple[Fault, set[str], type[Exception]]] = {
    "refusal": (Fault.refuse(), {"capacity", "rate_limited"}, openai.RateLimitError),
    "refusal with a wait": (
        Fault.refuse(retry_after=0.01),
        {"capacity", "rate_limited"},
        openai.RateLimitError,
    ),
    "rate limit": (Fault.rate_limit(retry_after_ms=5), {"rate_limited"}, openai.RateLimitError),
    "quota": (Fault.quota(), {"quota"}, openai.RateLimitError),
    "server error": (Fault.status(500), {"transient"}, openai.InternalServerError),
    "conflict": (Fault.status(409), {"transient"}, openai.ConflictError),
    "request timeout": (Fault.status(408), {"timeout"}, openai.APIStatusError),
    "reset": (Fault.reset(), {"transient"}, openai.APIConnectionError),
    "stall": (Fault.stall(), {"timeout"}, openai.APITimeoutError),
    "unsupported": (Fault.unsupported(), {"lane_unsupported", "rejected"}, openai.BadRequestError),
    "rejected": (Fault.status(403), {"rejected"}, openai.PermissionDeniedError),
}
FINAL = {"quota", "rejected"}

policies = st.builds(
    FlexPolicy,
    lanes=st.sampled_from([("flex", "standard"), ("flex",), ("standard",)]),
    patience=st.sampled_from([0, 0.05, 0.3]),
    deadline=st.sampled_from([None, 0.4]),
    standard_reserve=st.just(0.2),
    flex_timeout=st.just(0.1),
    standard_timeout=st.just(0.1),
    max_retries=st.integers(0, 2),
    backoff_initial=st.just(0.01),
    backoff_max=st.just(0.02),
)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    trouble=st.lists(st.sampled_from(sorted(TROUBLE)), max_size=8),
    policy=policies,
    caller=st.sampled_from(CALLERS),
)
def test_laws_of_a_call(
    trouble: list[str], policy: FlexPolicy, caller: Caller, flextier_sim: Simulator
) -> None:
    """The wire saw what the report says, nothing final is tried again, errors are the SDK's."""
    flextier_sim.reset()
    CAPACITY.reset()
    flextier_sim.script(*(TROUBLE[name][0] for name in trouble))

    outcome = caller(flextier_sim.base_url, policy)

    # Every attempt is in the report once, in order, on the lane it was sent on.
    # On a busy machine, or near a deadline, an attempt may be out of time before it gets there.
    unsent = len(outcome.lanes) - len(seen(flextier_sim))
    assert 0 <= unsent <= outcome.outcomes.count("timeout")
    if unsent:
        return
    assert seen(flextier_sim) == tiers(outcome)
    met = [TROUBLE[name] for name in trouble[: len(outcome.outcomes)]]
    for attempt, (_, kinds, _) in zip(outcome.outcomes, met, strict=False):
        assert attempt in kinds | {"timeout"}  # on a busy machine anything may take too long
    # Only the last attempt can have been served, or be final.
    assert not {"served", *FINAL} & set(outcome.outcomes[:-1])
    # Lanes are only ever left to the right.
    order = [policy.lanes.index(lane) for lane in outcome.lanes]
    assert order == sorted(order)
    # Answered, or the SDK's own error for what went wrong last.
    if outcome.error is None:
        assert outcome.text
    else:
        assert isinstance(outcome.error, openai.OpenAIError)
        if outcome.outcomes and outcome.outcomes[-1] != "timeout":
            assert type(outcome.error) is met[-1][2]
        else:  # or the deadline was over before the first attempt
            assert isinstance(outcome.error, (openai.APITimeoutError, openai.APIStatusError))
        assert outcome.error.report is outcome.report  # type: ignore[attr-defined]
    # Waits are within the deadline.
    assert policy.deadline is None or outcome.report.waited <= policy.deadline
