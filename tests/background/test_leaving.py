"""Who leaves a call: tasks that are cancelled, clients that are closed, programs that end."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from flextier import AsyncFlexOpenAI, ClientClosedError, FlexOpenAI, track
from flextier._openai.http_library import http
from flextier._utils.clock import Clock
from flextier.background import waiters
from flextier.background.waiters import waiters_of
from flextier.sim import BackgroundOutcome, Fault, Simulator
from tests.background.asking import (
    ALONE,
    ANSWER,
    LOOK,
    MODEL,
    POLICY,
    SLOW,
    Asker,
    CallOutcome,
    aask,
    ask,
    background,
    body_of,
    cancels,
    created,
    creations,
    looks,
    only,
    options,
    served,
    statuses,
)
from tests.batch.crowd import auntil, patch_all, until

Leave = Callable[[asyncio.Task[Any]], Awaitable[None]]


async def cancelled(task: asyncio.Task[Any]) -> None:
    """The plain way."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def moments(sim: Simulator) -> dict[str, tuple[list[Fault], Callable[[], Any]]]:
    """Where a call can be when it is left: what brings it there, and how that is seen."""
    return {
        "creation": ([Fault.serve(delay=0.3)], lambda: sim.in_flight),
        "look": ([Fault.stall().on(path=LOOK)], lambda: looks(sim)),
        "sleep": ([], lambda: looks(sim) >= 2 and not sim.in_flight),
    }


MOMENTS = ["creation", "look", "sleep"]


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_cancelled_task(moment: str, sim: Simulator) -> None:
    """The response is cancelled on the server before the cancellation goes on."""
    sim.weather = SLOW
    faults, is_there = moments(sim)[moment]
    sim.script(*faults)
    before = asyncio.all_tasks()
    with track() as calls:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            task = asyncio.ensure_future(client.responses.create(**body_of({})))
            await auntil(is_there)
            await cancelled(task)
            assert statuses(sim) == {"cancelled": 1}
            assert asyncio.all_tasks() == before
    assert (creations(sim), cancels(sim), served(sim)) == (1, 1, {})
    assert [one.outcome for one in only(calls).attempts] == ["cancelled"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout")
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_timeout_around_a_call(moment: str, sim: Simulator) -> None:
    """asyncio.timeout ends it with its own error."""
    sim.weather = SLOW
    sim.script(*moments(sim)[moment][0])
    async with AsyncFlexOpenAI(**options(sim)) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.responses.create(**body_of({}))
        assert (creations(sim), statuses(sim)) == (1, {"cancelled": 1})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_scope_around_a_call(moment: str, backend: str, sim: Simulator) -> None:
    """anyio's and trio's scopes, which cancel again whatever goes on."""
    sim.weather = SLOW
    sim.script(*moments(sim)[moment][0])

    async def main() -> bool:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            with anyio.move_on_after(0.2) as scope:
                await client.responses.create(**body_of({}))
            return scope.cancelled_caught

    assert anyio.run(main, backend=backend)
    assert (creations(sim), statuses(sim)) == (1, {"cancelled": 1})


def test_an_answer_under_trio(sim: Simulator) -> None:
    """The lane works there, too."""

    async def main() -> CallOutcome:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            return await aask(client)

    outcome = anyio.run(main, backend="trio")
    assert (outcome.text, outcome.attempts) == (ANSWER, ["background-2h:served"])


DIRECT: dict[str, Any] = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "background": False,
    "model": MODEL,
    "output": [],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}


@pytest.mark.parametrize(("answer", "lane"), [(DIRECT, "standard"), ({}, "background-2h")])
async def test_cancelled_as_it_was_answered_directly(answer: Any, lane: str) -> None:
    """A server without background mode answers at once, or nonsense: the task is cancelled."""
    asked = asyncio.Event()

    async def handle(request: Any) -> Any:
        asked.set()
        await asyncio.sleep(0.05)
        return http.Response(200, json=answer)

    own = http.AsyncClient(transport=http.MockTransport(handle))
    with track() as calls:
        async with AsyncFlexOpenAI(**options("http://sim/v1", http_client=own)) as client:
            task = asyncio.ensure_future(client.responses.create(**body_of({})))
            await asked.wait()
            await cancelled(task)
    report = only(calls)
    assert report.lane == lane
    assert (report.usage is not None) == bool(answer)  # it is paid for


async def test_cancelled_when_it_had_finished(sim: Simulator) -> None:
    """What is paid for counts as paid in the report."""
    sim.weather = SLOW
    sim.script_background(BackgroundOutcome.outrun())
    with track() as calls:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            task = asyncio.ensure_future(client.responses.create(**body_of({})))
            await auntil(lambda: looks(sim))
            await cancelled(task)
    report = only(calls)
    assert [one.outcome for one in report.attempts] == ["served"]
    assert (report.lane, served(sim)) == ("background-2h", {"background-2h": 1})
    assert report.usage is not None
    assert report.usage.output_tokens > 0


async def test_cancelled_twice(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot wait for the server's word, need not."""
    patch_all(monkeypatch, "_CANCELLED_TIMEOUT", 600.0, "flextier.background")
    sim.weather = background(seconds=1_000.0, cancelling=1_000.0)
    async with AsyncFlexOpenAI(**options(sim)) as client:
        task = asyncio.ensure_future(client.responses.create(**body_of({})))
        await auntil(lambda: looks(sim))
        task.cancel()
        await auntil(lambda: cancels(sim))
        begun = time.monotonic()
        await cancelled(task)
        assert time.monotonic() - begun < 300.0


async def test_cancelled_while_the_creation_stalls(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether something is being created is waited for, but not without end."""
    patch_all(monkeypatch, "_CANCELLED_TIMEOUT", 0.2, "flextier.background")
    sim.script(Fault.stall())
    async with AsyncFlexOpenAI(**options(sim)) as client:
        task = asyncio.ensure_future(client.responses.create(**body_of({})))
        await auntil(lambda: sim.in_flight)
        begun = time.monotonic()
        await cancelled(task)
        assert time.monotonic() - begun > 0.15


def test_interrupted_in_its_sleep(sim: Simulator) -> None:
    """Ctrl-C between two looks cancels the response, and is raised."""
    sim.weather = SLOW
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    with FlexOpenAI(**options(sim, clock=Clock(sleep=sleep))) as client:
        outcome = ask(client)
    assert isinstance(outcome.error, KeyboardInterrupt)
    assert (looks(sim), cancels(sim), statuses(sim)) == (2, 1, {"cancelled": 1})
    assert outcome.attempts == ["background-2h:cancelled"]


def test_a_loop_that_ends(sim: Simulator) -> None:
    """asyncio.run cancels what is left; so does this."""
    sim.weather = SLOW

    async def main() -> None:
        client = AsyncFlexOpenAI(**options(sim))
        task = asyncio.ensure_future(client.responses.create(**body_of({})))
        await auntil(lambda: looks(sim))
        assert not task.done()

    asyncio.run(main())
    assert (cancels(sim), statuses(sim)) == (1, {"cancelled": 1})


@pytest.mark.parametrize("where", ["in-a-look", "between-looks"])
def test_a_loop_that_stops_working(
    where: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who closes the client afterwards does not wait for calls of a loop that was closed."""
    monkeypatch.setattr(waiters, "_CLOSE_TIMEOUT", 600.0)
    sim.weather = SLOW
    if where == "in-a-look":
        sim.script(Fault.stall().on(path=LOOK))
    client = AsyncFlexOpenAI(**options(sim))
    loop = asyncio.new_event_loop()
    task = loop.create_task(client.responses.create(**body_of({})))

    async def begun() -> None:
        await auntil(lambda: looks(sim))
        await asyncio.sleep(0.05)

    loop.run_until_complete(begun())
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # the test knows
    loop.close()
    started = time.monotonic()
    asyncio.run(client.close())
    assert time.monotonic() - started < 300.0
    assert waiters_of(client._client).empty


# --- clients that are closed ------------------------------------------------------------------


def in_thread(call: Callable[[], Any]) -> Any:
    """A call in a thread; returns what gives its result."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(call()))
    thread.start()

    def result() -> Any:
        thread.join()
        return answers[0]

    return result


def closed_meanwhile(
    asker: Asker, sim: Simulator, when: Callable[[], Any], **made: Any
) -> tuple[CallOutcome, Any]:
    """A call whose client is closed by another thread; its outcome, and the last request."""
    given = options(sim, **made)
    if not asker.is_async:
        client = FlexOpenAI(**given)
        result = in_thread(lambda: ask(client))
        until(when)
        client.close()
        return result(), sim.requests[-1]

    async def main() -> CallOutcome:
        aclient = AsyncFlexOpenAI(**given)
        task = asyncio.ensure_future(aask(aclient))
        await auntil(when)
        await aclient.close()
        return await task

    return asyncio.run(main()), sim.requests[-1]


def test_a_closed_client(asker: Asker, sim: Simulator) -> None:
    """The response is cancelled, and the call ends; nothing is asked for on another lane."""
    sim.weather = SLOW
    outcome, last = closed_meanwhile(asker, sim, lambda: looks(sim))
    assert isinstance(outcome.error, ClientClosedError)
    assert "closed" in str(outcome.error)
    assert last.path.endswith("/cancel")
    assert (created(sim), statuses(sim), served(sim)) == (1, {"cancelled": 1}, {})


def test_a_client_that_is_closed_during_the_creation(asker: Asker, sim: Simulator) -> None:
    """Closing waits for what is being created, and has it cancelled."""
    sim.weather = SLOW
    sim.script(Fault.serve(delay=0.2))
    outcome, _ = closed_meanwhile(asker, sim, lambda: sim.in_flight)
    assert isinstance(outcome.error, ClientClosedError)
    assert statuses(sim) == {"cancelled": 1}


def test_a_closed_client_whose_call_was_done(asker: Asker, sim: Simulator) -> None:
    """What had finished by then is handed over."""
    sim.weather = SLOW
    sim.script_background(BackgroundOutcome.outrun())
    outcome, _ = closed_meanwhile(asker, sim, lambda: looks(sim))
    assert (outcome.text, outcome.attempts) == (ANSWER, ["background-2h:served"])
    assert served(sim) == {"background-2h": 1}


def test_many_calls_of_a_closed_client(sim: Simulator) -> None:
    """All of them are cancelled."""
    sim.weather = SLOW

    async def main() -> list[Any]:
        client = AsyncFlexOpenAI(**options(sim))
        tasks = [asyncio.ensure_future(aask(client, input=f"What of {n}?")) for n in range(30)]
        await auntil(lambda: created(sim) == 30)
        await client.close()
        return await asyncio.gather(*tasks)

    outcome = asyncio.run(main())
    assert {type(one.error) for one in outcome} == {ClientClosedError}
    assert (cancels(sim), statuses(sim)) == (30, {"cancelled": 30})


def test_an_http_client_that_is_closed_under_it(asker: Asker, sim: Simulator) -> None:
    """No request can be sent any more: the call ends, and says why."""
    sim.weather = SLOW
    own = (http.AsyncClient if asker.is_async else http.Client)()
    given = options(sim, ALONE, http_client=own)
    if asker.is_async:

        async def main() -> CallOutcome:
            client = AsyncFlexOpenAI(**given)
            task = asyncio.ensure_future(aask(client))
            await auntil(lambda: looks(sim))
            await own.aclose()
            return await task

        outcome = asyncio.run(main())
    else:
        client = FlexOpenAI(**given)
        result = in_thread(lambda: ask(client))
        until(lambda: looks(sim))
        own.close()
        outcome = result()
    assert isinstance(outcome.error, ClientClosedError)
    assert outcome.possibly_billed == [True]
    assert (created(sim), statuses(sim)) == (1, {"in_progress": 1})


def test_a_copy_closes_for_all(sim: Simulator) -> None:
    """A copy shares the HTTP client: closing it ends the calls of the first one, too."""
    sim.weather = SLOW
    client = FlexOpenAI(**options(sim))
    result = in_thread(lambda: ask(client))
    until(lambda: looks(sim))
    client.with_options(policy=POLICY).close()
    assert isinstance(result().error, ClientClosedError)
    assert statuses(sim) == {"cancelled": 1}
