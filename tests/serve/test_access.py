"""Who may use a gateway: this machine's programs, or those with a token; no page of a browser."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.cli import main
from flextier.serve import bodies, protocol
from flextier.serve.options import GatewayOptions
from flextier.serve.tokens import read_tokens
from flextier.sim import Simulator
from tests.client.servers import answering, serving
from tests.serve.conftest import Served, gateway

BODY = {"model": "gpt-5-mini", "input": "a"}
MODELS = "/v1/models"


def status(served: Served, path: str = MODELS, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer: int = http.get(served.url + path, headers=named).status_code
    return answer


def test_without_tokens_it_serves_this_machine_only(
    shared: Served, flextier_sim: Simulator, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert status(shared) == status(shared, host="localhost:8484") == 200
    assert status(shared, host="attacker.example") == 403  # a name that leads to 127.0.0.1
    assert status(shared, host="[") == 403
    assert status(shared, origin="https://attacker.example") == 403
    assert status(shared, origin="null") == 403
    assert status(shared, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert main(["serve", "--host", "0.0.0.0"]) == 2
    assert "--token-file" in capsys.readouterr().err


def test_a_token_is_needed_where_there_are_some(flextier_sim: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# who\n\nnightly abcdefghijklmnop budget=2.5 tags=a,b\nweb ponmlkjihgfedcba\n")
    tokens = read_tokens(file)
    assert [(one.name, one.budget and float(one.budget), one.tags) for one in tokens] == [
        ("nightly", 2.5, ("a", "b")), ("web", None, ())
    ]  # fmt: skip
    assert "abcdefghijklmnop" not in repr(GatewayOptions((), host="0.0.0.0", tokens=tokens))
    with gateway(flextier_sim, tokens=tokens) as served:
        assert status(served) == status(served, authorization="Bearer of-no-one") == 401
        assert (
            status(served, authorization="Bearer") == status(served, authorization="Basic !") == 401
        )
        assert status(served, authorization="Bearer abcdefghijklmnop") == 200
        assert status(served, x_flextier_token="ponmlkjihgfedcba") == 200
        assert status(served, authorization="Basic eDpwb25tbGtqaWhnZmVkY2Jh") == 200
        answer = http.post(
            f"{served.base_url}/responses",
            json=BODY,
            headers={"x-flextier-token": "ponmlkjihgfedcba"},
        )
        call = f"/flextier/calls/{answer.headers['x-flextier-call']}"
        assert status(served, call, x_flextier_token="ponmlkjihgfedcba") == 200
        assert status(served, call, x_flextier_token="abcdefghijklmnop") == 404
        for secret in ("ponmlkjihgfedcba", "abcdefghijklmnop"):  # an id is one of its token
            named = {"x-flextier-token": secret, "x-flextier-call": "nightly-1"}
            assert http.post(f"{served.base_url}/responses", json=BODY, headers=named).is_success
    sent = json.dumps([request.headers for request in flextier_sim.requests])
    assert "ponmlkjihgfedcba" not in sent
    assert "abcdefghijklmnop" not in sent


@pytest.mark.parametrize("line", ["", "a", "a short", "a/b abcdefghijklmnop", "a b=c d=e",
    "a abcdefghijklmnop budget=0", "a abcdefghijklmnop\na abcdefghijklmnoq"])  # fmt: skip
def test_a_wrong_token_file_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(line)
    with pytest.raises(ValueError, match=r"tokens|budget"):
        read_tokens(tmp_path / "tokens")


def test_bodies_and_headers_have_bounds(
    flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "SLOW", 0.2)
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    with gateway(flextier_sim, max_body_bytes=1000, max_upload_bytes=2000) as served:
        url = f"{served.base_url}/responses"

        def post(content: Any, url: str = url, **headers: str) -> int:
            answer: int = http.post(url, content=content, headers=headers).status_code
            return answer

        assert post(b"x" * 1001) == post(iter([b"x" * 600] * 2)) == 413
        assert post(b"x" * 2001, f"{served.base_url}/embeddings") == 413
        assert post(iter([b"x" * 600] * 4), f"{served.base_url}/embeddings") == 413
        assert post(b"[1]") == post(b'{"a": NaN}') == post(b"{") == post(b"[" * 999) == 400
        assert post(b'{"a": 1e999}') == post(rb'{"a": "\ud800"}') == 400
        assert post(b'{"stream": "true"}') == post(b'{"service_tier": ["flex"]}') == 400
        assert post(b"{}", **{"content-encoding": "gzip"}) == 415
        assert post(b"{}", **{"x-long": "x" * 40_000}) == 431
        head = f"POST /v1/responses HTTP/1.1\r\nHost: {served.url[7:]}\r\n".encode()
        assert b" 408 " in raw(served, head + b"Content-Length: 9\r\n\r\n{")
        assert b" 408 " in dripped(served, head + b"Content-Length: 999\r\n\r\n")
        assert raw(served, head + b"X-Slow: ") == b""
        assert raw(served, b"") == b""
        assert b" 431 " in raw(served, head + b"X-Long: " + b"x" * 10**6)
        assert b" 400 " in raw(served, head + b"Content-Length: -1\r\n\r\n")
        assert status(served) == 200
        mine = b"X-Mine: \xe9\r\n"  # the SDK cannot send it, and it passes through elsewhere
        assert b" 400 " in raw(served, head + mine + b"Content-Length: 2\r\n\r\n{}")
        models = head.replace(b"POST /v1/responses", b"GET /v1/models")
        assert b" 200 " in raw(served, models + mine + b"\r\n")
    # A body without a stated length passes through: it has begun upstream when it gets too long.
    assert not any("/responses" in request.path for request in flextier_sim.requests)


def connected(served: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])))


def dripped(served: Served, head: bytes) -> bytes:
    """What the gateway sends back while a body arrives byte by byte."""
    with connected(served) as connection:
        connection.sendall(head)
        connection.settimeout(0.02)
        while True:
            with suppress(TimeoutError):
                return connection.recv(65536)
            connection.sendall(b"x")


def raw(served: Served, data: bytes) -> bytes:
    """What the gateway sends back before it closes the connection, or until the client does."""
    with connected(served) as connection:
        try:
            connection.sendall(data)
            return connection.recv(65536)
        except ConnectionError:
            return b""


def test_more_calls_than_it_takes_are_sent_away(flextier_sim: Simulator) -> None:
    with gateway(flextier_sim, max_calls=0) as served:
        answer = http.post(f"{served.base_url}/responses", json=BODY)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert status(served) == 200


def test_headers_of_an_upstream_come_back_as_they_are(flextier_sim: Simulator) -> None:
    head = "HTTP/1.1 400 Bad\r\nx-odd: \u2615\r\ncontent-length: 2\r\n\r\n{}"
    with (
        serving(answering(head.encode())) as other,
        gateway(flextier_sim, upstream=f"http://{other}/v1") as served,
    ):
        for answer in (
            http.get(served.url + MODELS),
            http.post(f"{served.base_url}/responses", json=BODY),
        ):
            assert answer.status_code == 400
            assert dict(answer.headers.raw)[b"x-odd"] == "\u2615".encode()


def test_redirects_are_not_followed(flextier_sim: Simulator) -> None:
    moved = f"HTTP/1.1 307 Moved\r\nlocation: {flextier_sim.base_url}\r\ncontent-length: 0\r\n\r\n"
    with (
        serving(answering(moved.encode())) as other,
        gateway(flextier_sim, upstream=f"http://{other}/v1") as served,
    ):
        assert status(served) == 502
        assert http.post(f"{served.base_url}/responses", json=BODY).status_code == 502
    assert flextier_sim.requests == []
