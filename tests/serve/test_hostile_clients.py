"""What a client may do to a gateway without taking anything from the others."""

from __future__ import annotations

import json
import logging
import socket
import time
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.serve import server
from flextier.serve.server import open_files, raise_open_files
from flextier.sim import Fault, Simulator
from tests.client.servers import answering, serving
from tests.serve.conftest import Served, gateway

BODY = {"model": "gpt-5-mini", "input": "a"}
CHUNK = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"


def connected(served: Served) -> socket.socket:
    """A connection, whose reads end should the gateway hang."""
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=120)


def head(line: str, *headers: str) -> bytes:
    """The head of a request."""
    return "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", *headers, "", "")).encode("latin-1")


def arriving(served: Served, body: bytes) -> socket.socket:
    """A connection of a call whose body does not end."""
    connection = connected(served)
    connection.sendall(head("POST /v1/responses", "Content-Length: 9999999") + body)
    return connection


def read(connection: socket.socket) -> bytes:
    """What arrives before the connection is closed."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def exchanged(served: Served, *parts: bytes) -> tuple[int, Any]:
    """Status and JSON of the last answer to what is sent in whole before it is read."""
    with connected(served) as connection:
        for part in parts:
            connection.sendall(part)
        last = read(connection).rpartition(b"HTTP/1.1 ")[2]
    return int(last[:3]), json.loads(last.partition(b"\r\n\r\n")[2])


def post(served: Served, body: Any = BODY) -> Any:
    """The answer to a call."""
    return http.post(f"{served.base_url}/responses", json=body, timeout=120)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 404),
        ("GET /v1", 404),
        ("POST /other/v1/responses", 404),
        ("PUT /healthz", 405),
        ("TRACE /v1/models", 405),
        ("CONNECT other:443", 400),
        ("BREW /v1/models", 400),
        ("GET /v1/\xff", 400),
        (f"GET /v1/{'x' * 40_000}", 431),
    ],
)
def test_what_it_does_not_serve_has_the_form_of_openai(
    shared: Served, line: str, status: int
) -> None:
    found, body = exchanged(shared, head(line, "Connection: close"))
    assert found == status
    assert body["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["responses", "embeddings"])
@pytest.mark.parametrize("length", ["Transfer-Encoding: chunked", "Content-Length: 13107200"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
def test_a_body_that_is_too_large_is_read_to_its_end_so_that_its_client_gets_the_answer(
    flextier_sim: Simulator, path: str, length: str, connection: str
) -> None:
    is_chunked = "chunked" in length
    parts = [CHUNK if is_chunked else b"x" * 0x8000] * 400
    if is_chunked:
        parts.append(b"0\r\n\r\n")
    if connection == "keep-alive":  # is of use for the next request
        parts.append(head("GET /v1/%", "Connection: close"))
    with gateway(flextier_sim, max_body_bytes=1000, max_upload_bytes=100_000) as served:
        line = head(f"POST /v1/{path}", length, f"Connection: {connection}")
        status, body = exchanged(served, line, *parts)
    assert status == (413 if connection == "close" else 404)
    assert body["error"]["code"] == "too_large" or connection == "keep-alive"


def test_a_request_that_is_none_ends_the_connection_with_an_answer(shared: Served) -> None:
    smuggled = head("POST /v1/embeddings", "Content-Length: 5", "Transfer-Encoding: chunked")
    for data in (
        smuggled + b"0\r\n\r\n" + head("GET /healthz"),
        head("POST /v1/responses", "Transfer-Encoding: chunked") + b"zz\r\n",
        head("GET /healthz").replace(b"\r\n", b"\n"),
        head("GET /healthz", "X-Long: " + "x" * 10**6),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    ):
        status, body = exchanged(shared, data)
        assert status == (431 if b"X-Long" in data else 400)
        assert "error" in body


def test_an_offer_of_another_protocol_is_ignored(shared: Served, flextier_sim: Simulator) -> None:
    """Java's and curl's HTTP clients make it with each first request."""
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEA")
    body = json.dumps(BODY).encode()
    request = head("POST /v1/responses", *offer, f"Content-Length: {len(body)}") + body
    last = head("GET /v1", "Connection: close")
    assert exchanged(shared, request, last)[0] == 404
    assert [one.tier for one in flextier_sim.requests] == ["flex"]


def test_an_answer_that_has_begun_is_not_followed_by_another(
    shared: Served, flextier_sim: Simulator
) -> None:
    flextier_sim.script(Fault.stall())
    body = json.dumps({**BODY, "stream": True}).encode()
    with connected(shared) as connection:
        connection.sendall(head("POST /v1/responses", f"Content-Length: {len(body)}") + body)
        while not flextier_sim.requests:
            time.sleep(0.001)
        connection.sendall(b"no request\r\n\r\n")
        assert read(connection).count(b"HTTP/1.1 ") == 1


def test_bodies_that_do_not_end_take_no_memory_from_others(flextier_sim: Simulator) -> None:
    with gateway(flextier_sim, max_body_memory=200_000) as served, ExitStack() as opened:
        held = served.gateway.bodies
        for size in (30_000, 90_000, 70_000):
            before = held.size
            opened.enter_context(arriving(served, b"x" * size))
            while held.size < before + size:
                time.sleep(0.001)
        large = {**BODY, "input": "a" * 50_000}
        assert post(served, large).status_code == 200  # in place of the largest one
        assert held.size == 100_000
        refused = post(served, {**BODY, "input": "a" * 190_000})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert refused.json()["error"]["code"] == "unavailable"
        many = post(served, {**BODY, "metadata": {"a": [[]] * 3_000}})
        assert many.status_code == 503  # as JSON that is read, it would be large
    assert len(flextier_sim.requests) == 1


def test_calls_that_wait_count_until_their_end(flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall())
    body = json.dumps({**BODY, "input": "a" * 60_000}).encode()
    with gateway(flextier_sim, max_body_memory=100_000) as served:
        with connected(served) as connection:
            connection.sendall(head("POST /v1/responses", f"Content-Length: {len(body)}") + body)
            while not flextier_sim.requests:
                time.sleep(0.001)
            assert post(served, {**BODY, "input": "a" * 60_000}).status_code == 503
            assert post(served).status_code == 200
        while served.gateway.bodies.size:
            time.sleep(0.001)
        assert post(served, {**BODY, "input": "a" * 60_000}).status_code == 200


def test_the_end_does_not_wait_for_bodies_and_leaves_no_errors_in_the_log(
    flextier_sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with gateway(flextier_sim, drain=0.2) as served:
        call = arriving(served, b"{")
        upload = connected(served)
        upload.sendall(head("POST /v1/embeddings", "Content-Length: 9999999") + b"{")
        begun = connected(served)
        begun.sendall(b"POST /v1/")
        while len(flextier_sim.requests) + len(served.gateway.bodies._arriving) < 1:
            time.sleep(0.001)
        began = time.monotonic()
        served.server.should_exit = True
        with closing(call), closing(upload), closing(begun):
            assert b" 503 " in read(call)
            assert read(begun) == b""
            with suppress(ConnectionResetError):
                assert read(upload) == b""
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert time.monotonic() - began < server._LAST_BYTES


def test_2000_connections_without_requests_are_closed_in_favour_of_one_with_a_request(
    flextier_sim: Simulator,
) -> None:
    files = open_files()
    raise_open_files()
    assert files is None or (open_files() or 10_000) > 5_000
    begun = (b"", head("GET /healthz")[:-2], head("POST /v1/responses", "Content-Length: 9"))
    with gateway(flextier_sim) as served, ExitStack() as opened:
        served.server._bound.most = 200
        flextier_sim.script(Fault.stall(1.0))
        body = json.dumps(BODY).encode()
        waits = opened.enter_context(connected(served))
        waits.sendall(
            head("POST /v1/responses", f"Content-Length: {len(body)}", "Connection: close") + body
        )
        while not flextier_sim.requests:
            time.sleep(0.001)
        hostile = [opened.enter_context(connected(served)) for _ in range(2_000)]
        for number, connection in enumerate(hostile):
            if number % 3:
                with suppress(ConnectionError):  # closed by now
                    connection.sendall(begun[number % 3])
        assert post(served).status_code == 200
        assert b" 200 " in read(waits)
        assert len(served.server.server_state.connections) <= 201


def test_where_all_connections_have_requests_one_more_is_refused(flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall())
    body = json.dumps(BODY).encode()
    with gateway(flextier_sim) as served:
        served.server._bound.most = 1
        with connected(served) as waits:
            waits.sendall(head("POST /v1/responses", f"Content-Length: {len(body)}") + body)
            while not flextier_sim.requests:
                time.sleep(0.001)
            for _ in range(3):  # one that has been refused does not stay
                assert post(served).status_code == 503
        while served.gateway.calls.running:
            time.sleep(0.001)
        assert post(served).status_code == 200


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_a_client_that_never_reads_its_stream_is_dropped(
    flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "UNREAD_SECONDS", 1)
    with gateway(flextier_sim) as served, connected(served) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        content = b"x" * 8 * 2**20
        uploaded = http.post(
            f"{served.base_url}/files",
            files={"file": ("a.txt", content)},
            data={"purpose": "user_data"},
            timeout=120,
        ).json()
        connection.sendall(head(f"GET /v1/files/{uploaded['id']}/content"))
        assert connection.recv(1)
        while any(one.is_under_way for one in list(served.server.server_state.connections)):
            time.sleep(0.01)


def test_an_answer_that_is_not_read_is_not_delivered(flextier_sim: Simulator) -> None:
    """A journal keeps it."""
    direct = http.post(
        f"{flextier_sim.base_url}/responses", json=BODY, headers={"authorization": "Bearer k"}
    ).json()
    answer = json.dumps({**direct, "metadata": {"a": "x" * 16 * 2**20}}).encode()
    line = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    body = json.dumps(BODY).encode()
    with (
        serving(answering(line % len(answer) + answer)) as other,
        gateway(flextier_sim, upstream=f"http://{other}/v1") as served,
        connected(served) as connection,
    ):
        request = head("POST /v1/responses", "Connection: close", f"Content-Length: {len(body)}")
        connection.sendall(request + body)
        assert connection.recv(1)
        ((_, call),) = served.gateway.calls._by_id.values()
        assert call.answer.complete
        assert not call.delivered
        assert len(read(connection)) > len(answer)
        while not call.delivered:
            time.sleep(0.001)
