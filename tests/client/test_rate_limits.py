"""Rate limits on the wire: token limits, stated limits, requests above the limit."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, track, wrap
from flextier.capacity import CAPACITY
from flextier.capacity.pacing import Pacing
from flextier.sim import Fault, Simulator, Weather
from tests.client.callers import FAST, KEY, MESSAGES, Caller


def pace() -> Pacing:
    """What is known of the limits of the model."""
    (limiter,) = CAPACITY._limiters.values()
    return limiter.pace


def calls_at_once(sim: Simulator, calls: int, is_async: bool, width: int = 10) -> list[CallReport]:
    """So many calls, ``width`` at a time; none may fail."""
    options = {"base_url": sim.base_url, "api_key": KEY, "policy": FAST}

    async def ask_async() -> None:
        free = asyncio.Semaphore(width)
        async with AsyncFlexOpenAI(**options) as client:

            async def ask() -> None:
                async with free:
                    await client.chat.completions.create(model="o3", messages=MESSAGES)

            await asyncio.gather(*(ask() for _ in range(calls)))

    with track() as reports:
        if is_async:
            asyncio.run(ask_async())
        else:
            with FlexOpenAI(**options) as client, ThreadPoolExecutor(width) as threads:
                ask = wrap(lambda _: client.chat.completions.create(model="o3", messages=MESSAGES))
                list(threads.map(ask, range(calls)))
    return reports


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_one_token_limit_among_many_calls(sim: Simulator, is_async: bool) -> None:
    """The refused call is sent again; requests are not spaced out by it."""
    CAPACITY.reset()
    calls_at_once(sim, 20, is_async)
    sim.script(Fault.token_limit(used=192_410))
    reports = calls_at_once(sim, 40, is_async)
    attempts = [attempt.outcome for report in reports for attempt in report.attempts]
    assert sorted(attempts) == ["rate_limited", *["served"] * 40]
    assert {report.lane for report in reports} == {"flex"}
    assert not pace().requests.on


def test_a_request_above_the_token_limit_is_rejected(sim: Simulator, caller: Caller) -> None:
    """It is raised at once, and no other call is slowed down."""
    CAPACITY.reset()
    sim.script(Fault.token_limit(limit=30_000, requested=36_278))
    outcome = caller(sim.base_url)
    assert isinstance(outcome.error, openai.RateLimitError)
    assert "must be reduced" in str(outcome.error)
    assert [attempt.outcome for attempt in outcome.report.attempts] == ["rejected"]
    assert not pace().on


def test_limits_that_responses_state_are_known(own_sim: Simulator, caller: Caller) -> None:
    """Each response says what is left, before anything was refused."""
    CAPACITY.reset()
    own_sim.weather = Weather(rpm=100, tpm=6_000)
    assert caller(own_sim.base_url).error is None
    requests, tokens = pace()._buckets.values()
    assert requests.limit == 100
    assert tokens.limit == 6_000
    assert pace().seconds_for(200, 0.0) > 60


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_stated_request_limit_is_not_exceeded(own_sim: Simulator, is_async: bool) -> None:
    """One call reads that 30 requests a minute are allowed; of 29 at once, none is refused."""
    CAPACITY.reset()
    own_sim.weather = Weather(rpm=30)
    calls_at_once(own_sim, 1, is_async)
    reports = calls_at_once(own_sim, 29, is_async, width=29)
    assert [len(report.attempts) for report in reports] == [1] * 29
