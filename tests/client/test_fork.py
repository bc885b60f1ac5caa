"""A forked child opens its own connections, and its parent's go on."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flextier.sim import Fault, Simulator
from tests.client.callers import settled
from tests.client.forks import CHILDREN, KINDS, QUESTIONS
from tests.client.servers import authority, head_of, serving, tunnelling

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

ROOT = Path(__file__).parents[2]
ONE_ASYNC = ("sync", pytest.param("httpx", marks=pytest.mark.exhaustive), "aiohttp")


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """Connections are counted here."""
    return own_sim


def environment() -> dict[str, str]:
    """In which forks.py can be run."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def run(scenario: str, kind: str, sim: Simulator) -> str:
    """What a program of forks.py prints, which must get every answer that it asks for."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.client.forks", scenario, kind, sim.base_url],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.mark.parametrize("kind", ONE_ASYNC)
@pytest.mark.sampled(2)
def test_a_fork_after_use(kind: str, sim: Simulator) -> None:
    """Parent and children ask on at once: each gets the answers to its own questions."""
    assert run("after_use", kind, sim) == ""
    assert len(sim.requests) == 1 + (CHILDREN + 1) * QUESTIONS
    assert settled(sim) == 0


@pytest.mark.parametrize("kind", ONE_ASYNC)
@pytest.mark.exhaustive
def test_children_of_children(kind: str, sim: Simulator) -> None:
    """They end as programs do, finalizers included, and leave the connections before theirs."""
    assert run("in_turn", kind, sim) == ""
    assert len(sim.requests) == 1 + 4 * QUESTIONS


@pytest.mark.parametrize("kind", ONE_ASYNC[1:])
def test_event_loops_of_their_own(kind: str, sim: Simulator) -> None:
    """`asyncio.run` in a child that was forked inside the parent's."""
    assert run("new_loops", kind, sim) == ""


@pytest.mark.parametrize("kind", ONE_ASYNC)
@pytest.mark.sampled(2)
def test_a_stream_that_is_open(kind: str, sim: Simulator) -> None:
    """It is the parent's, to its end; the child finds it broken, and asks what it wants."""
    sim.script(Fault.stream_stall(3, 1.0))
    assert run("streams", kind, sim) == "broken: StreamInterruptedError\n"


@pytest.mark.parametrize("forks", [3, pytest.param(100, marks=pytest.mark.exhaustive)])
def test_threads_in_the_middle_of_calls(forks: int, sim: Simulator) -> None:
    """The children lack them, with whatever they had locked, and ask on."""
    assert run("threads", str(forks), sim) == ""


# --- what becomes of the parent's connections ---------------------------------------------------


def steps(scenario: str, *arguments: str) -> Iterator[None]:
    """The steps of a program of forks.py: the next one begins when the caller asks for it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.client.forks", scenario, *arguments],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in program.stdout:
            assert line == "done\n"
            yield
            program.stdin.write("\n")
            program.stdin.flush()
    assert program.returncode == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_child_keeps_no_connection_open(kind: str, sim: Simulator) -> None:
    """What the parent closes is closed, also while a child that has inherited it lives."""
    program = steps("child_that_only_stays", kind, sim.base_url)
    assert [settled(sim, to=to) for to, _ in zip((1, 0), program, strict=True)] == [1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_child_closes_its_client(kind: str, sim: Simulator) -> None:
    """The parent's connection is the same as before, also where the child has asked or not."""
    program = steps("child_that_closes_its_client", kind, sim.base_url)
    assert [settled(sim, to=1) for _ in program] == [1, 1, 1]


def numbered(connections: list[int]) -> Callable[[socket.socket], None]:
    """A handler that keeps a connection, and answers each request with the connection's number."""

    def handler(connection: socket.socket) -> None:
        connections.append(0)
        body = b"%d" % len(connections)
        while head_of(connection):
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

    return handler


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("proxied", [False, True])
def test_tls_and_proxies(tls: bool, proxied: bool, tmp_path: Path) -> None:
    """Behind TLS or a proxy it is the same: the child says goodbye to neither."""
    certificates, proxy = tmp_path / "authority.pem", ""
    authority().cert_pem.write_to_path(str(certificates))
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(numbered([]), tls=tls))
        if proxied:
            # Without TLS a proxy answers itself, on a connection that it keeps.
            handler = tunnelling(server, []) if tls else numbered([])
            proxy = "http://" + stack.enter_context(serving(handler))
        url = f"{'https' if tls else 'http'}://localhost:{server.rpartition(':')[2]}/"
        assert len(list(steps("numbered_connections", url, proxy, str(certificates)))) == 1
