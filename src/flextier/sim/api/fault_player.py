"""Playing a fault, or a normal answer, on the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Protocol

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.exchange import EVENTS, JSON, ClientLeft, Exchange
from flextier.sim.behavior.faults import (
    Action,
    Cut,
    NotJson,
    Reset,
    Serve,
    Stall,
    StreamBreak,
    Trickle,
)
from flextier.sim.model.generate import GeneratedAnswer, answer
from flextier.sim.model.request import ModelRequest
from flextier.sim.stores.world import World

PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"

PLAIN_ONLY = (Cut, NotJson, Trickle)

_REFUSED = ("refused", "rate_limited")


class WireFormat(Protocol):
    """An endpoint's spelling of requests and answers; the modules chat and responses are two."""

    PATH: str

    def read(self, body: dict[str, Any], /) -> ModelRequest:
        """The request in a body."""

    def body(self, ask: ModelRequest, answer: GeneratedAnswer, /) -> dict[str, Any]:
        """The plain answer."""

    def events(self, ask: ModelRequest, answer: GeneratedAnswer, /) -> Iterator[bytes]:
        """The streamed answer."""

    def error_event(
        self, reply: ErrorReply, how: str, ask: ModelRequest, position: int, /
    ) -> bytes | None:
        """A stream's error; None where the endpoint has no such ``how``."""


class FaultPlayer:
    """One request for an answer, from the decision to the last byte."""

    def __init__(
        self, exchange: Exchange, world: World, wire: WireFormat, ask: ModelRequest
    ) -> None:
        self._exchange = exchange
        self._world = world
        self._wire = wire
        self._ask = ask
        # Kept, because a reset gives the world new accounts while this request goes on.
        self._accounts = world.accounts

    async def run(self, action: Action) -> None:
        """Do what the action says, holding a flex slot if that takes time on flex.

        Raises:
            Rejected: The action is an error, or cannot happen to this request.
            ClientLeft: The client left before the end.
        """
        if isinstance(action, ErrorReply):
            if action.outcome in _REFUSED:
                await self._exchange.pause(self._world.refusal_latency(self._ask))
            raise Rejected(action)
        self._check(action)
        with self._accounts.slot(self._ask.lane, self._world.pool(self._ask)):
            if isinstance(action, Reset):
                await self._reset(action)
            else:
                await self._answer(action)

    def _check(self, action: Action) -> None:
        if isinstance(action, StreamBreak) and not self._ask.stream:
            raise _misused("this fault is for streams, and the request is plain")
        if isinstance(action, PLAIN_ONLY) and self._ask.stream:
            raise _misused("this fault is for plain requests, and this is a stream")

    async def _reset(self, action: Reset) -> None:
        if action.after_effect:
            await self._exchange.pause(self._world.latency(self._ask))
            answer(self._ask, self._world.cache, Serve())
            self._exchange.settle("lost")
        else:
            self._exchange.settle("reset")
        await self._exchange.reset()

    async def _answer(self, action: Action) -> None:
        if isinstance(action, Stall):
            await self._stall("stalled", action.seconds)
        serve = action if isinstance(action, Serve) else Serve()
        await self._exchange.pause(self._world.latency(self._ask) + serve.delay)
        said = answer(self._ask, self._world.cache, serve)
        if self._ask.stream:
            await self._stream(said, action)
        else:
            await self._plain(said, action)

    async def _stall(self, outcome: str, seconds: float | None) -> None:
        self._exchange.stalled(outcome)
        try:
            await self._exchange.pause(seconds)
        except ClientLeft:
            self._exchange.settle(outcome)
            raise

    # -- plain answers --------------------------------------------------------------------

    async def _plain(self, said: GeneratedAnswer, action: Action) -> None:
        body = json.dumps(self._wire.body(self._ask, said)).encode()
        if isinstance(action, Cut):
            await self._cut(body, action)
        elif isinstance(action, NotJson):
            await self._not_json(body, action)
        else:
            await self._whole(said, body, action)

    async def _whole(self, said: GeneratedAnswer, body: bytes, action: Action) -> None:
        await self._exchange.start(200, JSON, len(body))
        if isinstance(action, Trickle):
            body = await self._trickle(body, action)
        self._exchange.bill(said.tier, said.tokens)
        await self._exchange.finish(body)

    async def _cut(self, body: bytes, action: Cut) -> None:
        await self._exchange.start(200, JSON, len(body))
        self._exchange.settle("cut")
        await self._exchange.write(body[: min(action.after_bytes, len(body) - 1)])
        await self._exchange.close()

    async def _not_json(self, body: bytes, action: NotJson) -> None:
        self._exchange.settle("not_json")
        await self._exchange.reply_bytes(wrong_body(body, action), action.content_type)

    async def _trickle(self, body: bytes, action: Trickle) -> bytes:
        """Send all but the last bytes slowly; the last ones are returned."""
        starts = range(0, len(body), action.step)
        for start in starts[:-1]:
            await self._exchange.write(body[start : start + action.step])
            await self._exchange.pause(action.seconds / (len(starts) - 1))
        return body[starts[-1] :]

    # -- streams --------------------------------------------------------------------------

    async def _stream(self, said: GeneratedAnswer, action: Action) -> None:
        events = list(self._wire.events(self._ask, said))
        if isinstance(action, StreamBreak):
            await self._broken_stream(said, events, action)
        else:
            await self._exchange.start(200, EVENTS)
            await self._rest_of_stream(said, events)

    async def _rest_of_stream(self, said: GeneratedAnswer, events: list[bytes]) -> None:
        for event in events[:-1]:
            await self._exchange.write(event)
        self._exchange.bill(said.tier, said.tokens)
        await self._exchange.finish(events[-1])

    async def _broken_stream(
        self, said: GeneratedAnswer, events: list[bytes], action: StreamBreak
    ) -> None:
        if action.after >= len(events):
            raise _misused(f"this stream has only {len(events)} events")
        error = self._error_event(action)
        await self._exchange.start(200, EVENTS)
        for event in events[: action.after]:
            await self._exchange.write(event)
        if action.how == "stall":
            await self._stall("stream_stalled", action.seconds)
            await self._rest_of_stream(said, events[action.after :])
        elif action.how == "reset":
            self._exchange.settle("stream_reset")
            await self._exchange.close()
        else:
            self._exchange.settle(_outcome(action))
            await self._exchange.finish(error)

    def _error_event(self, action: StreamBreak) -> bytes:
        """The error to send; empty for a break without one."""
        if action.how not in ("error", "failed"):
            return b""
        reply = api_errors.in_stream(action.code)
        event = self._wire.error_event(reply, action.how, self._ask, action.after)
        if event is None:
            raise _misused(f"{self._wire.PATH} has no such event: {action.how}")
        return event


def wrong_body(body: bytes, action: NotJson) -> bytes:
    """The body to send instead: half of it for JSON, else a gateway's page, if none is given."""
    if action.content is not None:
        return action.content
    return body[: len(body) // 2] if "json" in action.content_type else PAGE


def _misused(problem: str) -> Rejected:
    return Rejected(api_errors.misused(problem))


def _outcome(action: StreamBreak) -> str:
    """A refusal in place of the first event is a refusal: nothing was begun, nothing is billed."""
    if action.how == "end":
        return "stream_ended"
    return "stream_error" if action.after else api_errors.in_stream(action.code).outcome
