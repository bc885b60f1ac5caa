"""What every endpoint does; the paths are in ``app.py``."""

from __future__ import annotations

from typing import Any

from flextier.sim.api import background
from flextier.sim.api.fault_player import FaultPlayer, WireFormat
from flextier.sim.api.upload import keep_upload
from flextier.sim.base import paid_lines
from flextier.sim.base.exchange import Exchange
from flextier.sim.base.paging import Page, read_query
from flextier.sim.behavior.from_json import read_background_outcomes, read_faults, read_outcomes
from flextier.sim.behavior.weather import Weather
from flextier.sim.model import catalogue, embeddings
from flextier.sim.model.request import ModelRequest
from flextier.sim.protocol import chat, responses
from flextier.sim.stores.background_request import read_order
from flextier.sim.stores.responses import StoringFormat
from flextier.sim.stores.world import World

# What the API reference gives as the default and the most.
MOST_FILES = 10_000

# Every handler takes the exchange, the world, and the id in the path (empty without one).


async def answer_chat(exchange: Exchange, world: World, _: str) -> None:
    """A chat completion."""
    body = await _body(exchange, world)
    await _answer(exchange, world, chat, chat.read(body))


async def answer_responses(exchange: Exchange, world: World, _: str) -> None:
    """A response, at once or in the background."""
    ask = responses.read(await _body(exchange, world))
    exchange.seen.lane = ask.lane
    order = read_order(ask, exchange.headers, world.background_weather(ask.model))
    ask = world.responses.chained(ask)
    if order is None:
        await _answer(exchange, world, StoringFormat(world.responses.shelf), ask)
    else:
        await background.create(exchange, world, ask, order)


async def _answer(exchange: Exchange, world: World, wire: WireFormat, ask: ModelRequest) -> None:
    exchange.seen.lane = ask.lane
    account = exchange.headers["authorization"]
    fault = world.next_fault(ask, exchange.path, account)
    exchange.limit_headers = world.limit_headers(account, ask.model)
    await FaultPlayer(exchange, world, wire, ask).run(fault.action)


async def embed(exchange: Exchange, world: World, _: str) -> None:
    """Vectors for texts."""
    body = await _body(exchange, world)
    content, tokens = embeddings.embed(body)
    exchange.bill("default", tokens)
    await exchange.reply(content)


async def _body(exchange: Exchange, world: World) -> dict[str, Any]:
    """The JSON body, noted in the accounts as far as it can be before it is judged."""
    body = await exchange.json()
    seen = exchange.seen
    seen.body = body if world.record_bodies else None
    seen.tier = body.get("service_tier")
    seen.model = str(body.get("model") or "")
    seen.stream = body.get("stream") is True
    if world.accounts.paid is not None:
        seen.line = paid_lines.digest(exchange.path, body)
    return body


async def list_models(exchange: Exchange, world: World, _: str) -> None:
    """Every model with a name."""
    await exchange.reply(catalogue.catalogue())


async def show_model(exchange: Exchange, world: World, name: str) -> None:
    """One model."""
    await exchange.reply(catalogue.describe(name))


async def upload_file(exchange: Exchange, world: World, _: str) -> None:
    """Keep the ``file`` of a multipart form."""
    file = await keep_upload(exchange, world.files, world.batch_weather("").max_bytes)
    await exchange.reply(file.describe())


async def list_files(exchange: Exchange, world: World, _: str) -> None:
    """Files, newest first, or those of the purpose in the query."""
    query = read_query(exchange.query)
    page = Page.of(query, limit=MOST_FILES, most=MOST_FILES)
    await exchange.reply(world.files.list(page, query.get("purpose")))


async def show_file(exchange: Exchange, world: World, name: str) -> None:
    """One file's object."""
    await exchange.reply(world.files.get(name).describe())


async def download_file(exchange: Exchange, world: World, name: str) -> None:
    """One file's content."""
    file = world.files.get(name)
    await exchange.reply_file(file.path, file.size, "application/octet-stream")


async def delete_file(exchange: Exchange, world: World, name: str) -> None:
    """Forget one file."""
    await exchange.reply(world.files.delete(name))


async def show_stats(exchange: Exchange, world: World, _: str) -> None:
    """Everything counted."""
    await exchange.reply(world.stats())


async def add_faults(exchange: Exchange, world: World, _: str) -> None:
    """Script faults: ``{"faults": [{"fault": "refuse", "retry_after": 1}]}``."""
    faults = read_faults((await exchange.json()).get("faults"))
    world.script.add(*faults)
    await exchange.reply({"waiting": len(world.script)})


async def add_outcomes(exchange: Exchange, world: World, _: str) -> None:
    """Script batches: ``{"outcomes": [{"outcome": "expire", "after": 3}]}``."""
    outcomes = read_outcomes((await exchange.json()).get("outcomes"))
    await exchange.reply({"waiting": world.batches.script(*outcomes)})


async def add_background_outcomes(exchange: Exchange, world: World, _: str) -> None:
    """Script background responses: ``{"outcomes": [{"outcome": "complete", "after": 3}]}``."""
    outcomes = read_background_outcomes((await exchange.json()).get("outcomes"))
    await exchange.reply({"waiting": world.responses.script(*outcomes)})


async def show_paid(exchange: Exchange, world: World, _: str) -> None:
    """The account of every paid line."""
    await exchange.reply(world.paid())


async def set_weather(exchange: Exchange, world: World, _: str) -> None:
    """Change the weather: its fields, or ``{"spec": "refuse=0.3"}``."""
    data = await exchange.json()
    world.weather = Weather.parse(data["spec"]) if "spec" in data else Weather.from_dict(data)
    await exchange.reply({"weather": repr(world.weather)})


async def reset(exchange: Exchange, world: World, _: str) -> None:
    """Forget everything that happened."""
    world.reset()
    await exchange.reply({"reset": True})
