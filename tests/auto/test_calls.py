"""Calls under ``lanes="auto"``, over real sockets: where they go, and what their reports say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, FlexPolicy, continuation, track
from flextier.background import poll_schedule
from flextier.calls.context import listen
from flextier.sim import BackgroundWeather, Fault, Simulator, Weather
from tests.batch.conftest import forget
from tests.client.callers import KEY

DAY = 86_400.0


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator that is done with everything at once, and is looked at soon."""
    monkeypatch.setattr(poll_schedule, "MIN_POLL_INTERVAL", 0.01)
    forget()
    with Simulator(Weather(background=BackgroundWeather(seconds=0.05))) as simulator:
        yield simulator
    forget()


def made(sim: Simulator, **knobs: Any) -> dict[str, Any]:
    """What a client is made with."""
    policy = FlexPolicy(
        **{"lanes": "auto", "batch_window": 0.3, "batch_poll_interval": 0.05, **knobs}
    )
    return {"base_url": sim.base_url, "api_key": KEY, "policy": policy}


def ask(sim: Simulator, model: str, **knobs: Any) -> CallReport:
    """The report of one call of the Responses API."""
    with FlexOpenAI(**made(sim, **knobs)) as client, track() as calls:
        assert client.responses.create(model=model, input="Name a colour.").status == "completed"
    return calls[0]


async def crowd(sim: Simulator, count: int, **knobs: Any) -> list[CallReport]:
    """The reports of several calls at once."""
    async with AsyncFlexOpenAI(**made(sim, **knobs)) as client:
        with track() as calls:
            asked = (client.responses.create(model="o3", input=f"Name {n}.") for n in range(count))
            await asyncio.gather(*asked)
    return calls


@pytest.mark.parametrize(
    ("model", "deadline", "lane"),
    [
        ("gpt-6.2-sol", 600, "standard"),
        ("gpt-6.2-sol", 10_800, "background-2h"),
        ("gpt-6.2-sol", 2 * DAY, "background-8h"),
        ("o3", 600, "flex"),
        ("o3", 2 * DAY, "flex"),
    ],
)
def test_one_call(model: str, deadline: float, lane: str, sim: Simulator) -> None:
    """Alone it goes to the cheapest lane that needs no company, and says how that came about."""
    report = ask(sim, model, deadline=deadline)
    assert report.lane == report.first_lane == lane
    assert report.fallback is None
    assert report.why.startswith(f"auto, {model}, ")
    assert CallReport.from_dict(report.to_dict()) == report


async def test_many_calls_at_once(sim: Simulator) -> None:
    """With hours to the deadline they make a batch together."""
    reports = await crowd(sim, 12, deadline=2 * DAY)
    assert {report.lane for report in reports} == {"batch"}
    assert sim.stats()["batches"]["created"] == 1


async def test_few_calls_at_once(sim: Simulator) -> None:
    """Fewer than ten are no bulk work: nothing is uploaded, and no call fell back."""
    reports = await crowd(sim, 9, deadline=2 * DAY)
    assert {(report.lane, report.fallback) for report in reports} == {("flex", None)}
    assert {request.path for request in sim.requests} == {"/v1/responses"}
    assert [attempt.sent for attempt in reports[0].attempts] == [False, True]


async def test_a_call_that_is_cancelled_while_it_waits_for_company(sim: Simulator) -> None:
    """Nothing was sent, so nothing is billed."""
    async with AsyncFlexOpenAI(**made(sim, batch_window=5)) as client:
        with track() as calls:
            asked = client.responses.create(model="o3", input="Name a colour.")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(asked, 0.2)
    (attempt,) = calls[0].attempts
    assert (attempt.outcome, attempt.sent, attempt.possibly_billed) == ("cancelled", False, False)
    assert not sim.requests


def test_few_calls_that_have_no_other_lane(sim: Simulator) -> None:
    """``batch_min_calls`` sends calls to the next lane; where there is none, they make a batch."""
    assert ask(sim, "o3", lanes="batch", batch_min_calls=5).lane == "batch"


def test_few_calls_while_flex_is_shut(sim: Simulator) -> None:
    """They were meant for flex: that they cost full price is a fallback, and its reason flex's."""
    sim.script(Fault.refuse(retry_after=3600))
    assert ask(sim, "o3", lanes="flex,standard").fallback == "capacity"
    report = ask(sim, "o3")
    assert [attempt.lane for attempt in report.attempts] == ["batch", "standard"]
    assert (report.lane, report.first_lane, report.fallback) == ("standard", "flex", "capacity")


async def test_steps_of_a_run_make_no_batch(sim: Simulator) -> None:
    """The second call of a run that the first was waited for does not wait for company."""
    async with AsyncFlexOpenAI(**made(sim, deadline=2 * DAY)) as client:
        with track() as calls, continuation("review"):
            for text in ("one", "two", "three"):
                await client.responses.create(model="o3", input=text)
    assert [attempt.lane for report in calls[1:] for attempt in report.attempts] == ["flex", "flex"]
    assert all("a step of a run" in report.why for report in calls[1:])


def test_what_the_api_says_is_remembered(sim: Simulator) -> None:
    """A model that turns out to have no windows is not asked for one again."""
    sim.weather = Weather(background=BackgroundWeather(window_models=()))
    with FlexOpenAI(**made(sim, deadline=10_800)) as client, track() as calls:
        for _ in range(2):
            client.responses.create(model="gpt-6.2-sol", input="Name a colour.")
    assert [[x.outcome for x in report.attempts] for report in calls] == [
        ["lane_unsupported", "served"],
        ["served"],
    ]
    assert "not background-2h: the API does not offer it for" in calls[1].why
    assert [request.lane for request in sim.requests] == ["standard"] * 3


def test_full_price_for_the_way_a_call_is_made(sim: Simulator) -> None:
    """A window of the Responses API that is in time is a warning, once."""
    messages: Any = [{"role": "user", "content": "Name a colour."}]
    with FlexOpenAI(**made(sim, deadline=600)) as client:
        client.chat.completions.create(model="gpt-6.2-sol", messages=messages)
    with FlexOpenAI(**made(sim, deadline=3 * 3600)) as client, track() as calls:
        with pytest.warns(UserWarning, match="standard instead of background-2h: .*Responses API"):
            client.chat.completions.create(model="gpt-6.2-sol", messages=messages)
        client.chat.completions.create(model="gpt-6.2-sol", messages=messages)
    assert [(report.lane, report.fallback) for report in calls] == [("standard", None)] * 2


def test_a_tier_of_ones_own(sim: Simulator) -> None:
    """Who has chosen a tier has chosen."""
    with FlexOpenAI(**made(sim)) as client, track() as calls:
        client.responses.create(model="o3", input="Name a colour.", service_tier="priority")
    assert (calls[0].lane, calls[0].why) == ("priority", "")


def test_a_model_that_has_windows_in_the_place_of_flex(sim: Simulator) -> None:
    """On the usual ladder it costs full price, and a warning says once what there is for less."""
    with FlexOpenAI(**made(sim, lanes=("flex", "standard"))) as client, track() as calls:
        with pytest.warns(UserWarning, match="gpt-6.2-sol has no flex: .*FLEXTIER_LANES=auto"):
            client.responses.create(model="gpt-6.2-sol", input="Name a colour.")
        client.responses.create(model="gpt-6.2-sol", input="Name a colour.")
    assert [report.lane for report in calls] == ["standard", "standard"]


def test_one_after_the_other(sim: Simulator) -> None:
    """Only the first waits for company; no retry is reported, as nothing was sent."""
    retries: list[Any] = []
    client = FlexOpenAI(**made(sim, deadline=2 * DAY))
    with client, track() as calls, listen(on_retry=retries.append):
        for number in range(3):
            client.responses.create(model="o3", input=f"Name {number}.")
    assert [[attempt.lane for attempt in report.attempts] for report in calls] == [
        ["batch", "flex"],
        ["flex"],
        ["flex"],
    ]
    assert all("not batch: too few calls were made at once lately" in x.why for x in calls[1:])
    assert retries == []
