"""Background responses and the journal: nothing is paid for twice, and nothing is waited for that
was given up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, BackgroundDetached, ClientClosedError, FlexOpenAI, FlexPolicy
from flextier.batch import detach
from flextier.journal.reader import JournalReader
from flextier.sim import BackgroundOutcome, Fault, Simulator
from tests.background.asking import (
    ANSWER,
    CANCEL,
    LOOK,
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
    options,
    quick_clock,
    served,
    statuses,
)
from tests.background.test_leaving import in_thread
from tests.batch.conftest import forget
from tests.batch.crowd import auntil, patch_all, until

pytestmark = pytest.mark.sampled(2)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Where the journal is."""
    return str(tmp_path / "calls.db")


@pytest.fixture
def policy(path: str) -> FlexPolicy:
    """With a journal."""
    return POLICY.replace(journal=path)


def counts(path: str) -> dict[str, int]:
    """How many calls the journal knows, by state."""
    with JournalReader(path) as reader:
        return {state: number for state, number in reader.counts().items() if number}


def let_go(asker: Asker, sim: Simulator, policy: FlexPolicy, **changes: Any) -> CallOutcome:
    """A call that is detached while it waits; what came of it."""
    if not asker.is_async:
        with FlexOpenAI(**options(sim, policy)) as client:
            get_result = in_thread(lambda: ask(client, **changes))
            until(lambda: looks(sim))
            assert detach() == 1
            result: CallOutcome = get_result()
            return result

    async def main() -> CallOutcome:
        async with AsyncFlexOpenAI(**options(sim, policy)) as client:
            task = asyncio.ensure_future(aask(client, **changes))
            await auntil(lambda: looks(sim))
            assert detach() == 1
            return await task

    return asyncio.run(main())


def test_answers_are_replayed(asker: Asker, sim: Simulator, policy: FlexPolicy) -> None:
    """The same program again: nothing is sent, and nothing is paid for."""
    first = asker(sim, policy)
    forget()
    sent = len(sim.requests)
    again = asker(sim, policy)
    assert (again.text, again.report.lane, again.report.cost.total) == (ANSWER, "journal", 0)
    assert again.answer.id == first.answer.id
    assert (again.attempts, len(sim.requests)) == ([], sent)


def test_let_go_and_found_again(
    asker: Asker, sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """What goes on without the program is found by its id, and paid for once."""
    sim.weather = background(seconds=0.5)
    result = let_go(asker, sim, policy)
    assert isinstance(result.error, BackgroundDetached)
    assert (cancels(sim), counts(path)) == (0, {"background": 1})
    forget()
    again = asker(sim, policy)
    assert (again.text, again.attempts) == (ANSWER, ["background-2h:served"])
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})
    assert counts(path) == {"done": 1}


@pytest.mark.parametrize("lanes", [("background-2h",), ("flex", "standard")])
@pytest.mark.parametrize("left", [False, True])
def test_found_again_by_a_stream(
    left: bool, lanes: tuple[str, ...], asker: Asker, sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """A stream takes the pending response over, and has it stored, also if it is left at once."""
    sim.weather = background(seconds=0.5)
    let_go(asker, sim, policy)
    forget()
    with FlexOpenAI(**options(sim, policy.replace(lanes=lanes))) as client:
        for _ in range(2):
            stream = client.responses.create(**body_of({"stream": True}))
            if left:
                stream.close()
            else:
                assert list(stream)[-1].response.output_text == ANSWER
            assert counts(path) == {"done": 1}
            forget()
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})


def test_let_go_and_asked_again_by_the_same_process(
    asker: Asker, sim: Simulator, policy: FlexPolicy
) -> None:
    """It is free for the next call that asks the same."""
    sim.weather = background(seconds=0.5)
    let_go(asker, sim, policy)
    again = asker(sim, policy)
    assert (again.report.lane, creations(sim)) == ("background-2h", 1)


def test_detach_needs_a_journal(sim: Simulator) -> None:
    """Calls without a journal are not detached: nothing could resume them."""
    sim.weather = background(seconds=0.3)
    with FlexOpenAI(**options(sim)) as client:
        get_result = in_thread(lambda: ask(client))
        until(lambda: looks(sim))
        assert detach() == 0
        assert get_result().text == ANSWER


def test_found_again_where_the_ladder_has_no_such_lane(
    asker: Asker, sim: Simulator, policy: FlexPolicy
) -> None:
    """A pending response is resumed although the policy no longer lists its lane."""
    sim.weather = background(seconds=0.4)
    let_go(asker, sim, policy)
    forget()
    again = asker(sim, policy.replace(lanes=("standard",)))
    assert (again.report.lane, creations(sim)) == ("background-2h", 1)


def test_failed_where_the_ladder_has_no_such_lane(
    asker: Asker, sim: Simulator, policy: FlexPolicy
) -> None:
    """A lane that was not asked for is not tried again."""
    sim.script_background(BackgroundOutcome.fail(after=0.4))
    let_go(asker, sim, policy)
    forget()
    again = asker(sim, policy.replace(lanes=("standard",)))
    assert again.attempts == ["background-2h:transient", "standard:served"]
    assert created(sim) == 1


def test_flex_in_the_background_is_found_again(
    asker: Asker, sim: Simulator, policy: FlexPolicy
) -> None:
    """Also where that is not how flex is asked for any more."""
    sim.weather = background(seconds=0.4)
    flex = policy.replace(lanes=("flex", "standard"), flex_background=True)
    let_go(asker, sim, flex, model="o3")
    forget()
    again = asker(sim, flex.replace(flex_background=False), model="o3")
    assert (again.report.lane, again.attempts) == ("flex", ["flex:served"])
    assert (creations(sim), served(sim)) == (1, {"flex": 1})


def test_deleted_in_the_meantime(
    asker: Asker, sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """A response that was deleted meanwhile is created again."""
    sim.weather = SLOW
    sim.script_background(BackgroundOutcome.delete(after=0.3))
    let_go(asker, sim, policy)
    forget()
    sim.weather = background()
    again = asker(sim, policy)
    assert again.text == ANSWER
    assert again.attempts[0] == "background-2h:unfinished"
    assert (creations(sim), counts(path)) == (2, {"done": 1})


def test_without_answers_it_is_fetched_again(
    asker: Asker, sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """By its id, for as long as it is there; nothing is paid for."""
    lean = policy.replace(journal_store_responses=False)
    first = asker(sim, lean)
    for _ in range(2):
        forget()
        again = asker(sim, lean)
        assert (again.text, again.report.lane, again.report.cost.total) == (ANSWER, "journal", 0)
        assert again.answer.id == first.answer.id
    assert (creations(sim), counts(path)) == (1, {"done": 1})


def test_without_answers_and_deleted(asker: Asker, sim: Simulator, policy: FlexPolicy) -> None:
    """Then the call is sent again; a warning says once that this can happen."""
    sim.weather = background(keep=0.5)
    lean = policy.replace(journal_store_responses=False)
    with pytest.warns(UserWarning, match="not stored .* a program that restarts later"):
        asker(sim, lean, store=False)
    forget()
    until(lambda: sim.stats()["background"]["deleted"])
    again = asker(sim, lean, store=False)
    assert again.text == ANSWER
    assert again.report.lane != "journal"
    assert creations(sim) == 2


def test_a_call_that_was_given_up(
    asker: Asker, sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """A response that was cancelled is not resumed: the next start creates a new one."""
    sim.weather = SLOW
    alone = policy.replace(lanes=("background",), background_timeout=20, max_retries=0)
    assert asker(sim, alone, {"clock": quick_clock()}).error is not None
    assert (statuses(sim), counts(path)) == ({"cancelled": 1}, {})
    forget()
    sim.weather = background()
    again = asker(sim, alone.replace(background_timeout=None))
    assert (again.text, again.attempts) == (ANSWER, ["background-2h:served"])
    assert created(sim) == 2


async def test_a_cancelled_task_is_given_up(sim: Simulator, policy: FlexPolicy, path: str) -> None:
    """The response of a cancelled task is cancelled and not resumed."""
    sim.weather = SLOW
    async with AsyncFlexOpenAI(**options(sim, policy)) as client:
        task = asyncio.ensure_future(aask(client))
        await auntil(lambda: looks(sim))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (statuses(sim), counts(path)) == ({"cancelled": 1}, {})


@pytest.mark.parametrize("leaving", ["cancelled", "closed"])
async def test_what_could_not_be_cancelled(
    leaving: str, sim: Simulator, policy: FlexPolicy, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go on, and be paid for: the next start finds it."""
    patch_all(monkeypatch, "_CANCEL_TIMEOUT", 0.2, "flextier.background")
    sim.weather = background(seconds=0.6)
    sim.script(*[Fault.status(500).on(path=CANCEL)] * 99)
    client = AsyncFlexOpenAI(**options(sim, policy))
    task = asyncio.ensure_future(aask(client))
    await auntil(lambda: looks(sim))
    if leaving == "closed":
        await client.close()
        assert isinstance((await task).error, ClientClosedError)
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.close()
    assert (cancels(sim) > 0, counts(path)) == (True, {"background": 1})
    forget()
    async with AsyncFlexOpenAI(**options(sim, policy)) as other:
        again = await aask(other)
    assert (again.text, again.report.lane) == (ANSWER, "background-2h")
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})


async def test_a_cancelled_task_whose_answer_was_there(
    sim: Simulator, policy: FlexPolicy, path: str
) -> None:
    """It is remembered, as it is paid for."""
    sim.weather = SLOW
    sim.script_background(BackgroundOutcome.outrun())
    async with AsyncFlexOpenAI(**options(sim, policy)) as client:
        task = asyncio.ensure_future(aask(client))
        await auntil(lambda: looks(sim))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert counts(path) == {"done": 1}
        forget()
        again = await aask(client)
    assert (again.report.lane, again.text, creations(sim)) == ("journal", ANSWER, 1)


def test_a_key_that_may_not_look(asker: Asker, sim: Simulator, policy: FlexPolicy) -> None:
    """What is denied to us is not created again and again, with a journal neither."""
    sim.weather = SLOW
    sim.script(*[Fault.status(403).on(path=LOOK)] * 5)
    result = asker(sim, policy)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (created(sim), statuses(sim)) == (1, {"cancelled": 1})
    assert asker(sim, policy.replace(journal_duplicates="once")).report.lane == "journal"


def test_calls_that_share_one_response(sim: Simulator, policy: FlexPolicy) -> None:
    """Under ``once``, all that ask the same have the answer of the first."""
    sim.weather = background(seconds=0.4)

    async def main() -> list[CallOutcome]:
        async with AsyncFlexOpenAI(
            **options(sim, policy.replace(journal_duplicates="once"))
        ) as one:
            return await asyncio.gather(*(aask(one) for _ in range(8)))

    result = asyncio.run(main())
    assert [one.text for one in result] == [ANSWER] * 8
    assert sorted(one.report.lane for one in result) == ["background-2h", *["journal"] * 7]
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})


def test_calls_that_share_one_response_without_answers(sim: Simulator, policy: FlexPolicy) -> None:
    """Each fetches it."""
    sim.weather = background(seconds=0.2)
    lean = policy.replace(journal_duplicates="once", journal_store_responses=False)

    async def main() -> list[CallOutcome]:
        async with AsyncFlexOpenAI(**options(sim, lean)) as one:
            return await asyncio.gather(*(aask(one) for _ in range(4)))

    result = asyncio.run(main())
    assert [one.text for one in result] == [ANSWER] * 4
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})


def test_samples_are_asked_for_each(asker: Asker, sim: Simulator, policy: FlexPolicy) -> None:
    """Under ``each``, two calls are two responses, in this run and in the next."""
    first = asker.many(sim, policy)
    forget()
    again = asker.many(sim, policy)
    ids = [one.answer.id for one in first]
    assert len(set(ids)) == 2
    assert [one.answer.id for one in again] == ids
    assert creations(sim) == 2
