"""The provider of a rehearsal: an HTTP transport that asks a Weather, in its event loop's time."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from flextier._openai.compat import http
from flextier.rehearsal import responses
from flextier.sim.base.api_errors import ErrorReply, invalid, no_such_path
from flextier.sim.base.request_rate import RecentRequests
from flextier.sim.behavior.faults import Lane, Stall
from flextier.sim.behavior.weather import Moment, Weather

STANDARD_LATENCY = 3.0
FLEX_LATENCY = 3.0
REFUSAL_LATENCY = 0.15
"""Seconds, where the weather does not say."""

BASE_URL = "http://rehearsal.invalid/v1"

_LANES: dict[Any, Lane] = {None: "standard", "auto": "standard", "default": "standard"}
_LANES |= {"flex": "flex", "priority": "priority", "fast": "priority"}
_TIERS: dict[Lane, str] = {"standard": "default", "flex": "flex", "priority": "priority"}
_ANSWERS = {"/v1/chat/completions": responses.chat, "/v1/responses": responses.response}


@dataclass(slots=True)
class ProviderCounts:
    """What a provider has seen. Times are its loop's, in seconds.

    Attributes:
        requests: All requests for an answer.
        refusals: Of these, refused by flex.
        rate_limited: Of these, answered 429 ``rate_limit_exceeded``, on any lane.
        rejected: Of these, answered with any other error.
        stalls: Of these, accepted and then silent, for a while or without end.
        abandoned: Of these, given up by the client before the answer: possibly billed.
        billed: When each answer was served and billed, with its tier: ``(time, "flex")``.
    """

    requests: int = 0
    refusals: int = 0
    rate_limited: int = 0
    rejected: int = 0
    stalls: int = 0
    abandoned: int = 0
    billed: list[tuple[float, str]] = field(default_factory=list)

    @property
    def served(self) -> Counter[str]:
        """Answers by tier: ``flex``, ``default``, ``priority``."""
        return Counter(tier for _, tier in self.billed)


class TraceProvider(http.AsyncBaseTransport):  # type: ignore[misc]  # httpx or httpx2, found at run time
    """An in-memory transport that answers chat completions and responses, without streams.

    Weather and latencies go by the time of the event loop that sends the first request, from that
    moment on. Read timeouts are kept; a stall without end stops with one, or when the client
    leaves. Usable under one event loop.

    Args:
        weather: What happens to requests. Latencies that it leaves open are 3 s an answer and
            0.15 s a refusal.
        seed: Chooses the weather's random numbers.
    """

    def __init__(self, weather: Weather, seed: int = 0) -> None:
        self.counts = ProviderCounts()
        self.silent = 0
        """Requests that will never be answered, and whose clients set no read timeout."""
        self._weather = weather
        self._chance = Random(seed)
        self._rates = RecentRequests()
        self._in_use: Counter[str] = Counter()
        self._numbers = count(1)
        self._epoch: float | None = None

    def client(self) -> Any:
        """An async HTTP client whose requests come here, whatever the environment's proxies."""
        return http.AsyncClient(transport=self, trust_env=False)

    async def handle_async_request(self, request: Any) -> Any:
        """Answer one request."""
        self.counts.requests += 1
        number = next(self._numbers)
        content = await request.aread()
        if request.url.path not in _ANSWERS:
            return self._error(number, no_such_path(request.method, request.url.path))
        body = json.loads(content)
        if body.get("stream"):
            return self._error(number, invalid("stream", "a rehearsal answers without streams."))
        if body.get("service_tier") not in _LANES:
            return self._error(number, invalid("service_tier", "there is no such tier."))
        try:
            return await self._answer(request, number, body)
        except asyncio.CancelledError:
            self.counts.abandoned += 1
            raise

    async def _answer(self, request: Any, number: int, body: dict[str, Any]) -> Any:
        model, lane = str(body.get("model")), _LANES[body.get("service_tier")]
        patience = _FirstByteTimeout(request.extensions.get("timeout", {}).get("read"))
        fault = self._decide(lane, model, request.headers.get("authorization", ""))
        if isinstance(fault, ErrorReply):
            refusal = self._weather.refusal_seconds(REFUSAL_LATENCY, self._chance, model=model)
            await self._wait(patience, refusal)
            return self._error(number, fault)
        with self._slot(lane, model):
            if isinstance(fault, Stall):
                self.counts.stalls += 1
                await self._wait(patience, fault.seconds)
            await self._wait(patience, self._seconds(lane, model))
        self.counts.billed.append((self._now(), _TIERS[lane]))
        created = int(self._now())
        return _reply(number, 200, _ANSWERS[request.url.path](model, _TIERS[lane], number, created))

    def _decide(self, lane: Lane, model: str, account: str) -> Any:
        now = self._now()
        recent = self._rates.before(account, model, now)
        moment = Moment(now, self._in_use[self._weather.pool(model)], recent)
        fault = self._weather.decide(lane, model, moment, self._chance)
        self._rates.arrive(account, model, now)
        return fault.action

    @contextmanager
    def _slot(self, lane: Lane, model: str) -> Iterator[None]:
        pool, used = self._weather.pool(model), int(lane == "flex")
        self._in_use[pool] += used
        try:
            yield
        finally:
            self._in_use[pool] -= used

    def _seconds(self, lane: Lane, model: str) -> float:
        default = FLEX_LATENCY if lane == "flex" else STANDARD_LATENCY
        return self._weather.seconds(lane, default, self._chance, now=self._now(), model=model)

    async def _wait(self, patience: _FirstByteTimeout, seconds: float | None) -> None:
        """Let ``seconds`` pass (None: no end), or as many as the client waits for an answer."""
        allowed = patience.left
        if allowed is not None and (seconds is None or seconds > allowed):
            await asyncio.sleep(allowed)
            self.counts.abandoned += 1
            raise http.ReadTimeout("no answer within the client's read timeout")
        if seconds is None:
            self.silent += 1
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(seconds)
            patience.spend(seconds)

    def _error(self, number: int, reply: ErrorReply) -> Any:
        match reply.outcome:
            case "refused":
                self.counts.refusals += 1
            case "rate_limited":
                self.counts.rate_limited += 1
            case _:
                self.counts.rejected += 1
        return _reply(number, reply.status, {"error": reply.error()}, reply.headers)

    def _now(self) -> float:
        now = asyncio.get_running_loop().time()
        if self._epoch is None:
            self._epoch = now
        return now - self._epoch


class _FirstByteTimeout:
    """How long the client still waits for the answer's first byte; None: without end."""

    def __init__(self, seconds: float | None) -> None:
        self.left = seconds

    def spend(self, seconds: float) -> None:
        if self.left is not None:
            self.left -= seconds


def _reply(
    number: int, status: int, content: dict[str, Any], headers: tuple[tuple[str, str], ...] = ()
) -> Any:
    lines = [("x-request-id", f"req_{number}"), ("x-flextier-simulated", "true"), *headers]
    return http.Response(status, headers=lines, json=content)
