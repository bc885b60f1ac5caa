"""What the endpoints of stored and background responses do; the paths are in ``app.py``."""

from __future__ import annotations

from functools import partial

from flextier.sim.api import background_stream, response_faults
from flextier.sim.api.fault_player import PLAIN_ONLY, FaultPlayer
from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import ErrorReply, Rejected
from flextier.sim.base.exchange import Exchange
from flextier.sim.base.paging import read_query
from flextier.sim.behavior.faults import Action, Reset, Serve, Stall
from flextier.sim.model.request import ModelRequest
from flextier.sim.protocol import responses
from flextier.sim.stores import background_errors
from flextier.sim.stores.background_job import BackgroundJob
from flextier.sim.stores.background_request import BackgroundOptions
from flextier.sim.stores.world import World


async def create(
    exchange: Exchange, world: World, ask: ModelRequest, order: BackgroundOptions
) -> None:
    """Accept a background response; direct ones are created in ``flextier.sim.api.endpoints``."""
    exchange.seen.lane, exchange.seen.window = order.lane, order.window
    account = exchange.headers["authorization"]
    action = world.next_fault(ask, exchange.path, account, lane=order.lane).action
    exchange.limit_headers = world.limit_headers(account, ask.model)
    if isinstance(action, ErrorReply):
        await FaultPlayer(exchange, world, responses, ask).run(action)
    elif ask.stream:
        await _stream(exchange, world, ask, order, action)
    else:
        run = partial(_accept, exchange, world, ask, order, action)
        await response_faults.play(exchange, action, run)


async def _accept(
    exchange: Exchange, world: World, ask: ModelRequest, order: BackgroundOptions, action: Action
) -> None:
    job = _create(exchange, world, ask, order, action)
    exchange.settle("queued")
    await exchange.reply(job.accepted())


async def _stream(
    exchange: Exchange, world: World, ask: ModelRequest, order: BackgroundOptions, action: Action
) -> None:
    if isinstance(action, PLAIN_ONLY):
        raise Rejected(api_errors.misused("this fault is for plain requests, and this is a stream"))
    if isinstance(action, Reset) and not action.after_effect:
        exchange.settle("reset")
        await exchange.reset()
        return
    if isinstance(action, Serve | Stall):
        await response_faults.late(exchange, action)
    job = _create(exchange, world, ask, order, action)
    if isinstance(action, Reset):
        exchange.settle("lost")
        await exchange.reset()
        return
    await background_stream.send(exchange, world.responses, job, action=action, outcome="queued")


def _create(
    exchange: Exchange, world: World, ask: ModelRequest, order: BackgroundOptions, action: Action
) -> BackgroundJob:
    serve = action if isinstance(action, Serve) else Serve()
    weather = world.background_weather(ask.model)
    return world.responses.create(ask, order, weather, serve, exchange.seen.line)


async def show(exchange: Exchange, world: World, name: str) -> None:
    """One response as it is now, or its stream from an event on."""
    query = read_query(exchange.query)
    store = world.responses
    if query.get("stream") != "true":
        await exchange.reply(store.describe(name))
        return
    if store.shelf.find(name) is not None:
        raise Rejected(background_errors.no_replay("background"))
    job, _ = store.get(name)
    if not job.ask.stream:
        raise Rejected(background_errors.no_replay("stream"))
    after = query.get("starting_after", "-1")
    if not after.removeprefix("-").isdecimal():
        raise Rejected(api_errors.invalid("starting_after", "expected an integer.", "invalid_type"))
    await background_stream.send(exchange, store, job, after=int(after))


async def cancel(exchange: Exchange, world: World, name: str) -> None:
    """Cancel a background response."""
    await exchange.reply(world.responses.cancel(name))


async def delete(exchange: Exchange, world: World, name: str) -> None:
    """Forget a response."""
    await exchange.reply(world.responses.delete(name))
