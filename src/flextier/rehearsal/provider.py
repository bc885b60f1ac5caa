"""The provider of a rehearsal: an in-memory HTTP transport that follows a Weather, in loop time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from flextier._openai.http_library import http
from flextier.sim.base.api_errors import ErrorReply
from flextier.sim.base.flex_bucket import FlexBuckets
from flextier.sim.base.request_rate import RecentRequests
from flextier.sim.base.token_bucket import TokenBuckets
from flextier.sim.base.tokens import Tokens
from flextier.sim.behavior.faults import Stall
from flextier.sim.behavior.weather import Moment, Weather
from flextier.sim.model.request import LANE_OF_TIER, SERVED_TIERS

STANDARD_LATENCY = 3.0
FLEX_LATENCY = 3.0
REFUSAL_LATENCY = 0.15
"""Seconds, where the weather has no latency."""

BASE_URL = "http://rehearsal.invalid/v1"

TOKENS = Tokens(input_tokens=1_200, output_tokens=400, reasoning_tokens=250)
"""The usage of every response: a guess at a typical call."""


@dataclass(slots=True)
class ProviderCounts:
    """Counts of a provider's requests. Times are its loop's, in seconds."""

    requests: int = 0
    refusals: int = 0
    rate_limited: int = 0
    rejected: int = 0
    """Those with any error but a refusal of flex, or 429 ``rate_limit_exceeded`` on any lane."""
    stalls: int = 0
    abandoned: int = 0
    """Those that the client cancelled before the response: possibly billed."""
    billed: list[tuple[float, str]] = field(default_factory=list)
    """Time and tier of each response that was served and billed."""

    @property
    def served(self) -> Counter[str]:
        """Number of responses by tier: ``flex``, ``default``, ``priority``."""
        return Counter(tier for _, tier in self.billed)


class TraceProvider(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2, found at run time
    """An in-memory transport that answers chat completions, without streams.

    The weather's clock is that of the event loop, from the first request on. Read timeouts apply: a
    stall without end lasts until one, or until the client cancels the request. For one event loop.
    """

    def __init__(self, weather: Weather, seed: int = 0) -> None:
        self.counts = ProviderCounts()
        self.silent = 0
        """Requests that are never answered, and whose clients set no read timeout."""
        self._weather = weather
        self._random = Random(seed)
        self._rates = RecentRequests()
        self._tokens = TokenBuckets()
        self._flex = FlexBuckets()
        self._in_use: Counter[str] = Counter()
        self._numbers = count(1)
        self._epoch: float | None = None

    def client(self) -> Any:
        """An async HTTP client that uses this transport and ignores proxies of the environment."""
        return http.AsyncClient(transport=self, trust_env=False)

    async def handle_async_request(self, request: Any) -> Any:
        self.counts.requests += 1
        body = json.loads(await request.aread())
        try:
            return await self._answer(request, next(self._numbers), body)
        except asyncio.CancelledError:
            self.counts.abandoned += 1
            raise

    async def _answer(self, request: Any, number: int, body: dict[str, Any]) -> Any:
        model, lane = str(body.get("model")), LANE_OF_TIER[body.get("service_tier")]
        read_timeout = request.extensions.get("timeout", {}).get("read")
        until = None if read_timeout is None else self._now() + read_timeout
        account = request.headers.get("authorization", "")
        fault = self._decide(lane, model, account)
        now, own = self._now(), self._weather.of(model)
        used = self._tokens.used(account, model, own.tpm, now)
        limits = own.limit_headers(self._rates.before(account, model, now), used)
        if isinstance(fault, ErrorReply):
            refusal = self._weather.refusal_seconds(REFUSAL_LATENCY, self._random, model=model)
            await self._wait(until, refusal)
            return self._error(number, fault, limits)
        with self._slot(lane, model):
            if isinstance(fault, Stall):
                self.counts.stalls += 1
                await self._wait(until, fault.seconds)
            await self._wait(until, self._seconds(lane, model))
        self.counts.billed.append((self._now(), SERVED_TIERS[lane]))
        answer = _completion(model, SERVED_TIERS[lane], number, int(self._now()))
        return _reply(number, 200, answer, limits)

    def _decide(self, lane: str, model: str, account: str) -> Any:
        now = self._now()
        own, pool = self._weather.of(model), self._weather.pool(model)
        recent = self._rates.before(account, model, now)
        used, size = self._tokens.used(account, model, own.tpm, now), TOKENS.total_tokens
        flex_used = self._flex.used(pool, own.bucket, now)
        moment = Moment(now, self._in_use[pool], recent, used, size, flex_used)
        fault = self._weather.decide(lane, model, moment, self._random)
        self._rates.arrive(account, model, now)
        if not isinstance(fault.action, ErrorReply):
            self._tokens.take(account, model, own.tpm, size, now)
            if lane == "flex":
                self._flex.take(pool, own.bucket, now)
        return fault.action

    @contextmanager
    def _slot(self, lane: str, model: str) -> Iterator[None]:
        pool, used = self._weather.pool(model), int(lane == "flex")
        self._in_use[pool] += used
        try:
            yield
        finally:
            self._in_use[pool] -= used

    def _seconds(self, lane: str, model: str) -> float:
        default = FLEX_LATENCY if lane == "flex" else STANDARD_LATENCY
        return self._weather.seconds(lane, default, self._random, now=self._now(), model=model)

    async def _wait(self, until: float | None, seconds: float | None) -> None:
        """Wait ``seconds`` (None: without end), or until the client's read timeout."""
        left = None if until is None else round(until - self._now(), 9)
        if left is not None and (seconds is None or seconds > left):
            await asyncio.sleep(left)
            self.counts.abandoned += 1
            raise http.ReadTimeout("no answer within the client's read timeout")
        if seconds is None:
            self.silent += 1
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(seconds)

    def _error(self, number: int, reply: ErrorReply, limits: Mapping[str, str]) -> Any:
        match reply.outcome:
            case "refused":
                self.counts.refusals += 1
            case "rate_limited":
                self.counts.rate_limited += 1
            case _:
                self.counts.rejected += 1
        headers = {**limits, **dict(reply.headers)}
        return _reply(number, reply.status, {"error": reply.error()}, headers)

    def _now(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._epoch is None:
            self._epoch = now
        return now - self._epoch


def _reply(number: int, status: int, content: dict[str, Any], headers: Mapping[str, str]) -> Any:
    lines = {"x-request-id": f"req_{number}", "x-flextier-simulated": "true", **headers}
    return http.Response(status, headers=lines, json=content)


def _completion(model: str, tier: str, number: int, created: int) -> dict[str, Any]:
    """A ``chat.completion`` object."""
    message = {"role": "assistant", "content": "[simulated] Rehearsed.", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": created,
        "model": model,
        "service_tier": tier,
        "system_fingerprint": "flextier-rehearsal",
        "choices": [choice],
        "usage": TOKENS.chat_usage(),
    }
