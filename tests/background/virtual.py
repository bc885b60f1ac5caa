"""Courses of background responses in virtual time, against a server that is a few lines."""

from __future__ import annotations

import heapq
import json
import random
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import openai

from flextier._openai.http_library import http
from flextier._openai.private_names import FinalRequestOptions
from flextier._utils.clock import Clock
from flextier.background.api import BackgroundRequests, PolledResponse
from flextier.background.lifecycle import BackgroundLifecycle, PollWait
from flextier.background.poll_schedule import PollSchedule
from flextier.lanes import BACKGROUND
from tests.background.asking import MODEL

HOUR = 3_600.0
REQUEST = http.Request("GET", "http://sim/v1")


@dataclass
class Server:
    """What becomes of a response, and when; looks that are too many are refused."""

    ends: float = HOUR
    status: str = "completed"
    stored: bool = True
    per_minute: int | None = None
    fails: float = 0.0
    cancels: bool = True
    now: float = 0.0
    asked: list[tuple[float, str]] = field(default_factory=list)
    refused: int = 0
    cancelled: set[str] = field(default_factory=set)

    def answer(self, options: Any) -> Any:
        """The HTTP response, or the SDK's error."""
        verb = "create" if options.url == "/responses" else options.url.rpartition("/")[2]
        verb = verb if verb in ("create", "cancel") else "look"
        self.asked.append((self.now, verb))
        if verb == "look" and self._is_too_much():
            self.refused += 1
            raise self._error(429, {"retry-after": "20"})
        if verb != "create" and random.random() < self.fails:
            raise self._error(500)
        name = "resp_1" if verb == "create" else options.url.split("/")[2]
        if verb == "cancel":
            if self.now >= self.ends or not self.cancels:
                raise self._error(400)
            self.cancelled.add(name)
        status = self.status if self.now >= self.ends else "in_progress"
        if name in self.cancelled:
            status = "cancelled"
        body = {"id": name, "status": status, "store": self.stored, "output": []}
        return SimpleNamespace(content=json.dumps(body).encode(), headers={})

    def _is_too_much(self) -> bool:
        if self.per_minute is None:
            return False
        self._recent = getattr(self, "_recent", deque[float]())
        while self._recent and self._recent[0] <= self.now - 60:
            self._recent.popleft()
        if len(self._recent) >= self.per_minute:
            return True
        self._recent.append(self.now)
        return False

    def _error(self, code: int, headers: dict[str, str] | None = None) -> openai.APIStatusError:
        body = {"code": "rate_limit_exceeded" if code == 429 else None}
        response = http.Response(code, request=REQUEST, headers=headers)
        kind = {429: openai.RateLimitError, 400: openai.BadRequestError}.get(code)
        return (kind or openai.InternalServerError)("no", response=response, body=body)

    def times(self, verb: str) -> list[float]:
        """When it was asked for that."""
        return [when for when, asked in self.asked if asked == verb]


def course(
    server: Server, pace: PollSchedule | None = None, name: str | None = None, **limits: float
) -> BackgroundLifecycle:
    """The course of one response, in the server's time."""
    options = FinalRequestOptions.construct(
        method="post", url="/responses", json_data={"model": MODEL}, headers={}
    )
    given: dict[str, Any] = {
        "max_interval": 300.0,
        "cancel_at": 1e9,
        "attempt_ends_by": 1e9,
        **limits,
    }
    clock = Clock(now=lambda: server.now, wall=lambda: server.now)
    return BackgroundLifecycle(
        BackgroundRequests(options, BACKGROUND["8h"].service_tier),
        BACKGROUND["8h"],
        None,
        pace or PollSchedule(),
        clock,
        None,
        lambda response_id: None,
        lambda polled: None,
        None,
        **given,
        response_id=name,
    )


@dataclass
class Ended:
    """How a course ended."""

    said: PolledResponse | None
    error: BaseException | None
    at: float


def run(server: Server, courses: list[BackgroundLifecycle]) -> list[Ended]:
    """Drive all of them to their ends."""
    ended: list[Ended] = []
    going = [(0.0, number, one.steps(), None) for number, one in enumerate(courses)]
    queue: list[tuple[float, int, Any, Any]] = list(going)
    heapq.heapify(queue)
    while queue:
        moment, number, steps, reply = heapq.heappop(queue)
        server.now = max(server.now, moment)
        try:
            step = next(steps) if reply is None else reply()
            while not isinstance(step, PollWait):
                try:
                    answer = server.answer(step.options)
                except openai.APIError as error:  # noqa: PERF203 - each step is a request
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            ended.append(Ended(end.value, None, server.now))
        except Exception as error:  # noqa: BLE001 - the outcome under test
            ended.append(Ended(None, error, server.now))
        else:
            resume = lambda steps=steps: steps.send(None)  # noqa: E731
            heapq.heappush(queue, (server.now + step.seconds, number, steps, resume))
    return ended
