"""Scripted faults of requests that ask for no answer: files, batches, embeddings, models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flextier.sim.api.fault_player import wrong_body
from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.exchange import ClientLeft, Exchange, Message, Send
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

Run = Callable[[], Awaitable[None]]


async def play(exchange: Exchange, action: Action, run: Run) -> None:
    """Do what the action says to a request that ``run`` would answer.

    Raises:
        Rejected: The action is an error, or cannot happen to this request.
        ClientLeft: The client left before the end.
    """
    if isinstance(action, ErrorReply):
        raise Rejected(action)
    if isinstance(action, StreamBreak):
        raise Rejected(api_errors.misused("this fault is for streams, and the request is plain"))
    if isinstance(action, Reset):
        await _reset(exchange, action, run)
    elif isinstance(action, Cut):
        exchange.break_off("cut", _cutting(action.after_bytes))
        await _answered(exchange, run)
        await exchange.close()
    elif isinstance(action, NotJson):
        exchange.break_off("not_json", _wronging(action))
        await _answered(exchange, run)
    else:
        await late(exchange, action)
        if isinstance(action, Trickle):
            exchange.break_off("", _trickling(exchange, action))
        await run()


async def _reset(exchange: Exchange, action: Reset, run: Run) -> None:
    if action.after_effect:
        exchange.break_off("lost", _dropping)
        await _answered(exchange, run)
    else:
        exchange.settle("reset")
    await exchange.reset()


async def late(exchange: Exchange, action: Action) -> None:
    """Wait as the action says, if it says so.

    Raises:
        ClientLeft: The client left meanwhile.
    """
    if isinstance(action, Serve):
        await exchange.pause(action.delay)
    elif isinstance(action, Stall):
        exchange.stalled("stalled")
        try:
            await exchange.pause(action.seconds)
        except ClientLeft:
            exchange.settle("stalled")
            raise


async def _answered(exchange: Exchange, run: Run) -> None:
    try:
        await run()
    except Rejected as rejected:
        await exchange.fail(rejected.reply)


def _dropping(send: Send) -> Send:
    async def drop(message: Message) -> None:
        """Send nothing."""

    return drop


def _cutting(after: int) -> Callable[[Send], Send]:
    def alter(send: Send) -> Send:
        left = after

        async def cut(message: Message) -> None:
            nonlocal left
            if message["type"] != "http.response.body":
                await send(message)
                return
            # The last byte is kept back in any case.
            last = 0 if message["more_body"] else 1
            data = message["body"][: min(left, len(message["body"]) - last)]
            left -= len(data)
            if data:
                await send({**message, "body": data, "more_body": True})

        return cut

    return alter


def _wronging(action: NotJson) -> Callable[[Send], Send]:
    """Another body, made of the first part of the right one."""

    def alter(send: Send) -> Send:
        start: Message = {}

        async def wrong(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif start:
                body = wrong_body(message["body"], action)
                changed = {
                    b"content-type": action.content_type.encode(),
                    b"content-length": str(len(body)).encode(),
                }
                headers = {**dict(start["headers"]), **changed}
                await send({**start, "headers": list(headers.items())})
                start.clear()
                await send({**message, "body": body, "more_body": False})

        return wrong

    return alter


def _trickling(exchange: Exchange, action: Trickle) -> Callable[[Send], Send]:
    def alter(send: Send) -> Send:
        async def trickle(message: Message) -> None:
            body = message.get("body", b"")
            starts = range(0, len(body), action.step)
            for start in starts[:-1]:
                piece = body[start : start + action.step]
                await send({**message, "body": piece, "more_body": True})
                await exchange.pause(action.seconds / (len(starts) - 1))
            await send({**message, "body": body[starts[-1] :]} if body else message)

        return trickle

    return alter
