"""Deadlines over real sockets: every call has ended by then, answered if any lane could."""

from __future__ import annotations

import time

import openai
import pytest

from flextier import FlexDeadlineExceeded, FlexOpenAI, FlexPolicy, override, track
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES, Caller

pytestmark = pytest.mark.sampled(2)


def test_a_stalled_flex_attempt_leaves_time_for_standard(caller: Caller, sim: Simulator) -> None:
    """Flex is left at the deadline less the reserve, and standard answers."""
    sim.script(Fault.stall())

    outcome = caller(sim.base_url, FAST.replace(deadline=10, standard_reserve=9.8))

    assert outcome.lanes == ["flex", "standard"]
    assert outcome.outcomes == ["timeout", "served"]
    assert outcome.report.elapsed >= 0.19  # the attempt may begin later than the call


def test_a_call_ends_by_its_deadline(caller: Caller, sim: Simulator) -> None:
    """When no lane answers, the error is ours, the SDK's timeout, and names the knob."""
    caller(sim.base_url)  # the first call of a process imports modules
    sim.reset()
    sim.script(*[Fault.stall()] * 2)

    outcome = caller(sim.base_url, FAST.replace(deadline=0.3, standard_reserve=0.15))

    assert isinstance(outcome.error, FlexDeadlineExceeded)
    assert isinstance(outcome.error, openai.APITimeoutError)
    assert "FLEXTIER_DEADLINE" in str(outcome.error)
    assert outcome.outcomes == ["timeout", "timeout"]
    assert outcome.report.elapsed >= 0.29
    assert len(sim.requests) == 2, "LlamaIndex retries timeouts, but not ours"


def test_a_trickling_body_cannot_outlast_the_deadline(plain: Caller, sim: Simulator) -> None:
    """A body that comes in byte by byte resets no timer: the attempt ends in time."""
    sim.script(Fault.trickle(seconds=30))
    started = time.monotonic()

    outcome = plain(sim.base_url, FAST.replace(deadline=0.3, lanes=("flex",)))

    assert isinstance(outcome.error, FlexDeadlineExceeded)
    assert time.monotonic() - started < 15, "half of what the body takes"


def test_a_stream_ends_by_the_deadline(stream: Caller, sim: Simulator) -> None:
    """A stream that has begun and falls silent is ended at the deadline, not at the reserve."""
    sim.script(Fault.stream_stall(after=4))

    outcome = stream(sim.base_url, FAST.replace(deadline=1, standard_reserve=0.3))

    assert isinstance(outcome.error, FlexDeadlineExceeded)
    assert outcome.report.elapsed >= 0.99
    assert len(sim.requests) == 1


def test_a_wait_that_does_not_fit_is_not_waited(caller: Caller, sim: Simulator) -> None:
    """A rate limit that outlasts the deadline is raised at once, as the SDK would raise it."""
    sim.script(Fault.rate_limit(retry_after=3600))

    outcome = caller(sim.base_url, FAST.replace(deadline=60, lanes=("flex",), patience=4000))

    assert type(outcome.error) is openai.RateLimitError
    assert outcome.report.waited == 0
    assert "FLEXTIER_DEADLINE" in str(outcome.error)
    assert len(sim.requests) == 1, "LlamaIndex retries rate limits, but not ours"


def test_override_sets_the_deadline_of_calls_inside(sim: Simulator) -> None:
    """`override` reaches any call made inside it, and ends with its block."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FlexPolicy()) as client:
        sim.script(Fault.stall())
        with override(deadline=0.2, lanes=("flex",)), pytest.raises(FlexDeadlineExceeded) as caught:
            client.chat.completions.create(model="o3", messages=MESSAGES)
        with track() as calls:
            client.chat.completions.create(model="o3", messages=MESSAGES)
    assert [a.outcome for a in caught.value.report.attempts] == ["timeout"]  # type: ignore[attr-defined]
    assert calls[0].lane == "flex"


def test_a_deadline_shorter_than_the_reserve(caller: Caller, sim: Simulator) -> None:
    """Its calls go to standard at once."""
    outcome = caller(sim.base_url, FlexPolicy(deadline=20, standard_reserve=30))
    assert outcome.lanes == ["standard"]
    assert outcome.report.fallback == "unfinished"
    assert outcome.report.why == "the deadline leaves too little time for flex"
