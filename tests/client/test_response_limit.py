"""FlexPolicy.max_response_bytes: what a small compressed body may unpack to."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, report_of
from flextier.sim import Simulator
from flextier.transport import async_http_client

ASK: dict[str, Any] = {"model": "o3", "input": "Hi."}


class Bomb:
    """A server whose answers are 100 MB of zeros, in 100 KB."""

    def __init__(self) -> None:
        self.requests = 0
        body = gzip.compress(b'{"a": "' + b"0" * 100_000_000 + b'"}')

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:
                self.requests += 1
                handler.rfile.read(int(handler.headers["content-length"]))
                handler.send_response(200)
                handler.send_header("content-type", "application/json")
                handler.send_header("content-encoding", "gzip")
                handler.send_header("content-length", str(len(body)))
                handler.end_headers()
                handler.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Say nothing: clients leave before the end."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def bomb() -> Iterator[Bomb]:
    made = Bomb()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.mark.parametrize("kind", ["sync", "aiohttp", "httpx"])
async def test_a_bomb(kind: str, bomb: Bomb) -> None:
    """It is not unpacked beyond the limit, and not asked for again."""
    policy = FlexPolicy(max_response_bytes=1_000_000)
    given: dict[str, Any] = {"base_url": bomb.url, "api_key": "k", "policy": policy}
    error: Any = None
    try:
        if kind == "sync":
            with FlexOpenAI(**given) as client:
                client.responses.create(**ASK)
        else:
            given["http_client"] = async_http_client(aiohttp=kind == "aiohttp")
            async with AsyncFlexOpenAI(**given) as aclient:
                await aclient.responses.create(**ASK)
    except openai.APIConnectionError as raised:
        error = raised
    assert "FlexPolicy.max_response_bytes" in str(error.__cause__)
    assert "1,000,000 bytes" in str(error.__cause__)
    report = report_of(error)
    assert report is not None
    assert [attempt.outcome for attempt in report.attempts] == ["rejected"]
    assert bomb.requests == 1


def test_the_limit_itself(flextier_sim: Simulator) -> None:
    """A response of just as many bytes is read; streams and None have no limit."""
    with FlexOpenAI(base_url=flextier_sim.base_url, api_key="k") as client:
        raw = client.responses.with_raw_response.create(**ASK)
        size = len(raw.http_response.content)
        client.with_options(policy={"max_response_bytes": size + 20}).responses.create(**ASK)
        client.with_options(policy={"max_response_bytes": None}).responses.create(**ASK)
        small = client.with_options(policy={"max_response_bytes": size // 2})
        with pytest.raises(openai.APIConnectionError):
            small.responses.create(**ASK)
        assert len(list(small.responses.create(**ASK, stream=True))) > 3
    assert json.loads(raw.http_response.content)["id"]
