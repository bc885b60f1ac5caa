"""The life of a background response: every status, in time, cancelled, deleted, scripted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier.sim import BackgroundOutcome, Simulator

from .background import MODEL, QUESTION, Backgrounds, account, asked, weather
from .batches import Clock


@pytest.fixture
def clock() -> Clock:
    """The clock of ``slow``."""
    return Clock()


@pytest.fixture
def slow(clock: Clock) -> Iterator[Simulator]:
    """A simulator whose responses wait 10 s and take 100 s."""
    with Simulator(weather(), clock=clock, record_paid=True) as simulator:
        yield simulator


@pytest.fixture
def backgrounds(slow: Simulator) -> Iterator[Backgrounds]:
    """One account of ``slow``."""
    with account(slow) as found:
        yield found


def statuses(backgrounds: Backgrounds, clock: Clock, response: Any, *steps: float) -> list[str]:
    """The status after each of these seconds."""
    seen = []
    for seconds in steps:
        clock.now += seconds
        seen.append(backgrounds.look(response).status)
    return seen


@pytest.mark.parametrize("window", [None, "soonest", "2h", "8h"])
def test_a_response_is_queued_worked_on_and_completed(
    clock: Clock, backgrounds: Backgrounds, window: str | None
) -> None:
    """Every status is there, and the end is what a direct call would have answered."""
    response = backgrounds.create(window, metadata={"row": "7"})
    assert (response.status, response.background, response.output) == ("queued", True, [])
    assert (response.usage, response.error, response.service_tier) == (None, None, "default")
    assert statuses(backgrounds, clock, response, 9, 1, 99.9) == [
        "queued",
        "in_progress",
        "in_progress",
    ]
    clock.now += 0.1
    done = backgrounds.look(response)
    direct = backgrounds.client.responses.create(model=MODEL, input=QUESTION, metadata={"row": "7"})
    assert (done.id, done.status, done.output_text) == (
        response.id,
        "completed",
        direct.output_text,
    )
    assert (done.service_tier, done.metadata) == ("default", {"row": "7"})
    assert done.usage == direct.usage
    assert [item.type for item in done.output] == [item.type for item in direct.output]
    ended = done.to_dict()["completed_at"]
    assert ended - int(done.created_at) in (109, 110, 111)
    assert backgrounds.look(response) == done


async def test_the_async_client(sim: Simulator) -> None:
    """By default a response is queued once and completed when it is looked at."""
    async with openai.AsyncOpenAI(base_url=sim.base_url, api_key="k") as client:
        response = await client.responses.create(**asked("8h"))
        assert response.status == "queued"
        assert (await client.responses.retrieve(response.id)).status == "completed"
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
            await client.responses.cancel(response.id)
        await client.responses.delete(response.id)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(response.id)


def test_time_runs_faster_with_speed() -> None:
    """Two hours in a moment."""
    with (
        Simulator(weather(queued=0, seconds=7000), speed=1e7) as sim,
        account(sim) as backgrounds,
    ):
        response = backgrounds.create("2h")
        while backgrounds.look(response).status != "completed":
            pass


@pytest.mark.parametrize(("seconds", "status"), [(0, "queued"), (50, "in_progress")])
def test_cancelling_is_idempotent(
    slow: Simulator, clock: Clock, backgrounds: Backgrounds, seconds: float, status: str
) -> None:
    """A response that is cancelled stays so, without output and without a bill."""
    response = backgrounds.create("2h")
    clock.now += seconds
    assert backgrounds.look(response).status == status
    for _ in range(2):
        cancelled = backgrounds.cancel(response)
        assert (cancelled.status, cancelled.output, cancelled.usage) == ("cancelled", [], None)
    assert statuses(backgrounds, clock, response, 1000) == ["cancelled"]
    assert slow.stats()["billed"] == {}
    assert slow.paid()["payments"] == 0


def test_what_has_completed_meanwhile_stays_completed(
    slow: Simulator, clock: Clock, backgrounds: Backgrounds
) -> None:
    """A cancellation that comes too late is a 400, as recorded; or the response, if so set."""
    response = backgrounds.create()
    clock.now += 110
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as caught:
            backgrounds.cancel(response)
        assert caught.value.param == "response_id"
    assert backgrounds.look(response).status == "completed"
    slow.weather = weather(cancel_ended=True)
    later = backgrounds.create()
    clock.now += 110
    assert backgrounds.cancel(later).status == "completed"


def test_cancelling_may_take_a_while(
    slow: Simulator, clock: Clock, backgrounds: Backgrounds
) -> None:
    """What ends before the cancellation takes effect is not cancelled."""
    slow.weather = weather(cancelling=20)
    lost, won = backgrounds.create("8h"), backgrounds.create("8h")
    clock.now += 50
    assert backgrounds.cancel(won).status == "in_progress"
    assert statuses(backgrounds, clock, won, 19.9, 0.1) == ["in_progress", "cancelled"]
    clock.now += 30
    assert backgrounds.cancel(lost).status == "in_progress"
    assert backgrounds.cancel(lost).status == "in_progress"
    assert statuses(backgrounds, clock, lost, 10, 10) == ["completed", "completed"]
    assert slow.stats()["background"]["statuses"] == {"cancelled": 1, "completed": 1}


def test_only_background_responses_can_be_cancelled(backgrounds: Backgrounds) -> None:
    """A direct call's response is a 400, an unknown one a 404."""
    direct = backgrounds.client.responses.create(model="o3", input=QUESTION)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        backgrounds.cancel(direct)
    with pytest.raises(openai.NotFoundError, match="Response with id 'resp_0' not found"):
        backgrounds.client.responses.cancel("resp_0")


def test_deleted_responses_are_gone(clock: Clock, backgrounds: Backgrounds) -> None:
    """Looking, cancelling and deleting again are 404; what has not ended cannot be deleted."""
    response = backgrounds.create()
    with pytest.raises(openai.BadRequestError, match="in-flight"):
        backgrounds.delete(response)
    clock.now += 110
    backgrounds.delete(response)
    direct = backgrounds.client.responses.create(model="o3", input=QUESTION)
    assert backgrounds.look(direct).output_text == direct.output_text
    backgrounds.delete(direct)
    for gone in (response, direct):
        for call in (backgrounds.look, backgrounds.cancel, backgrounds.delete):
            with pytest.raises(openai.NotFoundError):
                call(gone)


@pytest.mark.parametrize(
    ("stored", "body", "kept"),
    [
        (True, {}, True),
        (True, {"store": True}, True),
        (True, {"store": False}, False),
        (False, {}, False),
        (False, {"store": True}, True),
    ],
)
def test_what_is_not_stored_is_deleted_ten_minutes_after_its_end(
    slow: Simulator,
    clock: Clock,
    backgrounds: Backgrounds,
    stored: bool,
    body: dict[str, Any],
    kept: bool,
) -> None:
    """Stored is what asks for it, or everything unless the project says otherwise."""
    slow.weather = weather(stored=stored)
    response = backgrounds.create(**body)
    assert response.to_dict()["store"] is kept
    assert statuses(backgrounds, clock, response, 110, 599.9) == ["completed", "completed"]
    clock.now += 0.2
    if kept:
        assert backgrounds.look(response).status == "completed"
    else:
        with pytest.raises(openai.NotFoundError):
            backgrounds.look(response)
    assert slow.stats()["background"]["deleted"] == int(not kept)


def test_the_minutes_can_be_set(slow: Simulator, clock: Clock, backgrounds: Backgrounds) -> None:
    """``keep`` counts from the end, also of a cancelled one."""
    slow.weather = weather(keep=5)
    response = backgrounds.create(store=False)
    backgrounds.cancel(response)
    assert statuses(backgrounds, clock, response, 4.9) == ["cancelled"]
    clock.now += 0.2
    with pytest.raises(openai.NotFoundError):
        backgrounds.look(response)


def test_scripted_ends(slow: Simulator, clock: Clock, backgrounds: Backgrounds) -> None:
    """The next responses become what the script says, when it says."""
    slow.script_background(
        BackgroundOutcome.complete(after=5),
        BackgroundOutcome.fail("rate_limit_exceeded", "Too much.", after=5),
        BackgroundOutcome.incomplete(after=5),
        BackgroundOutcome.incomplete("content_filter", after=5),
        BackgroundOutcome.cancel(after=5),
    )
    made = [backgrounds.create("2h") for _ in range(6)]
    assert {backgrounds.look(response).status for response in made} == {"queued"}
    clock.now += 4.9
    seen = [backgrounds.look(response).status for response in made]
    assert seen == ["in_progress"] * 5 + ["queued"]
    clock.now += 0.1
    done, failed, cut, filtered, cancelled, usual = map(backgrounds.look, made)
    assert (done.status, usual.status) == ("completed", "queued")
    assert (failed.status, failed.output, failed.usage) == ("failed", [], None)
    assert failed.error.to_dict() == {"code": "rate_limit_exceeded", "message": "Too much."}
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert done.output_text.startswith(cut.output_text)
    assert 0 < len(cut.output_text) < len(done.output_text)
    assert cut.usage.output_tokens < done.usage.output_tokens
    assert (filtered.status, filtered.incomplete_details.reason) == (
        "incomplete",
        "content_filter",
    )
    assert cancelled.status == "cancelled"
    assert slow.stats()["billed"][MODEL]["background-2h"]["requests"] == 3


@pytest.mark.parametrize("status", ["queued", "in_progress", "paused_by_review"])
def test_a_response_can_stay(
    slow: Simulator, clock: Clock, backgrounds: Backgrounds, status: str
) -> None:
    """A response can stay in any status, known or not, until it is cancelled."""
    slow.script_background(BackgroundOutcome.stay(status, after=20))
    response = backgrounds.create()
    assert statuses(backgrounds, clock, response, 20, 1e6) == [status, status]
    assert backgrounds.cancel(response).status == "cancelled"


def test_a_response_can_vanish(slow: Simulator, clock: Clock, backgrounds: Backgrounds) -> None:
    """Deleted early: before its end there is nothing to pay, after it there is."""
    slow.script_background(BackgroundOutcome.delete(after=50), BackgroundOutcome.delete(after=200))
    early, late = backgrounds.create(), backgrounds.create()
    assert statuses(backgrounds, clock, early, 49) == ["in_progress"]
    clock.now += 1
    with pytest.raises(openai.NotFoundError):
        backgrounds.look(early)
    assert statuses(backgrounds, clock, late, 100) == ["completed"]
    clock.now += 50
    with pytest.raises(openai.NotFoundError):
        backgrounds.look(late)
    assert slow.stats()["billed"][MODEL]["background-soonest"]["requests"] == 1
    assert slow.stats()["background"]["statuses"] == {"completed": 1, "deleted": 1}


def test_a_response_can_outrun_its_cancellation(slow: Simulator, backgrounds: Backgrounds) -> None:
    """It was going on when the client decided, and has completed when the server looks."""
    slow.script_background(BackgroundOutcome.outrun())
    response = backgrounds.create("8h")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a completed response"):
        backgrounds.cancel(response)
    done = backgrounds.look(response)
    assert (done.status, bool(done.output_text)) == ("completed", True)
    assert slow.paid()["payments"] == 1


def test_a_limit_of_tokens_ends_it_incomplete(clock: Clock, backgrounds: Backgrounds) -> None:
    """As in a direct call."""
    response = backgrounds.create(max_output_tokens=12)
    clock.now += 110
    done = backgrounds.look(response)
    assert (done.status, done.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert done.usage.output_tokens <= 12


def test_follow_ups_wait_less(slow: Simulator, clock: Clock, backgrounds: Backgrounds) -> None:
    """Those with window, continuation id, model and project of an earlier one."""
    slow.weather = weather(queued=100, follow_up=0.1)
    backgrounds.create("8h", "run-1")
    tools = {"extra_headers": {"openai-project": "other"}}
    slow_ones = [
        backgrounds.create("2h", "run-1"),
        backgrounds.create("8h", "run-2"),
        backgrounds.create("8h"),
        backgrounds.create("8h", "run-1", model="gpt-6.2-sol"),
        backgrounds.create("8h", "run-1", **tools),
    ]
    follow_up = backgrounds.create("8h", "run-1")
    clock.now += 10
    assert backgrounds.look(follow_up).status == "in_progress"
    assert {backgrounds.look(response).status for response in slow_ones} == {"queued"}
    assert slow.stats()["background"]["follow_ups"] == 1


def test_windows_are_missed(slow: Simulator, clock: Clock, backgrounds: Backgrounds) -> None:
    """A window is a target: it ends some seconds after it, and ``soonest`` has none to miss."""
    slow.weather = weather(missed=1, missed_by=60)
    two, eight, soonest = (backgrounds.create(window) for window in ("2h", "8h", None))
    assert statuses(backgrounds, clock, soonest, 110) == ["completed"]
    assert statuses(backgrounds, clock, two, 7200 - 110) == ["in_progress"]
    assert slow.stats()["background"]["missed"] == 0
    assert statuses(backgrounds, clock, two, 59.9, 0.1) == ["in_progress", "completed"]
    assert statuses(backgrounds, clock, eight, 28800 - 7200.1, 0.1) == ["in_progress", "completed"]
    stats = slow.stats()["background"]
    assert (stats["missed"], stats["windows"]) == (2, {"2h": 1, "8h": 1, "soonest": 1})
