"""Baselines over the same traces: the SDK's retries, LangChain's fallback, and common recipes.

Each uses the real library as documented, on the same loop and provider.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import openai
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from flextier._utils.extras import needs_extra
from flextier.rehearsal.provider import BASE_URL
from flextier.rehearsal.result import TraceResult
from flextier.rehearsal.simulate import PROMPT, Call, run_trace
from flextier.rehearsal.trace import Trace, TraceJob

RESERVE = 30.0
"""Seconds before the deadline at which "backoff until" gives up on flex."""

# The wait of OpenAI's cookbook, "How to handle rate limits".
_WAIT: Any = wait_random_exponential(min=1, max=60)


def run_peer(name: str, trace: Trace) -> TraceResult:
    """Run one of :data:`PEERS` over a trace. The same seed gives the same result."""
    make, state = PEERS[name], random.getstate()
    random.seed(f"peer {trace.seed}")  # the global generator, which the SDK and tenacity use
    try:
        return run_trace(trace, lambda http_client, chance: make(http_client, trace), name)
    finally:
        random.setstate(state)


def _sdk(http_client: Any, max_retries: int) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key="rehearsal", base_url=BASE_URL, http_client=http_client, max_retries=max_retries
    )


async def _ask(client: openai.AsyncOpenAI, model: str, tier: Any) -> Any:
    return await client.chat.completions.create(model=model, messages=PROMPT, service_tier=tier)


def _langchain(http_client: Any, trace: Trace) -> Call:
    flex = {model: _chat(http_client, model, service_tier="flex") for model in trace.models}
    return lambda job: flex[job.model].ainvoke("Rehearse.")


def _langchain_fallback(http_client: Any, trace: Trace) -> Call:
    chains = {
        model: _chat(http_client, model, service_tier="flex").with_fallbacks(
            [_chat(http_client, model)]
        )
        for model in trace.models
    }
    return lambda job: chains[job.model].ainvoke("Rehearse.")


def _chat(http_client: Any, model: str, **arguments: Any) -> Any:
    with needs_extra("langchain"):
        from langchain_openai import ChatOpenAI
    return ChatOpenAI(
        model=model,
        api_key="rehearsal",  # type: ignore[arg-type]  # pydantic makes a secret of it
        base_url=BASE_URL,
        http_async_client=http_client,
        **arguments,
    )


def _many_retries(http_client: Any, trace: Trace) -> Call:
    flex, standard = _sdk(http_client, 20), _sdk(http_client, 2)

    async def call(job: TraceJob) -> None:
        try:
            await _ask(flex, job.model, "flex")
        except openai.APIError:
            await _ask(standard, job.model, "default")

    return call


def _backoff_until(http_client: Any, trace: Trace) -> Call:
    def stop(job: TraceJob) -> Any:
        # tenacity's own stop_after_delay goes by the computer's clock.
        return lambda state: asyncio.get_running_loop().time() >= job.deadline - RESERVE

    return _backoff(http_client, stop)


def _backoff(http_client: Any, stop: Callable[[TraceJob], Any]) -> Call:
    """Flex with tenacity's backoff, then standard with the SDK's own retries."""
    flex, standard = _sdk(http_client, 0), _sdk(http_client, 2)

    async def call(job: TraceJob) -> None:
        retry = retry_if_exception_type(openai.APIError)
        retrying = AsyncRetrying(wait=_WAIT, stop=stop(job), retry=retry)
        try:
            await retrying(_ask, flex, job.model, "flex")
        except RetryError:
            await _ask(standard, job.model, "default")

    return call


PEERS: Mapping[str, Callable[[Any, Trace], Call]] = {
    'ChatOpenAI(service_tier="flex")': _langchain,
    "the same .with_fallbacks([ChatOpenAI()])": _langchain_fallback,
    "backoff 1-60 s, 6 tries, then standard": lambda http_client, trace: _backoff(
        http_client, lambda job: stop_after_attempt(6)
    ),
    "SDK max_retries=20, then standard": _many_retries,
    "backoff until the deadline - 30 s, then standard": _backoff_until,
}
"""Functions that make calls, by their name in tables."""
