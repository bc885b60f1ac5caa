"""``openai-poll-after-ms``: a server that asks for fewer polls gets fewer, on real sockets."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flextier import Clock
from tests.background.asking import POLICY, Asker, quick_clock
from tests.client.hostile_server import response

pytestmark = pytest.mark.sampled(2)

POLLS = 3
"""How often the server is polled until the response is completed."""


class Server(ThreadingHTTPServer):
    """Its responses are completed at the third poll."""

    def __init__(self, asks: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asks = asks
        self.clock: Clock = quick_clock()
        self.answered: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.answered.append(self.server.clock.now())
        self.rfile.read(int(self.headers.get("content-length", 0)))
        done = len(self.server.answered) > POLLS
        status = "completed" if done else "in_progress"
        content = json.dumps(response("gpt-6.2-sol", "default", status)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("openai-poll-after-ms", self.server.asks)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # the creation

    def log_message(self, format: str, *_: object) -> None: ...


def pauses(asker: Asker, asks: str) -> Iterator[float]:
    """Seconds between the server's answers of one call."""
    with Server(asks) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        result = asker(server.url, POLICY, {"clock": server.clock})
        server.shutdown()
    assert result.attempts == ["background-2h:served"]
    assert len(server.answered) == POLLS + 1
    for before, after in zip(server.answered, server.answered[1:], strict=False):
        yield after - before


def test_a_response_is_not_polled_before_the_server_asks_for_it(asker: Asker) -> None:
    """Neither after its creation, nor after any poll; and soon after that."""
    assert all(700.0 <= pause < 710.0 for pause in pauses(asker, "700000"))


@pytest.mark.parametrize("asks", ["", "soon", "-5", "0", "nan", "inf", "5"])
def test_it_is_polled_as_ever_where_the_server_asks_for_nothing(asks: str, asker: Asker) -> None:
    """A value that is none, or shorter than the usual pause, changes nothing."""
    assert all(pause < 60.0 for pause in pauses(asker, asks))
