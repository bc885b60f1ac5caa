"""Connections that break, gateways that end, callers that leave: nothing is lost or paid twice."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, track, wrap
from flextier.errors import GatewayUnavailable
from flextier.gateway import call as gateway_call
from flextier.gateway.call import GatewayCall
from flextier.sim import BatchWeather, Fault, Simulator, Weather
from tests.client.callers import FAST, KEY, Caller
from tests.gateway.conftest import Seen
from tests.gateway.relay import relay
from tests.serve.conftest import Served, gateway
from tests.serve.test_operation import command

pytestmark = pytest.mark.sampled(3)

ASK: Any = {"model": "gpt-5-mini", "input": "Why is it blue?"}


def begun(caller: Caller, sim: Simulator, url: str, **policy: Any) -> Future[Any]:
    """A call in a thread, which is upstream by now."""
    pool = ThreadPoolExecutor(1)
    made = pool.submit(caller, sim.base_url, FAST.replace(gateway=url, **policy))
    while not sim.requests:
        if made.done():
            made.result()
        time.sleep(0.002)
    pool.shutdown(wait=False)
    return made


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_connection_that_is_lost_while_the_call_waits(
    caller: Caller, shared: Served, sim: Simulator
) -> None:
    """The call is joined again by its id."""
    sim.script(Fault.refuse(), Fault.stall(0.4))
    with relay(shared.url) as between:
        made = begun(caller, sim, between.url)
        while len(sim.requests) < 2:
            time.sleep(0.002)
        between.cut()
        outcome = made.result()
    assert outcome.text
    assert outcome.outcomes == ["capacity", "served"]
    assert sim.paid()["payments"] == 1


def test_a_stream_goes_on_where_it_broke(
    stream: Caller, shared: Served, sim: Simulator, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rest is asked for; each event is handed over once."""
    has_begun, new_bytes = threading.Event(), GatewayCall._new_bytes

    def noted(call: GatewayCall, part: bytes) -> bytes:
        has_begun.set()
        return new_bytes(call, part)

    monkeypatch.setattr(GatewayCall, "_new_bytes", noted)
    sim.script(Fault.stream_stall(9, seconds=0.4))
    with relay(shared.url) as between:
        made = begun(stream, sim, between.url)
        assert has_begun.wait(60)
        between.cut()
        broken = made.result()
    sim.reset()
    assert broken.text == stream(sim.base_url, FAST).text
    assert broken.report.usage is not None
    methods = [line.split("/")[0] for line, _ in seen]
    assert methods.count("POST ") == 1


def test_a_gateway_that_is_started_again(caller: Caller, sim: Simulator) -> None:
    """Its calls are made again, once it is back."""
    sim.script(Fault.stall())
    port = free_port()
    with gateway(sim, port=port, drain=0) as first:
        made = begun(caller, sim, first.url)
    with gateway(sim, port=port):
        outcome = made.result()
    assert outcome.text
    assert outcome.outcomes == ["served"]


def test_a_gateway_that_does_not_come_back(
    caller: Caller, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error after a while, or the call goes on by itself."""
    monkeypatch.setattr(gateway_call, "LOST", 0.3)

    def lost(fallback: str) -> Any:
        sim.reset()
        sim.script(Fault.stall())
        with gateway(sim, drain=0) as served:
            made = begun(caller, sim, served.url, gateway_fallback=fallback, patience=0.3)
        return made.result()

    outcome = lost("error")
    assert isinstance(outcome.error, GatewayUnavailable)
    assert outcome.report.error == "GatewayUnavailable"
    with pytest.warns(UserWarning, match="go on without their gateway"):
        assert lost("local").text


def test_a_full_gateway_is_waited_for(sim: Simulator) -> None:
    """Its 503 is no error."""
    sim.script(Fault.stall(0.2))

    async def run(url: str) -> list[Any]:
        policy = FAST.replace(gateway=url)
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
            return await asyncio.gather(*(client.responses.create(**ASK) for _ in range(3)))

    with gateway(sim, max_calls=1) as served:
        assert len(asyncio.run(run(served.url))) == 3


def cancelled(seen: Seen) -> bool:
    """Whether a call was cancelled at the gateway."""
    return any(line.startswith("DELETE /flextier/calls/") for line, _ in seen)


@pytest.mark.parametrize("way", ["task", "scope"])
def test_a_task_that_is_cancelled(way: str, shared: Served, sim: Simulator, seen: Seen) -> None:
    """Its call is cancelled at the gateway at once, and is reported as such."""
    sim.script(Fault.stall())

    async def cancel(call: Any) -> None:
        while not sim.requests:
            await asyncio.sleep(0.002)
        call.cancel()

    async def run() -> Any:
        policy = FAST.replace(gateway=shared.url)
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
            with track() as calls, anyio.CancelScope() as scope:
                if way == "scope":
                    soon = asyncio.ensure_future(cancel(scope))
                    await client.responses.create(**ASK)
                    await soon
                task = asyncio.ensure_future(client.responses.create(**ASK))
                await cancel(task)
                await asyncio.wait({task})
            return calls

    [report] = asyncio.run(run())
    assert report.attempts[-1].outcome == "cancelled"
    assert report.error == "CancelledError"
    assert cancelled(seen)


def test_a_stream_that_is_closed(
    stream: Caller, shared: Served, sim: Simulator, seen: Seen
) -> None:
    """Its call is cancelled at the gateway, and is reported as such."""
    sim.script(Fault.stream_stall(4))
    options: Any = {
        "base_url": sim.base_url, "api_key": KEY, "policy": FAST.replace(gateway=shared.url)
    }  # fmt: skip
    body: Any = {"model": "o3", "stream": True}
    body |= {"messages": [{"role": "user", "content": "?"}]} if stream.api == "chat" else ASK

    async def run() -> None:
        async with AsyncFlexOpenAI(**options) as client:
            resource: Any = client.chat.completions if stream.api == "chat" else client.responses
            events = await resource.create(**body)
            await anext(events)
            await events.close()

    with track() as calls:
        if stream.is_async:
            asyncio.run(run())
        else:
            with FlexOpenAI(**options) as client:
                resource: Any = (
                    client.chat.completions if stream.api == "chat" else client.responses
                )
                events = resource.create(**body)
                next(events)
                events.close()
    [report] = calls
    assert report.attempts[-1].outcome == "cancelled"
    assert cancelled(seen)


@pytest.mark.parametrize("end", ["handed over", "killed"])
def test_a_batch_outlives_its_gateway(
    end: str, sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client waits for the next start, which finds the batch by the call's id: paid once."""
    sim.weather = Weather(batch=BatchWeather(seconds=1.0))
    journal = str(tmp_path / "journal.db")
    policy: dict[str, Any] = {"batch_window": 0.2, "batch_poll_interval": 0.1, "deadline": "8h"}
    port = free_port()

    def ask() -> Any:
        fields: Any = {**policy, "lanes": "batch", "gateway": f"http://127.0.0.1:{port}"}
        with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=fields) as client:
            return client.responses.create(**ASK)

    def submitted() -> None:
        # It is polled, so its id is in the journal.
        while not any(request.path.startswith("/v1/batches/") for request in sim.requests):
            time.sleep(0.005)

    options: Any = {"policy": {**policy, "journal": journal}, "port": port, "drain": 0}
    with ThreadPoolExecutor(1) as pool, track() as calls:
        if end == "killed":
            with command(sim, "--journal", journal, "--port", str(port)) as (process, _):
                asked = pool.submit(wrap(ask))
                submitted()
                process.kill()
        else:
            with gateway(sim, **options):
                asked = pool.submit(wrap(ask))
                submitted()
        with gateway(sim, **options):
            assert asked.result().output_text
    assert calls[0].lane == "batch"
    assert sim.paid()["payments"] == 1
