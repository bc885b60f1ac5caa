"""Notebooks with nest_asyncio, which changes event loops: each program is a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc, sys, time, warnings

import nest_asyncio

from flextier import AsyncFlexOpenAI
from flextier.sim import Simulator
from flextier.transport import async_http_client

warnings.simplefilter("error")

async def ask(client):
    return (await client.responses.create(model="o3", input="Hi.")).output_text

async def cell(client):
    assert await ask(client)
    assert asyncio.run(ask(client))  # as LlamaIndex's sync methods do there

with Simulator() as sim:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    nest_asyncio.apply(loop)
    http_client = async_http_client(aiohttp=AIOHTTP)
    client = AsyncFlexOpenAI(base_url=sim.base_url, api_key="k", http_client=http_client)
    loop.run_until_complete(cell(client))
    if ENDS == "dropped":
        del client, http_client
        gc.collect()
        loop.run_until_complete(asyncio.sleep(0.1))
    else:
        loop.run_until_complete(client.close() if ENDS == "closed" else loop.shutdown_asyncgens())
    while sim.connections:
        time.sleep(0.01)
    loop.close()
"""


@pytest.mark.parametrize("aiohttp", [True, False])
@pytest.mark.parametrize("ends", ["dropped", "closed", "with its loop"])
def test_connections_are_closed(ends: str, aiohttp: bool) -> None:
    """However the client ends, without a traceback."""
    program = PROGRAM.replace("AIOHTTP", repr(aiohttp)).replace("ENDS", repr(ends))
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
