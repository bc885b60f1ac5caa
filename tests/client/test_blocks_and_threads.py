"""Blocks and the threads, pools and event loops that they reach, over real sockets."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest

import flextier
from flextier import (
    AsyncFlexOpenAI,
    BudgetExceeded,
    FlexOpenAI,
    FlexPolicy,
    budget,
    override,
    track,
    wrap,
)
from flextier.calls import blocks
from flextier.calls.budget import PROCESS
from flextier.costs import CallRecord, record_calls
from flextier.sim import Simulator
from tests.client.callers import FAST, KEY, MESSAGES

CALLS = 20
NUMBERS = range(CALLS)

Ask = Callable[[int], str]


@pytest.fixture
def client(sim: Simulator) -> Iterator[FlexOpenAI]:
    """A client that all threads share."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        yield client


@pytest.fixture
def ask(client: FlexOpenAI) -> Ask:
    """One plain chat call; the lane that it was requested on."""

    def ask(number: int) -> str:
        answer = client.chat.completions.create(model="o3", messages=MESSAGES)
        return str(answer.service_tier)

    return ask


@pytest.fixture(autouse=True)
def nothing_logged() -> Iterator[None]:
    """What other tests have logged is not known here."""
    blocks._logged.clear()
    yield
    blocks._logged.clear()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The lines that flextier has logged."""
    caplog.set_level(logging.WARNING, "flextier")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "flextier"]


def in_pool(ask: Ask) -> list[str]:
    """The answers of a plain pool, which carries no context."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(ask, NUMBERS))


def in_executor(ask: Ask) -> list[str]:
    """The same by ``run_in_executor``, which carries none either."""

    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(4) as pool:
            return await asyncio.gather(*(loop.run_in_executor(pool, ask, n) for n in NUMBERS))

    return asyncio.run(run())


def by_submit(ask: Ask) -> list[str]:
    """The same, call by call."""
    with ThreadPoolExecutor(4) as pool:
        return [future.result() for future in [pool.submit(ask, n) for n in NUMBERS]]


in_threads = pytest.mark.parametrize("run", [in_pool, in_executor, by_submit])


# --- wrap() -----------------------------------------------------------------------------------


@in_threads
def test_a_wrapped_function_is_inside_all_four_blocks(
    run: Callable[[Ask], list[str]], ask: Ask, logged: Any
) -> None:
    """Reports, totals, spending and knobs, from whatever threads the calls are made in."""
    with (
        budget(100) as spending,
        track() as calls,
        record_calls() as totals,
        override(lanes=("standard",)),
    ):
        answers = run(wrap(ask))
    assert answers == ["default"] * CALLS
    assert len(calls) == totals.calls == CALLS
    assert {call.lane for call in calls} == {"standard"}
    assert spending.spent == totals.cost > 0
    assert logged() == []


def test_a_wrapped_function_is_stopped_by_the_budget(ask: Ask) -> None:
    """The budget is that of the block, for all threads together."""
    with budget("0.000001"), ThreadPoolExecutor(1) as pool:
        pool.submit(wrap(ask), 0).result()
        with pytest.raises(BudgetExceeded):
            pool.submit(wrap(ask), 1).result()


def test_a_wrapped_coroutine_function(sim: Simulator) -> None:
    """It runs inside the blocks in another thread's event loop, with the tasks that it starts."""

    async def ask(count: int) -> int:
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
            create = partial(client.chat.completions.create, model="o3", messages=MESSAGES)
            await create()
            with override(lanes=("standard",)):
                await asyncio.gather(*(create() for _ in range(count)))
            return count

    with track() as calls:
        wrapped = wrap(ask)
        assert inspect.iscoroutinefunction(wrapped)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: asyncio.run(wrapped(3))).result() == 3
    assert [call.lane for call in calls] == ["flex"] + ["standard"] * 3


PLACE: ContextVar[str] = ContextVar("place", default="elsewhere")


def elsewhere(function: Callable[[], Any]) -> Any:
    """What a function returns in a thread of its own; a coroutine is run to its end there."""

    def run() -> Any:
        result = function()
        return asyncio.run(result) if asyncio.iscoroutine(result) else result

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


async def where() -> str:
    """The place, after a moment."""
    await asyncio.sleep(0)
    return PLACE.get()


class Where:
    """An object that is called, and awaited."""

    async def __call__(self) -> str:
        """The place."""
        return await where()


@pytest.mark.parametrize(
    "function", [PLACE.get, where, lambda: where(), partial(where), Where(), Where().__call__]
)
def test_every_callable_runs_where_it_was_wrapped(function: Any) -> None:
    """Functions, methods, partials, objects, and what returns a coroutine."""
    token = PLACE.set("here")
    wrapped = wrap(function)
    PLACE.reset(token)
    assert elsewhere(wrapped) == elsewhere(wrapped) == "here"


def test_each_call_has_a_copy_of_the_context() -> None:
    """Calls at the same time do not see what others set, nor does the code around."""
    both = threading.Barrier(2)

    def move(place: str) -> str:
        before = PLACE.get()
        PLACE.set(place)
        both.wait(30)
        return f"{before} {PLACE.get()}"

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrap(move), "ab")) == ["elsewhere a", "elsewhere b"]
    assert PLACE.get() == "elsewhere"


def test_a_wrapped_function_may_call_itself() -> None:
    """A context cannot be entered twice; each call enters a copy."""

    def count(left: int) -> int:
        return 0 if left == 0 else 1 + wrapped(left - 1)

    wrapped = wrap(count)
    assert wrapped(5) == 5


async def test_a_wrapped_coroutine_ends_as_its_own() -> None:
    """Errors come out, and a cancellation goes in."""
    cancelled = []

    async def wait() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.append(PLACE.get())
            raise

    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("of the function")

    token = PLACE.set("here")
    wrapped = wrap(wait)
    PLACE.reset(token)
    with pytest.raises(KeyError, match="of the function"):
        await wrap(fail)()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(wrapped(), 0.01)
    assert cancelled == ["here"]


def test_a_generator_function_cannot_be_wrapped() -> None:
    """Its body runs where it is iterated, whatever the context that it was called in."""

    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="iterates"):
        wrap(numbers)


def test_wrapped_functions_keep_their_name() -> None:
    """As with ``functools.wraps``; objects without a name can be wrapped, too."""
    assert wrap(elsewhere).__name__ == "elsewhere"
    assert wrap(partial(elsewhere, PLACE.get))() == "elsewhere"


# --- scope="process" --------------------------------------------------------------------------


@in_threads
def test_process_wide_blocks_see_the_calls_of_all_threads(
    run: Callable[[Ask], list[str]], ask: Ask, logged: Any
) -> None:
    """Those of plain pools, which no block's context reaches."""
    records: list[CallRecord] = []
    ask(0)
    with (
        track(scope="process") as calls,
        record_calls(records.append, tags=["nightly"], scope="process") as totals,
    ):
        run(ask)
    ask(0)
    assert len(calls) == totals.calls == len(records) == CALLS
    assert [call.id for call in calls] == [record.call_id for record in records]
    assert totals.by_tag["nightly"].calls == CALLS
    assert logged() == []


def test_a_call_inside_both_kinds_of_blocks(ask: Ask) -> None:
    """Each gets it once, the one around the call first."""
    seen: list[str] = []
    with (
        record_calls(lambda record: seen.append("process"), scope="process"),
        record_calls(lambda record: seen.append("context")),
        track(scope="process") as outer,
        track(scope="process") as inner,
    ):
        ask(0)
    assert seen == ["context", "process"]
    assert [call.id for call in outer] == [call.id for call in inner]


async def test_process_wide_blocks_see_other_event_loops(sim: Simulator) -> None:
    """Also tasks that began before the block."""
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
            await client.responses.create(model="o3", input="Hi.")

    task = asyncio.create_task(later())
    await asyncio.sleep(0)
    with track(scope="process") as calls, track() as mine:
        go.set()
        await task
        await asyncio.to_thread(asyncio.run, later_alone(sim))
    assert (len(calls), len(mine)) == (2, 1)


async def later_alone(sim: Simulator) -> None:
    """A call in an event loop of its own."""
    async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        await client.responses.create(model="o3", input="Hi.")


@pytest.mark.parametrize("block", [track, record_calls])
def test_an_unknown_scope(block: Any) -> None:
    """The message says which there are."""
    with pytest.raises(ValueError, match='"context" or "process"'), block(scope="thread"):
        pass


def test_the_policys_budget_reaches_all_threads(sim: Simulator) -> None:
    """``FlexPolicy.budget`` is what ``budget()`` is not: of the whole process."""
    PROCESS.reset()
    policy = FAST.replace(budget="0.000001")
    try:
        with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:

            def ask(number: int) -> str:
                client.chat.completions.create(model="o3", messages=MESSAGES)
                return ""

            with pytest.raises(BudgetExceeded, match="FLEXTIER_BUDGET"):
                in_pool(ask)
    finally:
        PROCESS.reset()


# --- the log line -----------------------------------------------------------------------------

BLOCKS: dict[str, Callable[[], Any]] = {
    "track": track,
    "record_calls": record_calls,
    "budget": lambda: budget(1),
    "override": lambda: override(deadline=60),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_that_calls_passed_by(name: str, ask: Ask, logged: Any) -> None:
    """One line says so, and names the ways out."""
    with BLOCKS[name]():
        in_pool(ask)
    (line,) = logged()
    assert line.startswith(f"{name}() saw no call, but {CALLS} ran meanwhile")
    assert f"{__file__}:" in line
    assert 'track(scope="process")' in line
    assert "flextier.wrap(function)" in line


def test_blocks_in_blocks_log_one_line(ask: Ask, logged: Any) -> None:
    """The innermost one speaks for all; and no line of code does so twice."""
    for _ in range(3):
        with ExitStack() as stack:
            for block in BLOCKS.values():
                stack.enter_context(block())
            in_pool(ask)
    assert len(logged()) == 1
    assert logged()[0].startswith("override()")


def test_a_block_inside_one_that_saw_a_call(ask: Ask, logged: Any) -> None:
    """Each block counts for itself."""
    with record_calls():
        ask(0)
        with track():
            in_pool(ask)
    assert len(logged()) == 1


@pytest.mark.parametrize("inside", [0, 1])
def test_no_line_without_need(inside: int, ask: Ask, logged: Any) -> None:
    """A block that saw a call, and one during which none was made; calls in blocks of their own."""

    def tracked(number: int) -> str:
        with track():
            return ask(number)

    with track() as calls:
        for _ in range(inside):
            ask(0)
            in_pool(ask)
        in_pool(tracked)
    assert len(calls) == inside
    assert logged() == []


def test_langchains_own_listeners_are_no_blocks(sim: Simulator, logged: Any) -> None:
    """A call of a framework in a plain thread is in no block, either."""
    from flextier.langchain import ChatOpenAIFlex

    model = ChatOpenAIFlex(model="o3", base_url=sim.base_url, api_key=KEY, policy=FAST)
    with track() as calls:
        in_pool(lambda number: str(model.invoke("Hi.").content))
    assert calls == []
    assert len(logged()) == 1


def test_langchains_cost_callback(sim: Simulator, logged: Any) -> None:
    """It is a block; calls of other classes count as seen."""
    from langchain_openai import ChatOpenAI

    from flextier.langchain import ChatOpenAIFlex, get_flex_cost_callback

    model, stock = (
        made(model="o3", base_url=sim.base_url, api_key=KEY)  # type: ignore[operator]
        for made in (ChatOpenAIFlex, ChatOpenAI)
    )
    for seen in (0, 1):
        with get_flex_cost_callback() as costs:
            in_pool(lambda number: str(model.invoke("Hi.").content))
            for _ in range(seen):
                stock.invoke("Hi.")
        assert costs.totals.calls == seen
    assert len(logged()) == 1
    assert logged()[0].startswith(f"get_flex_cost_callback() saw no call, but {CALLS} ran")


def test_wrap_is_public() -> None:
    """It is a name of the package."""
    assert flextier.wrap is wrap
    assert FlexPolicy.model_fields["budget"]
