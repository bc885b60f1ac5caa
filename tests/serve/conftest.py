"""A gateway on a real port before the simulator."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flextier import FlexPolicy
from flextier.serve.app import Gateway
from flextier.serve.options import GatewayOptions, UpstreamOptions
from flextier.serve.server import GatewayServer
from flextier.sim import Simulator

KEY = "sk-of-the-gateway"
POLICY = {"backoff_initial": 0.05, "patience": 10}


class Served:
    """A gateway that runs."""

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.gateway = server.gateway
        self.url = server.url
        self.base_url = f"{self.url}/v1"


@contextmanager
def running(server: GatewayServer) -> Iterator[Served]:
    """Serve in a thread."""
    server.bind()
    thread = threading.Thread(target=server.run_bound)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        yield Served(server)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def gateway(sim: Simulator, **options: Any) -> Iterator[Served]:
    """Serve a gateway before the simulator."""
    policy = FlexPolicy(**{**POLICY, **options.pop("policy", {})})
    upstream = UpstreamOptions("", options.pop("upstream", sim.base_url), KEY)
    ledger = options.pop("ledger", None)
    options = {"port": 0, **options}
    with running(
        GatewayServer(Gateway(GatewayOptions((upstream,), policy, **options), ledger))
    ) as served:
        yield served


def leave(url: str, sim: Simulator, body: Any, **headers: str) -> None:
    """Make a call of the Responses API, and lose the connection once it is on the wire upstream."""
    content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    lines = {"host": "localhost", "content-length": str(len(content)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    before = len(sim.requests)
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
        connection.sendall(f"POST /v1/responses HTTP/1.1\r\n{head}\r\n".encode() + content)
        while len(sim.requests) == before:
            time.sleep(0.001)


@pytest.fixture(scope="module")
def shared(flextier_sim_server: Simulator) -> Iterator[Served]:
    """A gateway that the tests of a module share."""
    with gateway(flextier_sim_server) as served:
        yield served
