"""A forked child opens its own connections, and its parent's go on."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flextier.sim import Fault, Simulator
from flextier.transport import sync_http_client
from tests.client.callers import settled
from tests.client.forks import CHILDREN, KINDS, QUESTIONS, Caller
from tests.client.servers import authority, head_of, serving, tunnelling

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork"),
    # Python 3.12 and later: the simulator is a thread of the process that forks.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]
ONE_ASYNC = ("sync", pytest.param("httpx", marks=pytest.mark.exhaustive), "aiohttp")


@pytest.fixture
def sim(own_sim: Simulator) -> Simulator:
    """Connections are counted here."""
    return own_sim


def run(scenario: str, kind: str, sim: Simulator) -> str:
    """What a program of forks.py prints, which must get every answer that it asks for."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    ended = subprocess.run(
        [sys.executable, "-m", "tests.client.forks", scenario, kind, sim.base_url],
        env={**os.environ, "PYTHONPATH": path},
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


@contextlib.contextmanager
def child(work: Callable[[], Any]) -> Iterator[int]:
    """A child that does some work and stays until the block ends; it must do so well."""
    stays, end = os.pipe()
    started, starts = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(end)
            work()
            os.write(starts, b"done")
            os.read(stays, 1)
            status = 0
        except BaseException:  # noqa: BLE001 - shown, and the status says so
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    for descriptor in (stays, starts):
        os.close(descriptor)
    try:
        assert os.read(started, 4) == b"done"
        yield pid
    finally:
        os.close(end)
        os.close(started)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_child_keeps_no_connection_open(kind: str, sim: Simulator) -> None:
    """What the parent closes is closed, also while a child that has inherited it lives."""
    caller = Caller(kind, sim.base_url)
    caller.ask("Of the parent?")
    assert sim.connections == 1
    with child(lambda: None):
        caller.wait(caller.client.close())
        assert settled(sim) == 0
    caller.end()


@pytest.mark.parametrize("kind", KINDS)
def test_the_child_closes_its_client(kind: str, sim: Simulator) -> None:
    """The parent's connection is the same as before, also where the child has asked or not."""
    caller = Caller(kind, sim.base_url)
    for asks in (False, True):
        caller.ask("Of the parent?")

        def work(asks: bool = asks) -> None:
            if asks:
                caller.ask("Of the child?")
            caller.wait(caller.client.close())

        with child(work):
            assert settled(sim, to=1) == 1
    caller.ask("Of the parent?")
    assert settled(sim, to=1) == 1
    caller.wait(caller.client.close())
    caller.end()


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
def test_tls_and_proxies(tls: bool, proxied: bool) -> None:
    """Behind TLS or a proxy it is the same: the child says goodbye to neither."""
    verify = ssl.create_default_context()
    authority().configure_trust(verify)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(numbered([]), tls=tls))
        port = server.rpartition(":")[2]
        settings: dict[str, Any] = {}
        if proxied:
            # Without TLS a proxy answers itself, on a connection that it keeps.
            handler = tunnelling(server, []) if tls else numbered([])
            settings["proxy"] = "http://" + stack.enter_context(serving(handler))
        client = stack.enter_context(sync_http_client(verify=verify, **settings))
        url = f"{'https' if tls else 'http'}://localhost:{port}/"

        def connection() -> int:
            return int(client.get(url).text)

        def work(number: int) -> None:
            assert [connection(), connection()] == [number, number]
            client.close()

        assert connection() == 1
        for number in (2, 3):
            with child(lambda number=number: work(number)):  # type: ignore[misc]
                assert connection() == 1
            assert connection() == 1
