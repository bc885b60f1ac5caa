"""The transport of async requests, aiohttp or httpx: chosen by settings, otherwise alike."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import socket
import ssl
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletion

from flextier import AsyncFlexOpenAI, Attempt, track
from flextier._openai.http_library import http
from flextier._openai.private_names import FinalRequestOptions
from flextier._openai.request_with_tier import attempt_options
from flextier.sim import Fault, Simulator
from flextier.transport.http_clients import async_http_client
from tests.client.callers import KEY
from tests.client.hostile_server import chat
from tests.client.servers import OK, answering, authority, head_of, serving, tunnelling
from tests.client.test_clients import make_async
from tests.client.test_transport import CARRIERS

pytestmark = pytest.mark.sampled(2)


def carriers_of(client: Any) -> list[str]:
    """The transports that an HTTP client of ours has open."""
    return [type(transport).__name__ for transport, _ in client._transport._open.values()]


async def carrier_of(client: Any) -> str:
    """The transport that an HTTP client of ours makes under this loop."""
    with serving(answering(OK)) as address:
        async with client:
            await client.get(f"http://{address}/")
            (name,) = carriers_of(client)
    return str(name)


# --- which one it is --------------------------------------------------------------------------


async def test_aiohttp_by_default(sim: Simulator) -> None:
    """Where aiohttp is installed, the async client runs on it."""
    async with make_async(sim) as client:
        await client.responses.create(model="o3", input="Hi.")
        assert carriers_of(client._client) == ["AiohttpTransport"]


async def test_aiohttp_is_disabled_by_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable asks for httpx, for all clients; the argument, for one, has the last word."""
    assert await carrier_of(async_http_client(aiohttp=False)) == "AsyncHTTPTransport"
    monkeypatch.setenv("FLEXTIER_AIOHTTP", "0")
    assert await carrier_of(async_http_client()) == "AsyncHTTPTransport"
    assert await carrier_of(async_http_client(aiohttp=True)) == "AiohttpTransport"


async def test_without_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client runs on httpx; asked for aiohttp, it says what to install."""
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "flextier.transport.aiohttp_transport", raising=False)
    assert await carrier_of(async_http_client()) == "AsyncHTTPTransport"
    with pytest.raises(ImportError, match=r"flextier\[aiohttp\]"):
        async_http_client(aiohttp=True)


async def test_with_an_old_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another package has brought, and that lacks what we need, is left alone."""
    monkeypatch.delitem(sys.modules, "flextier.transport.aiohttp_transport", raising=False)
    monkeypatch.delattr(aiohttp, "SocketFactoryType")
    assert await carrier_of(async_http_client()) == "AsyncHTTPTransport"


async def test_another_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp needs asyncio; under trio the same client runs on httpx."""
    monkeypatch.setattr("flextier.transport.http_clients.running_loop", lambda: None)
    assert await carrier_of(async_http_client()) == "AsyncHTTPTransport"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"http1": False}, "AsyncHTTPTransport"),
        ({"verify": False}, "AiohttpTransport"),
        ({"limits": http.Limits()}, "AiohttpTransport"),
        ({"limits": http.Limits(max_keepalive_connections=0)}, "AiohttpTransport"),
        ({"limits": http.Limits(keepalive_expiry=None)}, "AiohttpTransport"),
    ],
    ids=str,
)
async def test_settings(settings: dict[str, Any], name: str) -> None:
    """What aiohttp cannot do is left to httpx; all else, including no limits, it does."""
    client = async_http_client(**settings)
    if settings.get("http1", True):
        assert await carrier_of(client) == name
    else:  # an HTTP/2 server is more than this test needs
        assert type(client._transport._make()).__name__ == name


async def test_a_transport_of_the_callers() -> None:
    """A transport of the caller's is used."""
    transport = http.MockTransport(lambda request: http.Response(200, json={"mocked": True}))
    async with async_http_client(transport=transport) as client:
        assert (await client.get("http://api.example.invalid/")).json() == {"mocked": True}


# --- failures: the same on both ---------------------------------------------------------------


def cut(connection: socket.socket) -> None:
    """Sends a part of a body."""
    head_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")


def cut_chunks(connection: socket.socket) -> None:
    """Sends a part of a chunked body."""
    head_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n")


def gone(connection: socket.socket) -> None:
    """Reads the request and hangs up."""
    head_of(connection)


def silent(connection: socket.socket) -> None:
    """Reads the request and says nothing."""
    head_of(connection)
    connection.settimeout(10)
    connection.recv(1)


def silent_within(connection: socket.socket) -> None:
    """Falls silent in the midst of a body."""
    head_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
    connection.settimeout(10)
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    """Resets the connection in the midst of a body."""
    head_of(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{")
    time.sleep(0.05)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


FAILURES = [
    (cut, http.RemoteProtocolError),
    (cut_chunks, http.RemoteProtocolError),
    (gone, http.RemoteProtocolError),
    (answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), http.RemoteProtocolError),
    (silent, http.ReadTimeout),
    (silent_within, http.ReadTimeout),
    # aiohttp reports only that the body is short.
    (reset, (http.ReadError, http.RemoteProtocolError)),
]


@CARRIERS
@pytest.mark.parametrize(
    ("server", "error"), FAILURES, ids=[getattr(s, "__name__", "?") for s, _ in FAILURES]
)
async def test_failures(server: Any, error: Any, aiohttp: bool) -> None:
    """A failure is the same exception, whatever carries the request."""
    with serving(server) as address:
        async with async_http_client(aiohttp=aiohttp, timeout=1.0) as client:
            with pytest.raises(error):
                await client.get(f"http://{address}/")


@CARRIERS
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_server(scheme: str, aiohttp: bool) -> None:
    """No server listens, directly or as a proxy: nothing was sent."""
    with serving(gone) as address:
        pass
    async with async_http_client(aiohttp=aiohttp) as client:
        with pytest.raises(http.ConnectError):
            await client.get(f"{scheme}://{address}/")
    async with async_http_client(aiohttp=aiohttp, proxy=f"http://{address}") as client:
        with pytest.raises(http.ConnectError):
            await client.get(f"{scheme}://api.example.invalid/")


@CARRIERS
async def test_a_full_pool(aiohttp: bool) -> None:
    """A call that gets no connection in time was not sent."""
    limits = http.Limits(max_connections=1)
    timeout = http.Timeout(None, connect=1.0, pool=0.5)
    with serving(silent) as address:
        async with async_http_client(aiohttp=aiohttp, limits=limits, timeout=timeout) as client:
            first = asyncio.create_task(client.get(f"http://{address}/"))
            await asyncio.sleep(0.05)
            with pytest.raises((http.PoolTimeout, http.ConnectTimeout)):
                await client.get(f"http://{address}/")
            first.cancel()
            await asyncio.wait([first])


@CARRIERS
async def test_a_server_that_reads_nothing(aiohttp: bool) -> None:
    """The write timeout holds for each piece of a large body, also of one that is streamed."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 1_000_000

    over = threading.Event()
    with serving(lambda connection: over.wait()) as address:
        timeout = http.Timeout(None, write=0.2)
        async with async_http_client(aiohttp=aiohttp, timeout=timeout) as client:
            for body in (b"x" * 64_000_000, pieces()):
                with pytest.raises(http.WriteTimeout):
                    await client.post(f"http://{address}/", content=body)
    over.set()


@CARRIERS
async def test_a_body_that_fails(aiohttp: bool) -> None:
    """What a caller's own body raises is the caller's, as it is."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("no more")

    with serving(silent) as address:
        async with async_http_client(aiohttp=aiohttp) as client:
            with pytest.raises(LookupError, match="no more"):
                await client.post(f"http://{address}/", content=pieces())


@CARRIERS
async def test_what_cannot_be_sent(aiohttp: bool) -> None:
    """Addresses and headers that HTTP does not have."""
    async with async_http_client(aiohttp=aiohttp) as client:
        with pytest.raises(http.UnsupportedProtocol):
            await client.get("ftp://127.0.0.1/")
        with serving(silent) as address, pytest.raises(http.LocalProtocolError):
            await client.get(f"http://{address}/", headers={"x-word": "a\nb"})


@CARRIERS
@pytest.mark.parametrize("listening", [True, False])
async def test_billed_or_not(sim: Simulator, listening: bool, aiohttp: bool) -> None:
    """A connection lost after the request may have cost money; one that was never there has not."""
    with serving(gone) as address:
        if listening:
            attempt = await failed_attempt(sim, address, aiohttp)
    if not listening:
        attempt = await failed_attempt(sim, address, aiohttp)
    assert attempt.outcome == "transient"
    assert attempt.possibly_billed is listening


async def failed_attempt(sim: Simulator, address: str, aiohttp: bool) -> Attempt:
    """The only attempt of a call to a server that does not answer."""
    http_client = async_http_client(aiohttp=aiohttp)
    base_url = f"http://{address}/v1"
    with track() as calls:
        async with make_async(
            sim, base_url=base_url, http_client=http_client, policy=None, max_retries=0
        ) as client:
            with pytest.raises(openai.APIConnectionError):
                await client.responses.create(model="o3", input="Hi.")
    return calls[0].attempts[-1]


# --- what goes out and what comes in ----------------------------------------------------------


@CARRIERS
async def test_redirects_and_compressed_answers(aiohttp: bool) -> None:
    """A redirect is followed, its body sent again, and the answer unpacked."""
    packed = gzip.compress(b'{"packed": true}')
    seen: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        head = head_of(connection)
        seen.append(head)
        if head.startswith(b"POST /old"):
            connection.sendall(
                b"HTTP/1.1 307 Away\r\nlocation: /new\r\ncontent-length: 0\r\n"
                b"connection: close\r\n\r\n"
            )
        else:
            connection.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nconnection: close\r\n"
                b"content-length: %d\r\n\r\n" % len(packed) + packed
            )

    with serving(answer) as address:
        async with async_http_client(aiohttp=aiohttp) as client:
            response = await client.post(f"http://{address}/old?a=%2F&b=ä", json={"a": 1})
    assert response.json() == {"packed": True}
    assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "OK")
    assert [len(response.history), len(seen)] == [1, 2]
    assert seen[0].startswith(b"POST /old?a=%2F&b=%C3%A4 HTTP/1.1\r\n")


async def sent_by(aiohttp: bool, **request: Any) -> dict[str, str]:
    """The head of a request as it goes out, by lower-case names."""
    seen: list[bytes] = []
    with serving(answering(OK, seen)) as address:
        async with async_http_client(aiohttp=aiohttp) as client:
            await client.request(**{"method": "POST", "url": f"http://{address}/", **request})
    lines = seen[0].decode().partition("\r\n\r\n")[0].split("\r\n")[1:]
    found = dict(line.split(": ", 1) for line in lines if not line.lower().startswith("host"))
    return {name.lower(): value for name, value in found.items()}


async def pieces() -> AsyncIterator[bytes]:
    """A body of unknown length."""
    yield b"ab"
    yield b"c"


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"content": b"abc"},
        {"json": {"a": 1}},
        {"method": "GET"},
        {"headers": {"User-Agent": "", "X-Empty": "", "Accept": "text/event-stream"}},
        {
            "files": {"file": ("a.txt", b"abc")},
            "headers": {"content-type": "multipart/form-data; boundary=b"},
        },
    ],
    ids=str,
)
async def test_headers(request_: dict[str, Any]) -> None:
    """aiohttp sends httpx's headers and none of its own."""
    assert await sent_by(True, **request_) == await sent_by(False, **request_)


async def test_headers_of_a_streamed_body() -> None:
    """A body of unknown length goes out in chunks."""
    over = [await sent_by(carrier, content=pieces()) for carrier in (True, False)]
    assert over[0] == over[1]
    assert over[0]["transfer-encoding"] == "chunked"


@CARRIERS
async def test_cookies_stay_with_httpx(aiohttp: bool) -> None:
    """A cookie is sent back once, by httpx, and to no other host."""
    seen: list[bytes] = []
    answer = OK.replace(b"\r\n\r\n", b"\r\nset-cookie: a=1\r\n\r\n")
    with serving(answering(answer, seen)) as address:
        async with async_http_client(aiohttp=aiohttp) as client:
            for _ in range(2):
                await client.get(f"http://{address}/")
    assert [head.lower().count(b"cookie: a=1") for head in seen] == [0, 1]


# --- TLS and proxies --------------------------------------------------------------------------


@pytest.fixture
def no_shared_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates are what is tested here: each client reads its own."""
    monkeypatch.setattr(ssl, "create_default_context", ssl.create_default_context.__wrapped__)


def trusting() -> ssl.SSLContext:
    """Trust in the servers here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@CARRIERS
@pytest.mark.usefixtures("no_shared_contexts")
async def test_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aiohttp: bool) -> None:
    """Servers are checked against the system's authorities, the variable's, or the caller's."""
    with serving(answering(OK), tls=True) as address:
        url = f"https://{address}/"
        async with async_http_client(aiohttp=aiohttp) as client:
            with pytest.raises(http.ConnectError):
                await client.get(url)
        own = trusting()
        for verify in (own, False):
            async with async_http_client(aiohttp=aiohttp, verify=verify) as client:
                assert (await client.get(url)).status_code == 200
        authority().cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with async_http_client(aiohttp=aiohttp) as client:
            assert (await client.get(url)).status_code == 200


@CARRIERS
async def test_a_tunnel(monkeypatch: pytest.MonkeyPatch, aiohttp: bool) -> None:
    """TLS goes through the environment's proxy, whose password only the proxy gets."""
    requests: list[bytes] = []
    seen: list[bytes] = []
    verify = trusting()
    with (
        serving(answering(OK, seen), tls=True) as server,
        serving(tunnelling(server, requests)) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@{proxy}")
        async with async_http_client(aiohttp=aiohttp, verify=verify) as client:
            response = await client.get("https://api.example.invalid/")
    assert response.status_code == 200
    assert requests[0].startswith(b"CONNECT api.example.invalid:443 HTTP/1.1\r\n")
    assert b"\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n" in requests[0].lower()
    assert b"proxy-authorization" not in seen[0].lower()


@CARRIERS
def test_tls_connections_end_with_their_loop(aiohttp: bool) -> None:
    """Those behind TLS, too, also where the server has just ended them: no warning, no socket."""
    verify = trusting()
    with (
        serving(answering(OK), tls=True) as server,
        serving(tunnelling(server, [])) as proxy,
    ):

        async def call(**settings: Any) -> int:
            client = async_http_client(aiohttp=aiohttp, verify=verify, **settings)
            response = await client.get("https://localhost:" + server.rpartition(":")[2])
            return int(response.status_code)

        for _ in range(5):
            assert asyncio.run(call()) == 200
            assert asyncio.run(call(proxy=f"http://{proxy}")) == 200
        gc.collect()


@CARRIERS
async def test_a_proxy_without_tls(aiohttp: bool) -> None:
    """A proxy given by hand gets the whole address, its password and its headers."""
    requests: list[bytes] = []
    with serving(answering(OK, requests)) as address:
        proxy = http.Proxy(f"http://user:secret@{address}", headers={"X-Team": "a"})
        async with async_http_client(aiohttp=aiohttp, proxy=proxy) as client:
            assert (await client.get("http://api.example.invalid/x")).status_code == 200
    assert requests[0].startswith(b"GET http://api.example.invalid/x HTTP/1.1\r\n")
    assert b"\r\nproxy-authorization: basic dxnlcjpzzwnyzxq=\r\n" in requests[0].lower()
    assert b"\r\nx-team: a\r\n" in requests[0].lower()


@CARRIERS
async def test_a_proxy_that_refuses(aiohttp: bool) -> None:
    """A proxy that opens no tunnel is not the server."""
    refusal = b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n"
    with serving(tunnelling("", [], refusal)) as address:
        async with async_http_client(aiohttp=aiohttp, proxy=f"http://{address}") as client:
            with pytest.raises(http.ProxyError):
                await client.get("https://api.example.invalid/")


async def test_other_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is itself behind TLS is httpx's business."""
    monkeypatch.setenv("HTTP_PROXY", "https://127.0.0.1:9")
    client = async_http_client()
    (mounted,) = client._mounts.values()
    assert type(mounted._make()).__name__ == "AsyncHTTPTransport"


# --- large bodies -----------------------------------------------------------------------------

IMAGE = "data:image/png;base64," + "A" * 10_000_000


class Counted(dict[str, Any]):
    """A message that counts how often it is written out."""

    written = 0

    def items(self) -> Any:
        self.written += 1
        return super().items()


@CARRIERS
async def test_an_image_is_written_once_an_attempt(sim: Simulator, aiohttp: bool) -> None:
    """Ten megabytes become JSON once for each attempt, and nothing else reads them."""
    sim.script(Fault.refuse(), Fault.serve())
    part = {"type": "image_url", "image_url": {"url": IMAGE}}
    message = Counted(role="user", content=[part])
    body = {"model": "o3", "messages": [message]}
    async with make_async(sim, http_client=async_http_client(aiohttp=aiohttp)) as client:
        with track() as calls:
            await client.post("/chat/completions", body=body, cast_to=ChatCompletion)
    assert len(calls[0].attempts) == 2
    assert message.written == 2


def test_an_attempts_options_share_the_body() -> None:
    """What is changed for an attempt is the outermost dict; the messages are the caller's own."""
    body = {"model": "o3", "messages": [{"role": "user", "content": IMAGE}]}
    options = FinalRequestOptions.construct(method="post", url="/responses", json_data=body)
    changed = attempt_options(options, tier="flex", timeout=1, plain=False)
    assert changed.json_data["messages"] is body["messages"]
    assert changed.json_data is not body


def swallow(connection: socket.socket) -> None:
    """Reads whatever comes, and answers what the API would."""
    head = head_of(connection)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    left = length - len(head.split(b"\r\n\r\n", 1)[1])
    buffer = bytearray(1 << 20)
    while left > 0:
        left -= connection.recv_into(buffer)
    body = json.dumps(chat("o3", "flex")).encode()
    connection.sendall(
        OK.replace(b"content-length: 2", b"content-length: %d" % len(body))[:-2] + body
    )


async def peak(client: openai.AsyncOpenAI) -> float:
    """The memory that a call with a large body takes, as a multiple of the body."""
    message: Any = {"role": "user", "content": IMAGE}
    async with client:
        tracemalloc.start()
        try:
            await client.chat.completions.create(model="o3", messages=[message])
            return tracemalloc.get_traced_memory()[1] / len(IMAGE)
        finally:
            tracemalloc.stop()


async def test_memory_of_a_large_body() -> None:
    """A call with a large body takes no more memory than the SDK's own does."""
    with serving(swallow) as address:
        account: dict[str, Any] = {"base_url": f"http://{address}/v1", "api_key": KEY}
        plain = await peak(openai.AsyncOpenAI(**account))
        ours = await peak(AsyncFlexOpenAI(**account))
    assert ours < plain + 0.2


async def test_other_calls_go_on_beside_a_large_body(sim: Simulator) -> None:
    """Writing ten megabytes leaves the event loop to others in between."""
    received = threading.Event()

    def slowly(connection: socket.socket) -> None:
        head_of(connection)
        received.wait()
        connection.settimeout(5)
        while connection.recv(1 << 20):
            pass

    with serving(slowly) as address:
        async with async_http_client() as client:
            large = asyncio.create_task(client.post(f"http://{address}/", content=IMAGE.encode()))
            await asyncio.sleep(0.1)
            assert (await client.get(sim.url + "/stats")).status_code == 200
            large.cancel()
            received.set()
            await asyncio.wait([large])
