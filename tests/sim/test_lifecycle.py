"""Starting and stopping: prompt, quiet, and without leftovers."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

import openai
import pytest

from flextier.sim import Fault, Simulator, Weather

from .callers import LOST, Chat, eventually, raw


def threads() -> list[str]:
    """The names of the simulators' threads."""
    return [thread.name for thread in threading.enumerate() if thread.name == "flextier-sim"]


def test_it_serves_on_loopback_only(sim: Simulator) -> None:
    """The address is the loopback's, and the base URL ends in /v1."""
    assert sim.url.startswith("http://127.0.0.1:")
    assert sim.base_url == f"{sim.url}/v1"


def test_start_and_stop_without_a_context() -> None:
    """A simulator can be started, stopped and started again; stopping twice does nothing."""
    before = threads()
    simulator = Simulator()
    for _ in range(2):
        assert simulator.start() is simulator
        assert raw(simulator.url, "GET", "/v1/models").status == 200
        simulator.stop()
        simulator.stop()
    assert threads() == before


def test_unstarted_simulator_has_no_address() -> None:
    """Before it is started a simulator has no URL and no connections."""
    simulator = Simulator()
    assert simulator.connections == 0
    with pytest.raises(RuntimeError, match="not started"):
        _ = simulator.base_url


def test_starting_twice_is_an_error(sim: Simulator) -> None:
    """A simulator that serves cannot be started."""
    with pytest.raises(RuntimeError, match="started already"):
        sim.start()


def test_taken_port_is_an_error(sim: Simulator) -> None:
    """A port in use is an OSError, and the simulator can be stopped nevertheless."""
    port = int(sim.url.rpartition(":")[2])
    second = Simulator(port=port)
    with pytest.raises(OSError, match="in use"):
        second.start()
    second.stop()


def test_chosen_port_is_free_again_after_a_stop() -> None:
    """A port can be used again at once, although a client was connected."""
    with Simulator() as first:
        Chat(first.base_url).plain()
        port = int(first.url.rpartition(":")[2])
    with Simulator(port=port) as second:
        assert second.url.endswith(f":{port}")


@pytest.mark.parametrize("name", ["latency", "flex_latency"])
def test_negative_latency_is_an_error(name: str) -> None:
    """A latency below zero is an error that names it."""
    with pytest.raises(ValueError, match=f"^{name} must be"):
        Simulator(**{name: -1})


def stalled_plain(sim: Simulator) -> None:
    sim.script(Fault.stall())
    Chat(sim.base_url).plain()


def stalled_stream(sim: Simulator) -> None:
    sim.script(Fault.stream_stall(after=1))
    Chat(sim.base_url).stream()


def slow_answer(sim: Simulator) -> None:
    sim.weather = Weather(standard_latency=1000)
    Chat(sim.base_url).plain()


def trickling(sim: Simulator) -> None:
    sim.script(Fault.trickle(1000))
    Chat(sim.base_url).plain()


def unfinished_request(sim: Simulator) -> None:
    host, port = sim.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v1/responses HTTP/1.1\r\nauthorization: k\r\ncontent-length: 9\r\n\r\n"
        )
        client.recv(1)
        raise ConnectionError


@pytest.mark.parametrize(
    "open_request", [stalled_plain, stalled_stream, slow_answer, trickling, unfinished_request]
)
def test_stop_is_prompt_with_requests_open(
    open_request: Callable[[Simulator], None], caplog: pytest.LogCaptureFixture
) -> None:
    """Stopping drops every open request at once, and leaves no thread, task or log behind."""
    before = threads()
    lost: list[Exception] = []

    def work(sim: Simulator) -> None:
        try:
            open_request(sim)
        except (*LOST, OSError) as error:
            lost.append(error)

    with Simulator() as sim, caplog.at_level(logging.DEBUG, "asyncio"):
        workers = [threading.Thread(target=work, args=(sim,)) for _ in range(3)]
        for worker in workers:
            worker.start()
        assert eventually(lambda: sim.in_flight == 3)
        began = time.monotonic()
        sim.stop()
        assert time.monotonic() - began < 100, "a tenth of what the requests would take"
    for worker in workers:
        worker.join()
    assert len(lost) == 3
    assert threads() == before
    assert sim.in_flight == 0
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_several_simulators_at_once() -> None:
    """Two simulators in one process have their own address, weather and books."""
    with Simulator() as open_one, Simulator(Weather(slots=0)) as shut_one:
        Chat(open_one.base_url).plain(service_tier="flex")
        with pytest.raises(openai.RateLimitError):
            Chat(shut_one.base_url).plain(service_tier="flex")
        assert open_one.stats()["outcomes"] == {"flex": {"served": 1}}
        assert shut_one.stats()["outcomes"] == {"flex": {"refused": 1}}


def test_connections_are_those_open_now(sim: Simulator) -> None:
    """A client's kept-alive connection counts until the client is closed."""
    assert eventually(lambda: sim.connections == 0)
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        client.models.list()
        client.models.list()
        assert sim.connections == 1
    assert eventually(lambda: sim.connections == 0)


def test_books_can_be_read_after_the_stop() -> None:
    """What happened stays readable when the simulator has stopped."""
    with Simulator() as sim:
        Chat(sim.base_url).plain()
    assert [request.outcome for request in sim.requests] == ["served"]
    assert sim.stats()["connections"] == 0


def test_script_from_many_threads(sim: Simulator) -> None:
    """Faults scripted by many threads are each used once."""
    body = Chat(sim.base_url).body({})

    def work() -> None:
        for _ in range(10):
            sim.script(Fault.refuse())
            raw(sim.url, "POST", Chat.path, body)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sim.stats()["outcomes"] == {"standard": {"refused": 60}}
