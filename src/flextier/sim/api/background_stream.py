"""A background response as a stream, which may break and be taken up again."""

from __future__ import annotations

from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.exchange import EVENTS, ClientLeft, Exchange
from flextier.sim.behavior.faults import Action, StreamBreak
from flextier.sim.protocol import responses
from flextier.sim.stores.background_job import BackgroundJob
from flextier.sim.stores.background_responses import ResponseStore

# How long a stream waits before it looks again, in seconds: its clock may be a tester's.
LOOK = 0.02


async def send(
    exchange: Exchange,
    store: ResponseStore,
    job: BackgroundJob,
    *,
    after: int = -1,
    action: Action | None = None,
    outcome: str = "served",
) -> None:
    """Send events as they come to be; the response goes on whatever becomes of this.

    Args:
        exchange: The request.
        store: What lets time pass.
        job: The response.
        after: The number of the last event that the client has.
        action: What happens to the stream; only a ``StreamBreak`` does anything.
        outcome: What the request is counted as when the stream was sent whole.

    Raises:
        ClientLeft: The client left before the end.
    """
    broken = action if isinstance(action, StreamBreak) else None
    sent = max(after, -1) + 1
    await exchange.start(200, EVENTS)
    known = ""
    while True:
        now = store.advance()
        over = job.ended or job.removed
        if not over and job.status(now) == known:
            await exchange.pause(LOOK)
            continue
        known = job.status(now)
        events = job.events(now)
        for data in responses.encoded(events[sent:], sent):
            if broken is not None and sent == broken.after:
                if not await _break(exchange, job, broken):
                    return
                broken = None
            sent += 1
            if over and sent == len(events):
                break
            await exchange.write(data)
        else:
            data = b""
        if over:
            break
    if broken is not None:
        exchange.warn(f"a stream had only {sent} events, and its break was not reached")
    exchange.settle(outcome)
    await exchange.finish(data)


async def _break(exchange: Exchange, job: BackgroundJob, broken: StreamBreak) -> bool:
    """Break the stream; whether it goes on after that."""
    if broken.how == "stall":
        exchange.stalled("stream_stalled")
        try:
            await exchange.pause(broken.seconds)
        except ClientLeft:
            exchange.settle("stream_stalled")
            raise
        return True
    if broken.how == "reset":
        exchange.settle("stream_reset")
        await exchange.close()
        return False
    exchange.settle("stream_ended" if broken.how == "end" else "stream_error")
    await exchange.finish(_error(job, broken))
    return False


def _error(job: BackgroundJob, broken: StreamBreak) -> bytes:
    """What a stream ends with that breaks with an error; nothing for one that just ends."""
    if broken.how == "end":
        return b""
    reply = api_errors.in_stream(broken.code)
    error = {"code": reply.code, "message": reply.message}
    event: dict[str, Any] = {"type": "error", **error, "param": reply.param}
    if broken.how == "failed":
        failed = {**job.accepted(), "status": "failed", "error": error}
        event = {"type": "response.failed", "response": failed}
    return b"".join(responses.encoded([event], broken.after))
