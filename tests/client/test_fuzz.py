"""Hostile answers: every call ends as an answer or as an exception of the SDK, and none is lost."""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator
from typing import Any

import anyio
import openai
import pydantic
import pytest

from flextier import AsyncFlexOpenAI, Clock, FlexOpenAI, FlexPolicy, track
from tests.client.callers import KEY
from tests.client.hostile_server import HostileServer, hostile, start

POLICY = FlexPolicy(
    patience=0.05, backoff_initial=0.001, backoff_max=0.002, max_retries=1, flex_timeout=20,
    standard_timeout=20,
)  # fmt: skip
WAYS = [
    f"{api}-{way}"
    for api in ("chat", "responses")
    for way in ("create", "parse", "raw", "stream", "stream-raw")
]
CALLS = 300
"""For each of 10 ways to make a call, sync and async: 6,000 in all."""


def judge(server: HostileServer, way: str, seed: int, outcome: Any) -> None:
    """Check one call against what the server has sent."""
    name = f"{way}, seed {seed}: {outcome!r}"
    if isinstance(outcome, BaseException):
        parsers = (pydantic.ValidationError,) if way.endswith("parse") else ()
        assert isinstance(outcome, (openai.OpenAIError, *parsers)), name
        assert not server.whole[seed], f"a whole answer was lost: {name}"
    assert server.whole[seed] <= 1, f"{server.whole[seed]} whole answers for one call: {name}"


@pytest.fixture
def server() -> Iterator[tuple[HostileServer, str]]:
    """The server and its base URL."""
    made = HostileServer()
    with hostile(made) as url:
        yield made, url


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", WAYS)
def test_sync(server: tuple[HostileServer, str], way: str) -> None:
    """One call after the other."""
    hostile_server, url = server
    with FlexOpenAI(base_url=url, api_key=KEY, policy=POLICY) as client, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydantic's, about odd values
        for seed in range(CALLS):
            outcome: Any
            with track() as calls:
                try:
                    outcome = start(client.with_options(api_key=f"{KEY}-{seed}"), way, seed)
                    if way.endswith("raw"):
                        outcome = outcome.parse()
                    if "stream" in way:
                        outcome = list(outcome)
                except Exception as error:  # noqa: BLE001 - the outcome under test
                    outcome = error
            judge(hostile_server, way, seed, outcome)
            assert len(calls) == 1, f"{len(calls)} reports of one call: {way}, seed {seed}"


@pytest.mark.exhaustive
@pytest.mark.parametrize("way", WAYS)
def test_async(server: tuple[HostileServer, str], way: str) -> None:
    """Twenty calls at once."""
    hostile_server, url = server

    async def ask(client: AsyncFlexOpenAI, seed: int) -> None:
        outcome: Any
        with track() as calls:
            try:
                outcome = await start(client.with_options(api_key=f"{KEY}-{seed}"), way, seed)
                if way.endswith("raw"):
                    outcome = outcome.parse()
                if "stream" in way:
                    outcome = [event async for event in outcome]
            except Exception as error:  # noqa: BLE001 - the outcome under test
                outcome = error
        judge(hostile_server, way, seed, outcome)
        assert len(calls) == 1, f"{len(calls)} reports of one call: {way}, seed {seed}"

    async def ask_all() -> None:
        async with AsyncFlexOpenAI(base_url=url, api_key=KEY, policy=POLICY) as client:
            for first in range(0, CALLS, 20):
                await asyncio.gather(*(ask(client, seed) for seed in range(first, first + 20)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        asyncio.run(ask_all())


SPEED = 50.0
QUICK = Clock(
    now=lambda: time.monotonic() * SPEED,
    async_sleep=lambda seconds: anyio.sleep(seconds / SPEED),
)
"""Fifty seconds a second: a background response is polled after two seconds at first."""


@pytest.mark.exhaustive
def test_background(server: tuple[HostileServer, str]) -> None:
    """500 calls at once in the background, whose polls are hostile, too."""
    hostile_server, url = server
    policy = FlexPolicy(
        lanes=("background-2h", "standard"), backoff_initial=0.1, backoff_max=0.5, patience=10
    )

    async def ask(client: AsyncFlexOpenAI, seed: int) -> None:
        outcome: Any
        with track() as calls:
            try:
                key = f"{KEY}-{seed // 25}"
                outcome = await start(client.with_options(api_key=key), "responses-create", seed)
            except Exception as error:  # noqa: BLE001 - the outcome under test
                outcome = error
        judge(hostile_server, "background", seed, outcome)
        assert len(calls) == 1, f"{len(calls)} reports of one call: seed {seed}"

    async def ask_all() -> None:
        async with AsyncFlexOpenAI(base_url=url, api_key=KEY, policy=policy, clock=QUICK) as client:
            calls = [ask(client, seed) for seed in range(500)]
            failed = [x for x in await asyncio.gather(*calls, return_exceptions=True) if x]
        assert failed == []

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        asyncio.run(ask_all())
