"""The sockets under the clients: kept alive, limited, closed."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from typing import Any

import pytest

from flextier._sdk import http
from flextier.sim import Fault, Simulator
from flextier.transport import async_http_client, keepalive_options, sync_http_client, time_limit
from tests.wire.callers import settled
from tests.wire.test_clients import make, make_async


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """Connections are counted here."""
    return own_sim


LINUX_ONLY = pytest.mark.skipif(
    not hasattr(socket, "TCP_KEEPIDLE"), reason="the platform has no TCP_KEEPIDLE"
)


def options_of(response: Any) -> dict[str, int]:
    """The keep-alive options of the socket that a response came over."""
    sock: socket.socket = response.extensions["network_stream"].get_extra_info("socket")
    return {
        "on": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "interval": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        "probes": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    }


ALIVE = {"on": 1, "idle": 60, "interval": 15, "probes": 4}


@LINUX_ONLY
def test_sync_sockets_are_kept_alive(sim: Simulator) -> None:
    """A probe goes out after a minute of silence, so that no NAT gateway forgets the call."""
    with (
        make(sim) as client,
        client.responses.with_streaming_response.create(model="o3", input="Hi.") as response,
    ):
        assert options_of(response.http_response) == ALIVE


@LINUX_ONLY
async def test_async_sockets_are_kept_alive(sim: Simulator) -> None:
    """The async client's sockets, too."""
    async with (
        make_async(sim) as client,
        client.responses.with_streaming_response.create(model="o3", input="Hi.") as response,
    ):
        assert options_of(response.http_response) == ALIVE


@LINUX_ONLY
def test_sockets_to_a_proxy_are_kept_alive(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are used, and the sockets to them are kept alive."""
    monkeypatch.setenv("HTTP_PROXY", sim.url)  # the simulator answers the absolute form as well
    with sync_http_client() as client:
        response = client.get("http://api.example.invalid/stats")
        assert response.json()["simulated"] is True
        with client.stream("GET", "http://api.example.invalid/stats") as streamed:
            assert options_of(streamed)["on"] == 1


@LINUX_ONLY
def test_other_socket_options(sim: Simulator) -> None:
    """What is given replaces the defaults; nothing given means no options at all."""
    nodelay = (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 99)
    with sync_http_client(socket_options=[nodelay]) as client:  # noqa: SIM117 - one stream each
        with client.stream("GET", sim.url + "/stats") as response:
            assert options_of(response)["idle"] == 99
            assert options_of(response)["on"] == 0


def test_keepalive_switches_it_on_everywhere() -> None:
    """Whatever else a platform lacks, SO_KEEPALIVE is among the options."""
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in keepalive_options()


def test_the_limit_holds_for_all_reads_together(sim: Simulator) -> None:
    """httpx's timeouts are for one read each; the limit is for all of them."""
    sim.script(Fault.trickle(seconds=30))
    body = {"model": "o3", "messages": [{"role": "user", "content": "Hi."}]}
    started = time.monotonic()
    with sync_http_client(timeout=20) as client, time_limit(0.2), pytest.raises(http.ReadTimeout):
        client.post(
            sim.base_url + "/chat/completions", json=body, headers={"authorization": "Bearer k"}
        )
    assert 0.19 <= time.monotonic() - started < 15


def test_no_limit_outside_of_it(sim: Simulator) -> None:
    """The limit ends with its block, also for a connection that was opened under it."""
    with sync_http_client() as client:
        with time_limit(5):
            client.get(sim.url + "/stats")
        with time_limit(0), pytest.raises(http.TimeoutException):
            client.get(sim.url + "/stats")
        assert client.get(sim.url + "/stats").status_code == 200


def test_connections_end_with_their_loop(sim: Simulator) -> None:
    """What a loop opened is closed when the loop shuts down, without closing the client."""
    client = async_http_client()

    async def call() -> None:
        response = await client.get(sim.url + "/stats")
        assert response.status_code == 200

    for _ in range(3):
        asyncio.run(call())
        assert settled(sim) == 0


async def test_closing_closes(sim: Simulator) -> None:
    """A closed client has no connection left."""
    client = make_async(sim)
    await client.responses.create(model="o3", input="Hi.")
    assert sim.connections == 1
    await client.close()
    assert await asyncio.to_thread(settled, sim) == 0


def test_a_dropped_sync_client_closes(sim: Simulator) -> None:
    """A client that nobody holds any more leaves no socket behind."""
    make(sim).responses.create(model="o3", input="Hi.")
    gc.collect()
    assert settled(sim) == 0


def test_loops_are_let_go(sim: Simulator) -> None:
    """A client used under many loops holds none that is over, closed properly or not."""
    client = async_http_client()
    held = client._transport._open

    async def call() -> None:
        await client.get(sim.url + "/stats")

    for _ in range(5):
        asyncio.run(call())
    assert held == {}
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(call())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    assert held == {}
