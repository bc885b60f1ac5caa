"""One LLM used from everywhere at once: nothing is lost, and the wire saw what the reports say."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flextier import CallReport, override, track
from flextier.llama_index import OpenAIFlex
from flextier.sim import Fault, Simulator, Weather
from tests.client.callers import FAST
from tests.llama_index.callers import CHAT, PROMPT, aclosed, closed
from tests.llama_index.llms import OURS, make

pytestmark = pytest.mark.sampled(2)

over_classes = pytest.mark.parametrize("cls", OURS)

THREADS = 16
RAINY = Weather(refuse=0.3)


def _in_threads(work: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    """Return the results of ``work(n)`` from threads that start at the same time."""
    barrier = threading.Barrier(threads)

    def run(number: int) -> Any:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def _report_of(answer: Any) -> dict[str, Any]:
    report: dict[str, Any] = answer.additional_kwargs["flextier"]
    return report


def _check(answers: list[Any], sim: Simulator) -> None:
    """Every answer has a report of its own, and together they are what reached the wire."""
    attempts = [attempt for answer in answers for attempt in _report_of(answer)["attempts"]]
    ids = [attempt["request_id"] for attempt in attempts]
    assert all(answer.message.content for answer in answers)
    assert Counter(ids) == Counter(request.request_id for request in sim.requests)
    assert len(set(ids)) == len(ids)


@over_classes
def test_sixteen_threads(cls: Any, sim: Simulator) -> None:
    """Plain calls and streams of one LLM from 16 threads, on a lane that refuses one in three."""
    sim.weather = RAINY
    llm = make(cls, sim)

    def work(number: int) -> list[Any]:
        with track() as calls:
            answers = []
            for _ in range(4):
                answers.append(llm.chat(CHAT))
                answers.append(list(llm.stream_chat(CHAT))[-1])
        assert [call.to_dict() for call in calls] == [_report_of(one) for one in answers]
        return answers

    with closed(llm):
        answers = [one for some in _in_threads(work) for one in some]

    assert len(answers) == THREADS * 8
    _check(answers, sim)


@over_classes
def test_threads_share_the_first_client(cls: Any, sim: Simulator) -> None:
    """Threads that make the first call of an LLM at once are all answered."""
    llm = make(cls, sim)
    with closed(llm):
        answers = _in_threads(lambda _: llm.chat(CHAT))
    _check(answers, sim)


@over_classes
def test_settings_of_one_thread_stay_in_it(cls: Any, sim: Simulator) -> None:
    """`override` and `track` of a thread are no other thread's."""
    llm = make(cls, sim)

    def work(number: int) -> list[CallReport]:
        lane = ("flex", "standard")[number % 2]
        with override(lanes=(lane,)), track() as calls:
            llm.chat(CHAT)
            list(llm.stream_complete(PROMPT))
        assert [call.lane for call in calls] == [lane, lane]
        return calls

    with closed(llm):
        reports = [one for some in _in_threads(work) for one in some]

    assert len(reports) == len(sim.requests) == 2 * THREADS


@over_classes
def test_loops_one_after_another(cls: Any, sim: Simulator) -> None:
    """The LLM that one `asyncio.run` has used works in the next."""
    llm = make(cls, sim)

    async def ask() -> list[Any]:
        return [
            await llm.achat(CHAT),
            [one async for one in await llm.astream_chat(CHAT)][-1],
        ]

    answers = [one for _ in range(4) for one in asyncio.run(ask())]

    _check(answers, sim)


@over_classes
def test_loops_at_once(cls: Any, sim: Simulator) -> None:
    """Eight event loops in eight threads ask one LLM, beside sync calls of the same."""
    sim.weather = RAINY
    llm = make(cls, sim)

    async def ask() -> list[Any]:
        return list(await asyncio.gather(*(llm.achat(CHAT) for _ in range(5))))

    def work(number: int) -> list[Any]:
        return asyncio.run(ask()) if number % 2 else [llm.chat(CHAT) for _ in range(5)]

    with closed(llm):
        answers = [one for some in _in_threads(work) for one in some]

    assert len(answers) == THREADS * 5
    _check(answers, sim)


@over_classes
async def test_two_hundred_at_once(cls: Any, sim: Simulator) -> None:
    """200 calls at once on a rainy day: all answered, and no request without its attempt."""
    sim.weather = RAINY
    llm = make(cls, sim)
    async with aclosed(llm):
        with track() as calls:
            answers = list(await asyncio.gather(*(llm.achat(CHAT) for _ in range(200))))

    _check(answers, sim)
    assert Counter(str(call.to_dict()) for call in calls) == Counter(
        str(_report_of(one)) for one in answers
    )
    assert len(calls) == 200
    assert len(sim.requests) > 200


@over_classes
async def test_streams_at_once(cls: Any, sim: Simulator) -> None:
    """50 streams at once, read chunk by chunk in turns, each with a report of its own."""
    sim.weather = RAINY
    llm = make(cls, sim)

    async def last() -> Any:
        chunks = []
        async for chunk in await llm.astream_chat(CHAT):
            chunks.append(chunk)
            await asyncio.sleep(0)
        return chunks[-1]

    async with aclosed(llm):
        answers = list(await asyncio.gather(*(last() for _ in range(50))))

    _check(answers, sim)


@over_classes
async def test_failures_among_many_are_their_own(cls: Any, sim: Simulator) -> None:
    """Where some of many calls fail, each error has its report, and no answer is lost."""
    sim.script(*[Fault.quota()] * 10)
    llm = make(cls, sim)
    async with aclosed(llm):
        results = await asyncio.gather(
            *(llm.achat(CHAT) for _ in range(60)), return_exceptions=True
        )

    errors = [one for one in results if isinstance(one, BaseException)]
    reports = {id(error.report) for error in errors}  # type: ignore[attr-defined]
    assert len(errors) == len(reports) == 10
    assert len(results) == len(sim.requests) == 60


@pytest.mark.parametrize("fault", [Fault.stall(), Fault.refuse(retry_after=100)], ids=repr)
@pytest.mark.parametrize("stream", [False, True])
@over_classes
async def test_a_cancelled_call(cls: Any, stream: bool, fault: Fault, sim: Simulator) -> None:
    """Wherever a call is cancelled, it is gone at once, and its report says so."""
    sim.script(fault)
    before = asyncio.all_tasks()
    llm = make(cls, sim)

    async def ask() -> None:
        answer = await (llm.astream_chat(CHAT) if stream else llm.achat(CHAT))
        if stream:
            _ = [one async for one in answer]

    async with aclosed(llm):
        with track() as calls:
            task = asyncio.ensure_future(ask())
            while not sim.requests:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    assert asyncio.all_tasks() == before
    assert [call.served for call in calls] == [False]
    assert len(calls[0].attempts) == len(sim.requests) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_client_a_call(is_async: bool, sim: Simulator) -> None:
    """`reuse_client=False` makes a client for each call, and what lanes are known to be stays."""
    sim.script(Fault.refuse(retry_after=1000))
    llm = make(OpenAIFlex, sim, policy=FAST, reuse_client=False)

    async def ask() -> list[Any]:
        return list(await asyncio.gather(*(llm.achat(CHAT) for _ in range(8))))

    first = llm.chat(CHAT)
    answers = asyncio.run(ask()) if is_async else _in_threads(lambda _: llm.chat(CHAT), 8)

    assert _report_of(first)["fallback"] == "capacity"
    assert {_report_of(one)["lane"] for one in answers} == {"standard"}
    _check([first, *answers], sim)
