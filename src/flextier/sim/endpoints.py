"""What every endpoint does; the paths are in ``app.py``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from flextier.sim import chat, embeddings, errors, models, responses
from flextier.sim.control import read_faults
from flextier.sim.errors import Rejected
from flextier.sim.exchange import Exchange, Message, Scope
from flextier.sim.files import StoredFile
from flextier.sim.play import Play, Wire
from flextier.sim.weather import Weather
from flextier.sim.world import World

# Every handler takes the exchange, the world, and the id in the path (empty without one).


async def answer_chat(exchange: Exchange, world: World, _: str) -> None:
    """A chat completion."""
    await _answer(exchange, world, chat)


async def answer_responses(exchange: Exchange, world: World, _: str) -> None:
    """A response."""
    await _answer(exchange, world, responses)


async def _answer(exchange: Exchange, world: World, wire: Wire) -> None:
    body = await _body(exchange, world)
    ask = wire.read(body)
    exchange.seen.lane = ask.lane
    fault = world.next_fault(ask, exchange.path, exchange.headers["authorization"])
    await Play(exchange, world, wire, ask).run(fault.action)


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
    return body


async def list_models(exchange: Exchange, world: World, _: str) -> None:
    """Every model with a name."""
    await exchange.reply(models.catalogue())


async def show_model(exchange: Exchange, world: World, name: str) -> None:
    """One model."""
    await exchange.reply(models.describe(name))


async def upload_file(exchange: Exchange, world: World, _: str) -> None:
    """Keep the ``file`` of a multipart form."""
    async with _form(exchange.scope, await exchange.body()) as form:
        upload, purpose = form.get("file"), form.get("purpose")
        if not isinstance(upload, UploadFile):
            raise Rejected(errors.missing("file"))
        if not isinstance(purpose, str):
            raise Rejected(errors.missing("purpose"))
        file = StoredFile(upload.filename or "upload", purpose, await upload.read())
    await exchange.reply(world.files.add(file))


@asynccontextmanager
async def _form(scope: Scope, body: bytes) -> AsyncIterator[FormData]:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    try:
        async with Request(scope, receive).form() as form:
            yield form
    except MultiPartException as error:
        raise Rejected(errors.invalid("file", error.message)) from error


async def list_files(exchange: Exchange, world: World, _: str) -> None:
    """Every file, or those of the purpose in the query."""
    purposes = parse_qs(exchange.query.decode()).get("purpose", [None])
    await exchange.reply(world.files.list(purposes[0]))


async def show_file(exchange: Exchange, world: World, name: str) -> None:
    """One file's object."""
    await exchange.reply(world.files.get(name).describe())


async def download_file(exchange: Exchange, world: World, name: str) -> None:
    """One file's content."""
    await exchange.reply_bytes(world.files.get(name).content, "application/octet-stream")


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


async def set_weather(exchange: Exchange, world: World, _: str) -> None:
    """Change the weather: its fields, or ``{"spec": "refuse=0.3"}``."""
    data = await exchange.json()
    world.weather = Weather.parse(data["spec"]) if "spec" in data else Weather.from_dict(data)
    await exchange.reply({"weather": repr(world.weather)})


async def reset(exchange: Exchange, world: World, _: str) -> None:
    """Forget everything that happened."""
    world.reset()
    await exchange.reply({"reset": True})
