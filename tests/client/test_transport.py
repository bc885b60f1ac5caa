"""The sockets under the clients: kept alive, limited, closed."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flextier import FlexPolicy
from flextier._openai.http_library import http
from flextier.planning.burst import BURSTS
from flextier.sim import Fault, Simulator
from flextier.transport.attempt_limits import TimeLimitedStream, time_limit
from flextier.transport.http_clients import async_http_client, keepalive_options, sync_http_client
from tests.client.callers import settled
from tests.client.test_clients import make, make_async

pytestmark = pytest.mark.sampled(2)

CARRIERS = pytest.mark.parametrize("aiohttp", [True, False], ids=["aiohttp", "httpx"])
"""What the async client runs on."""


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """Connections are counted here."""
    return own_sim


LINUX_ONLY = pytest.mark.skipif(
    not hasattr(socket, "TCP_KEEPIDLE"), reason="the platform has no TCP_KEEPIDLE"
)


def options(sock: socket.socket) -> dict[str, int]:
    """The keep-alive options of a socket."""
    return {
        "on": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "interval": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        "probes": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    }


def options_of(response: Any) -> dict[str, int]:
    """Those of the socket that a response came over."""
    return options(response.extensions["network_stream"].get_extra_info("socket"))


def options_to(sim: Simulator) -> dict[str, int]:
    """Those of the one socket of this process that leads to a simulator."""
    port = int(sim.url.rpartition(":")[2])
    sockets = [thing for thing in gc.get_objects() if type(thing) is socket.socket]
    (found,) = [sock for sock in sockets if _port_of_peer(sock) == port]
    return options(found)


def _port_of_peer(sock: socket.socket) -> int | None:
    try:
        return int(sock.getpeername()[1])
    except (OSError, IndexError, ValueError):
        return None


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
@CARRIERS
async def test_async_sockets_are_kept_alive(sim: Simulator, aiohttp: bool) -> None:
    """The async client's sockets, too."""
    http_client = async_http_client(aiohttp=aiohttp)
    async with make_async(sim, http_client=http_client) as client:
        await client.responses.create(model="o3", input="Hi.")
        assert options_to(sim) == ALIVE


@LINUX_ONLY
@CARRIERS
async def test_async_sockets_to_a_proxy_are_kept_alive(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, aiohttp: bool
) -> None:
    """Async, too, proxies of the environment are used, and the sockets to them kept alive."""
    monkeypatch.setenv("HTTP_PROXY", sim.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with async_http_client(aiohttp=aiohttp) as client:
        response = await client.get("http://localhost:1/stats")
        assert response.json()["simulated"] is True
        assert options_to(sim) == ALIVE


@LINUX_ONLY
@CARRIERS
async def test_other_async_socket_options(sim: Simulator, aiohttp: bool) -> None:
    """What is given replaces the defaults here, too."""
    idle = (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 99)
    async with async_http_client(socket_options=[idle], aiohttp=aiohttp) as client:
        await client.get(sim.url + "/stats")
        found = options_to(sim)
    assert found["idle"] == 99
    assert found["on"] == 0


@LINUX_ONLY
def test_sockets_to_a_proxy_are_kept_alive(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are used, and the sockets to them are kept alive."""
    monkeypatch.setenv("HTTP_PROXY", sim.url)  # the simulator answers the absolute form as well
    with sync_http_client() as client:
        response = client.get("http://localhost:1/stats")
        assert response.json()["simulated"] is True
        with client.stream("GET", "http://localhost:1/stats") as streamed:
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


@CARRIERS
def test_connections_end_with_their_loop(sim: Simulator, aiohttp: bool) -> None:
    """What a loop opened is closed when the loop shuts down, without closing the client."""
    client = async_http_client(aiohttp=aiohttp)

    async def call() -> None:
        response = await client.get(sim.url + "/stats")
        assert response.status_code == 200

    for _ in range(3):
        asyncio.run(call())
        assert settled(sim) == 0


@CARRIERS
async def test_closing_closes(sim: Simulator, aiohttp: bool) -> None:
    """A closed client has no connection left."""
    client = make_async(sim, http_client=async_http_client(aiohttp=aiohttp))
    await client.responses.create(model="o3", input="Hi.")
    assert sim.connections == 1
    await client.close()
    assert await asyncio.to_thread(settled, sim) == 0


def test_a_dropped_sync_client_closes(sim: Simulator) -> None:
    """A client without references leaves no socket open."""
    make(sim).responses.create(model="o3", input="Hi.")
    gc.collect()
    assert settled(sim) == 0


_AT_EXIT = """
import sys
from flextier import FlexOpenAI
client = FlexOpenAI(base_url=sys.argv[1], api_key="sk-test")
client.responses.create(model="o3", input="Hi.")
"""


def test_a_sync_client_closes_at_exit(sim: Simulator) -> None:
    """A program that never closes its client ends without a warning."""
    command = [sys.executable, "-W", "always::ResourceWarning", "-c", _AT_EXIT, sim.base_url]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_a_sync_client_dropped_in_a_cycle_closes(sim: Simulator) -> None:
    """Also where the garbage collector comes to the socket before it comes to the client."""
    client = sync_http_client()
    cycle: dict[str, Any] = {}  # younger than the client: the first collection reorders them
    client.get(sim.url + "/stats")
    (connection,) = client._transport._pool.connections
    cycle["socket"] = connection._connection._network_stream.get_extra_info("socket")
    cycle.update(client=client, cycle=cycle)
    del client, connection
    gc.collect()
    del cycle
    gc.collect()  # a socket that is finalized open warns, which is an error here
    assert settled(sim) == 0


@CARRIERS
def test_loops_are_dropped(sim: Simulator, aiohttp: bool) -> None:
    """A client used under many loops holds none that is over, closed properly or not."""
    client = async_http_client(aiohttp=aiohttp)
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


@CARRIERS
async def test_a_dropped_async_client_closes(sim: Simulator, aiohttp: bool) -> None:
    """An async client without references is closed by its loop."""
    client = make_async(sim, http_client=async_http_client(aiohttp=aiohttp))
    await client.responses.create(model="o3", input="Hi.")
    del client
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert await asyncio.to_thread(settled, sim) == 0


@CARRIERS
def test_loops_at_once(sim: Simulator, aiohttp: bool) -> None:
    """One client under several loops at once, each in a thread of its own."""
    client = make_async(sim, http_client=async_http_client(aiohttp=aiohttp))

    async def calls() -> int:
        answers = [client.responses.create(model="o3", input="Hi.") for _ in range(5)]
        return len(await asyncio.gather(*answers))

    def loops() -> int:
        return asyncio.run(calls()) + asyncio.run(calls())

    with ThreadPoolExecutor(4) as threads:
        assert [done.result() for done in [threads.submit(loops) for _ in range(4)]] == [10] * 4
    assert client._client._transport._open == {}
    assert settled(sim) == 0


# asyncio's own warning, whatever HTTP library is used.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
@CARRIERS
def test_a_loop_that_just_ends(
    sim: Simulator, caplog: pytest.LogCaptureFixture, aiohttp: bool
) -> None:
    """A loop closed during requests leaves no socket open, and nothing is logged about it."""
    client = make_async(sim, http_client=async_http_client(aiohttp=aiohttp))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.responses.create(model="o3", input="Hi."))
    loop.close()
    del loop, client
    for _ in range(2):  # the client, and what it then lets go of
        gc.collect()
    assert settled(sim) == 0
    assert [record for record in caplog.records if record.name == "asyncio"] == []


class _Wire:
    """httpcore's network stream, which keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self.written.append(buffer)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self.written.append(b"(read)")
        return b""


@pytest.mark.parametrize(
    ("writes", "sent"),
    [
        (["POST / HTTP/1.1\r\n\r\n", "{}", ""], ["POST / HTTP/1.1\r\n\r\n{}"]),
        (["POST / HTTP/1.1\r\n\r\n", ""], ["POST / HTTP/1.1\r\n\r\n"]),
        (["POST / HTTP/1.1\r\n\r\n"], ["POST / HTTP/1.1\r\n\r\n"]),
        (["GET / HTTP/1.1\r\n\r\n", ""], ["GET / HTTP/1.1\r\n\r\n"]),
        (["x" * 5, "0\r\n\r\n"], ["x" * 5, "0\r\n\r\n"]),
    ],
)
def test_head_and_body_are_one_write(writes: list[str], sent: list[str]) -> None:
    """The head of a POST request waits for its body, and for no response."""
    wire = _Wire()
    stream = TimeLimitedStream(wire)
    for data in writes:
        stream.write(data.encode())
    stream.read(1)
    assert wire.written == [*(data.encode() for data in sent), b"(read)"]


@pytest.mark.parametrize("make_client", [sync_http_client, async_http_client])
def test_cookies(make_client: Any) -> None:
    """Those that a response sets are kept, as by httpx."""
    client = make_client()
    request = http.Request("POST", "http://localhost/")
    for headers in ({}, {"Set-Cookie": "a=1"}, {}):
        client.cookies.extract_cookies(http.Response(200, headers=headers, request=request))
    assert dict(client.cookies) == {"a": "1"}


ASK: Any = {"model": "o3", "messages": [{"role": "user", "content": "Hi."}], "stream": True}


def test_a_stream_leaves_its_connection_open(sim: Simulator) -> None:
    """Its response is read to the end, so that the next request need not connect."""
    seen: set[Any] = set()
    with make(sim) as client:
        for _ in range(3):
            stream = client.chat.completions.create(**ASK)
            seen |= _connections(sim)
            assert list(stream)
    assert len(seen) == 1


@CARRIERS
async def test_an_async_stream_leaves_its_connection_open(sim: Simulator, aiohttp: bool) -> None:
    """As a sync one does."""
    seen: set[Any] = set()
    async with make_async(sim, http_client=async_http_client(aiohttp=aiohttp)) as client:
        for _ in range(3):
            stream = await client.chat.completions.create(**ASK)
            seen |= _connections(sim)
            assert [event async for event in stream]
    assert len(seen) == 1


def _connections(sim: Simulator) -> set[Any]:
    """Those that are open, as objects that no later connection is equal to."""
    assert sim._server is not None
    return set(sim._server._state.connections)


@pytest.mark.parametrize("stage", ["connections", "bursts"])
def test_a_stream_collected_while_a_lock_is_held(sim: Simulator, stage: str) -> None:
    """The garbage collector may close a dropped stream at any point, in any thread."""
    with make(sim, policy=FlexPolicy(lanes=("auto",), deadline="2h")) as client:
        stream = client.chat.completions.create(**ASK)
        next(iter(stream))
        pool: Any = client._client._transport
        lock = pool._pool._optional_thread_lock if stage == "connections" else BURSTS._lock
        garbage = {"stream": stream}
        garbage["itself"] = garbage  # type: ignore[assignment]

        def collect() -> None:
            with lock:
                gc.collect()

        thread = threading.Thread(target=collect, daemon=True)
        del stream, garbage
        thread.start()
        thread.join(60)
        assert not thread.is_alive(), "it waits for itself"
    assert settled(sim) == 0
