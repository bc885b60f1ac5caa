"""The provider in virtual time: it answers as the simulator does, and counts what it sees."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
import pytest

from flextier.rehearsal.provider import BASE_URL, ProviderCounts, TraceProvider
from flextier.rehearsal.virtual_loop import run_virtually
from flextier.sim import Weather

T = TypeVar("T")


class Asking:
    """A client of a provider that never retries, and the loop's time."""

    def __init__(self, provider: TraceProvider, **settings: Any) -> None:
        self.counts = provider.counts
        self._client = openai.AsyncOpenAI(
            api_key="k",
            base_url=BASE_URL,
            http_client=provider.client(),
            **{"max_retries": 0, **settings},
        )

    async def __call__(self, tier: str = "flex", model: str = "o3", **options: Any) -> Any:
        return await self._client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "?"}],
            service_tier=tier,  # type: ignore[call-overload]
            **options,
        )

    async def refused(self, *arguments: Any) -> openai.APIStatusError:
        with pytest.raises(openai.APIStatusError) as raised:
            await self(*arguments)
        return raised.value

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()


def ask(
    weather: Weather, what: Callable[[Asking], Awaitable[T]], **settings: Any
) -> tuple[T, ProviderCounts]:
    """Run ``what`` against a provider in this weather; its result, and the counts."""
    provider = TraceProvider(weather)

    async def main() -> T:
        return await what(Asking(provider, **settings))

    return run_virtually(main), provider.counts


def test_answers_take_the_latency_of_their_lane() -> None:
    """An answer has tier and usage, and comes at the time that the weather says."""

    async def what(asking: Asking) -> None:
        flex = await asking("flex")
        assert (flex.service_tier, flex.usage.prompt_tokens, asking.now) == ("flex", 1200, 5)
        standard = await asking("default")
        assert (standard.service_tier, asking.now) == ("default", 7)

    _, counts = ask(Weather(flex_latency=5, standard_latency=2), what)
    assert counts == ProviderCounts(requests=2, billed=[(5, "flex"), (7, "default")])
    assert counts.served == {"flex": 1, "default": 1}


def test_refusals_are_the_simulators() -> None:
    """A refusal is flex's 429, a moment after the request; nothing is billed."""

    async def what(asking: Asking) -> float:
        error = await asking.refused("flex")
        assert (error.status_code, error.code) == (429, "flex_unavailable")
        assert error.type == "resource_unavailable"
        assert error.response.headers["retry-after"] == "7"
        assert error.request_id
        return asking.now

    now, counts = ask(Weather(slots=0, retry_after=7), what)
    assert now == 0.15
    assert counts == ProviderCounts(requests=1, refusals=1)


def test_refusals_take_the_weathers_time() -> None:
    """``refusal_latency`` says how long."""

    async def what(asking: Asking) -> float:
        await asking.refused("flex")
        return asking.now

    assert ask(Weather(slots=0, refusal_latency=2), what)[0] == 2


def test_slots_are_held_until_the_answer() -> None:
    """Of three requests at once two get the slots; when they are answered, there is room again."""

    async def what(asking: Asking) -> None:
        results = await asyncio.gather(*(asking() for _ in range(3)), return_exceptions=True)
        assert [isinstance(result, Exception) for result in results] == [False, False, True]
        assert asking.now == 3
        await asking()

    assert ask(Weather(slots=2, flex_latency=3), what)[1].refusals == 1


def test_a_client_that_leaves_frees_its_slot() -> None:
    """A request that is cancelled is abandoned: possibly billed, its slot free at once."""

    async def what(asking: Asking) -> float:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asking(), 1)
        await asking()
        return asking.now

    now, counts = ask(Weather(slots=1, flex_latency=3), what)
    assert now == 4
    assert counts == ProviderCounts(requests=2, abandoned=1, billed=[(4, "flex")])


def test_read_timeouts_are_kept() -> None:
    """A stall ends with the client's read timeout, and so does an answer that is too slow."""

    async def what(asking: Asking) -> list[float]:
        times = []
        for tier in ("flex", "default"):
            with pytest.raises(openai.APITimeoutError):
                await asking(tier)
            times.append(asking.now)
        return times

    times, counts = ask(Weather(stall=1, standard_latency=100), what, timeout=60)
    assert times == [60, 120]
    assert counts == ProviderCounts(requests=2, stalls=1, abandoned=2)


def test_a_stall_may_end_in_an_answer() -> None:
    """After ``stall_seconds`` comes the answer's own latency."""

    async def what(asking: Asking) -> float:
        await asking()
        return asking.now

    now, counts = ask(Weather(stall=1, stall_seconds=20, flex_latency=3), what)
    assert now == 23
    assert (counts.stalls, counts.served) == (1, {"flex": 1})


def test_windows_go_by_virtual_time() -> None:
    """Slow and shut windows are those of the weather's clock, which the first request starts."""

    async def what(asking: Asking) -> None:
        await asyncio.sleep(1000)
        await asking()
        assert asking.now == 1003
        await asyncio.sleep(7)
        await asking()
        assert asking.now == 1040
        await asking.refused()

    ask(Weather(flex_latency=3, slow_windows=((10, 20, 10),), outages=((40, 50),)), what)


def test_rate_limits_count_every_request_of_a_model() -> None:
    """Refused ones and other lanes count, other models do not; headers say when there is room."""

    async def what(asking: Asking) -> None:
        await asking.refused("flex")
        await asyncio.sleep(10 - asking.now)
        await asking("default")
        limited = await asking.refused("default")
        assert limited.code == "rate_limit_exceeded"
        headers = limited.response.headers
        # At 11 s: sent at 0, 10 and 11 s, of which two have to be a minute ago.
        assert headers["retry-after-ms"] == "59000"
        assert headers["retry-after"] == "59"
        assert headers["x-ratelimit-reset-requests"] == "59s"
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "0"
        await asking("default", "o4-mini")
        await asyncio.sleep(70 - asking.now)
        await asking("default")

    weather = Weather(slots=0, rpm=2, standard_latency=1)
    assert ask(weather, what)[1].rate_limited == 1
