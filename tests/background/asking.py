"""Responses calls on background lanes, sync and async, and what became of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from flextier import AsyncFlexOpenAI, CallReport, Clock, FlexOpenAI, FlexPolicy, track
from flextier.sim import BackgroundWeather, Simulator, Weather
from tests.batch.crowd import count
from tests.client.callers import KEY

MODEL = "gpt-6.2-sol"
"""It has the windows, and no flex."""

QUESTION = "Where is the cat?"
ANSWER = f"[simulated] {QUESTION}"

LOOK = "/responses/{id}"
CANCEL = "/responses/{id}/cancel"

POLICY = FlexPolicy(
    lanes=("background", "standard"),
    standard_reserve=0.3,
    backoff_initial=0.01,
    backoff_max=0.02,
)
ALONE = POLICY.replace(lanes=("background",))
IN_TIME = 10.0
"""Seconds that are more than a machine with much to do needs for a request."""


def quick_clock(least: float = 0.0) -> Clock:
    """A clock on which a sleep passes at once, and what the machine takes counts a hundredth: how
    busy it is decides nothing.

    Args:
        least: seconds that the shortest sleep takes.
    """
    began, slept = time.monotonic(), [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += max(seconds, least)

    async def async_sleep(seconds: float) -> None:
        sleep(seconds)
        await anyio.sleep(0)

    def now() -> float:
        return slept[0] + (time.monotonic() - began) / 100

    return Clock(now=now, sleep=sleep, async_sleep=async_sleep)


@dataclass(frozen=True)
class CallOutcome:
    """What came of one call."""

    report: CallReport
    answer: Any = None
    error: BaseException | None = None

    @property
    def text(self) -> str | None:
        """What the model said."""
        return None if self.answer is None else str(self.answer.output_text)

    @property
    def attempts(self) -> list[str]:
        """``lane:outcome`` of the attempts, in order."""
        return [f"{one.lane}:{one.outcome}" for one in self.report.attempts]

    @property
    def possibly_billed(self) -> list[bool]:
        """Of the attempts, in order."""
        return [one.possibly_billed for one in self.report.attempts]


def options(sim: Simulator | str, policy: FlexPolicy = POLICY, **others: Any) -> dict[str, Any]:
    """What a client is made with."""
    url = sim if isinstance(sim, str) else sim.base_url
    return {"base_url": url, "api_key": KEY, "policy": policy, **others}


def body_of(changes: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call; ``changes`` are other ones."""
    return {"model": MODEL, "input": QUESTION, **changes}


def ask(client: FlexOpenAI, **changes: Any) -> CallOutcome:
    """One call."""
    with track() as calls:
        try:
            answer = client.responses.create(**body_of(changes))
        except BaseException as error:  # noqa: BLE001 - the outcome under test
            return CallOutcome(only(calls), error=error)
    return CallOutcome(only(calls), answer)


async def aask(client: AsyncFlexOpenAI, **changes: Any) -> CallOutcome:
    """Async counterpart of :func:`ask`."""
    with track() as calls:
        try:
            answer = await client.responses.create(**body_of(changes))
        except Exception as error:  # noqa: BLE001 - the outcome under test
            return CallOutcome(only(calls), error=error)
    return CallOutcome(only(calls), answer)


class Asker:
    """One of the two clients; each call has a client of its own."""

    def __init__(self, *, is_async: bool) -> None:
        self.is_async = is_async

    def __str__(self) -> str:
        return "async" if self.is_async else "sync"

    def __call__(
        self,
        sim: Simulator | str,
        policy: FlexPolicy = POLICY,
        made: dict[str, Any] | None = None,
        **changes: Any,
    ) -> CallOutcome:
        """Make a call, on a client made with ``made``."""
        (result,) = self.many(sim, policy, 1, made, **changes)
        return result

    def many(
        self,
        sim: Simulator | str,
        policy: FlexPolicy = POLICY,
        count: int = 2,
        made: dict[str, Any] | None = None,
        **changes: Any,
    ) -> list[CallOutcome]:
        """So many calls on one client, one after the other."""
        given = options(sim, policy, **(made or {}))

        def calls(client: FlexOpenAI) -> list[CallOutcome]:
            return [ask(client, **changes) for _ in range(count)]

        async def acalls(client: AsyncFlexOpenAI) -> list[CallOutcome]:
            return [await aask(client, **changes) for _ in range(count)]

        result: list[CallOutcome] = self.run(given, calls, acalls)
        return result

    def run(
        self,
        given: dict[str, Any],
        use: Callable[[FlexOpenAI], Any],
        ause: Callable[[AsyncFlexOpenAI], Awaitable[Any]],
    ) -> Any:
        """Return the result of ``use``, or of its async counterpart ``ause``, for a new client."""
        if not self.is_async:
            with FlexOpenAI(**given) as client:
                return use(client)

        async def main() -> Any:
            async with AsyncFlexOpenAI(**given) as client:
                return await ause(client)

        return asyncio.run(main())


ASKERS = [Asker(is_async=False), Asker(is_async=True)]


def background(**fields: Any) -> Weather:
    """Weather in which background responses complete 0.05 s after their creation, by default."""
    return Weather(background=BackgroundWeather(**{"seconds": 0.05, **fields}))


SLOW = background(seconds=1_000.0)
"""Nothing is done in time."""


def created(sim: Simulator) -> int:
    """How many background responses there were."""
    number: int = sim.stats()["background"]["created"]
    return number


def statuses(sim: Simulator) -> dict[str, int]:
    """How many of them are, or ended, in which status."""
    found: dict[str, int] = sim.stats()["background"]["statuses"]
    return found


def served(sim: Simulator) -> dict[str, int]:
    """How many answers are billed, by lane."""
    found: dict[str, int] = sim.stats()["served"]
    return found


def looks(sim: Simulator) -> int:
    """How often a response was looked at."""
    return count(sim, "GET", LOOK)


def cancels(sim: Simulator) -> int:
    """How often a response was to be cancelled."""
    return count(sim, "POST", CANCEL)


def creations(sim: Simulator) -> int:
    """How many answers were asked for, in the background or not."""
    return count(sim, "POST", "/responses")


def only(calls: list[CallReport]) -> CallReport:
    """The report of the only call."""
    assert len(calls) == 1, f"one call makes one report, not {len(calls)}"
    return calls[0]
