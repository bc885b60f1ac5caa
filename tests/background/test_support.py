"""Models and servers that lack a window, or background mode, or flex: what is asked, and learnt."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from flextier._openai.http_library import http
from flextier.sim import BackgroundOutcome, BackgroundWeather, Fault, Simulator, Weather
from tests.background.asking import (
    ALONE,
    ANSWER,
    MODEL,
    POLICY,
    SLOW,
    Asker,
    background,
    created,
    creations,
    looks,
    served,
    statuses,
)

FLEX = POLICY.replace(lanes=("flex", "standard"), flex_background=True)


def test_a_model_without_windows(asker: Asker, sim: Simulator) -> None:
    """The first rejection is remembered: the second call does not ask for the window."""
    first, second = asker.many(sim, model="o3")
    assert first.attempts == ["background-2h:lane_unsupported", "standard:served"]
    assert second.attempts == ["standard:served"]
    assert first.report.fallback == second.report.fallback == "lane_unsupported"
    assert not any((*first.possibly_billed, *second.possibly_billed))
    assert (creations(sim), created(sim)) == (3, 0)


def test_a_model_without_windows_may_have_soonest(asker: Asker, sim: Simulator) -> None:
    """What is learnt is of the one lane."""
    lanes = ("background-8h", "background-soonest")
    results = asker.many(sim, POLICY.replace(lanes=lanes), model="o3")
    assert [one.report.lane for one in results] == ["background-soonest"] * 2
    assert creations(sim) == 3


def test_a_model_without_windows_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """There the server's own error is raised."""
    result = asker(sim, ALONE, model="o3")
    assert isinstance(result.error, openai.BadRequestError)
    assert result.attempts == ["background-2h:lane_unsupported"]


def test_a_call_that_a_window_does_not_take(asker: Asker, sim: Simulator) -> None:
    """What is about this one call is not held against the model."""
    about = Fault.status(400, message="Background needs this.", param="background_options")
    sim.script(about.on(path="/responses"))
    first, second = asker.many(sim)
    assert first.attempts == ["background-2h:lane_unsupported", "standard:served"]
    assert second.attempts == ["background-2h:served"]


def test_a_project_with_zero_retention(asker: Asker, sim: Simulator) -> None:
    """A project without background mode is rejected once; later calls skip the lane."""
    words = "Background mode is not available with Zero Data Retention."
    sim.script(Fault.status(400, message=words).on(path="/responses"))
    first, second = asker.many(sim)
    assert first.attempts == ["background-2h:lane_unsupported", "standard:served"]
    assert second.attempts == ["standard:served"]


def test_flex_in_the_background(asker: Asker, sim: Simulator) -> None:
    """Flex is accepted at once and asked about; it is billed, and reported, as flex."""
    result = asker(sim, FLEX, model="o3")
    assert (result.text, result.attempts) == (ANSWER, ["flex:served"])
    assert (result.report.lane, result.report.fallback) == ("flex", None)
    assert (created(sim), served(sim)) == (1, {"flex": 1})
    assert looks(sim) >= 1
    assert result.report.cost.total * 2 == result.report.cost.standard


def test_flex_where_there_is_no_background(asker: Asker, sim: Simulator) -> None:
    """It is held, as ever, on the same lane; and the next call is so at once."""
    sim.weather = Weather(background=BackgroundWeather(unsupported_models=("o3",)))
    first, second = asker.many(sim, FLEX, model="o3")
    assert first.attempts == ["flex:lane_unsupported", "flex:served"]
    assert second.attempts == ["flex:served"]
    assert first.report.fallback is second.report.fallback is None
    assert (creations(sim), created(sim), served(sim)) == (3, 0, {"flex": 2})


def test_a_model_with_neither(asker: Asker, sim: Simulator) -> None:
    """No flex at all: standard answers, and the next call goes there at once."""
    sim.script(*[Fault.unsupported().on(lane="flex")] * 2)
    first, second = asker.many(sim, FLEX, model="o3")
    assert first.report.lane == second.report.lane == "standard"
    assert second.attempts == ["standard:served"]
    assert second.report.fallback == "lane_unsupported"


def test_flex_that_is_refused(asker: Asker, sim: Simulator) -> None:
    """A refusal of the creation waits for its turn, as any call of flex."""
    sim.script(Fault.refuse(retry_after=0.1), Fault.refuse())
    result = asker(sim, FLEX, model="o3")
    assert result.attempts == ["flex:capacity", "flex:capacity", "flex:served"]
    assert result.report.waited >= 0.1
    assert (creations(sim), served(sim)) == (3, {"flex": 1})


def test_flex_that_is_refused_for_too_long(asker: Asker, sim: Simulator) -> None:
    """When patience is spent, the next lane is asked."""
    sim.weather = Weather(refuse=1.0)
    result = asker(sim, FLEX.replace(patience=0.2), model="o3")
    assert set(result.attempts[:-1]) == {"flex:capacity"}
    assert (result.attempts[-1], result.report.fallback) == ("standard:served", "capacity")


def test_flex_that_takes_too_long(asker: Asker, sim: Simulator) -> None:
    """Its timeout cancels it; once patience is spent, as it is by then, the next lane is asked."""
    sim.weather = SLOW
    result = asker(sim, FLEX.replace(flex_timeout=0.3, patience=0.2), model="o3")
    assert result.attempts == ["flex:unfinished", "standard:served"]
    assert statuses(sim) == {"cancelled": 1}


def test_flex_in_the_background_whose_looks_are_limited(asker: Asker, sim: Simulator) -> None:
    """A rate limit on a poll does not send the call back into the queue."""
    sim.weather = background(seconds=0.0)
    sim.script(Fault.rate_limit(retry_after=0.1).on(path="/responses/{id}"))
    result = asker(sim, FLEX, model="o3")
    assert (result.attempts, creations(sim)) == (["flex:served"], 1)


@pytest.mark.parametrize("tier", ["default", None])
def test_a_server_that_ignores_it(tier: str | None, asker: Asker) -> None:
    """An answer that was not made in the background is billed as what it is."""
    bodies: list[Any] = []

    def answer(request: Any) -> Any:
        bodies.append(json.loads(request.content))
        body = {"id": "resp_1", "object": "response", "status": "completed", "model": MODEL}
        usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
        output = [{"type": "message", "content": [{"type": "output_text", "text": ANSWER}]}]
        more = {"background": False, "usage": usage, "output": output, "service_tier": tier}
        return http.Response(200, json=body | more)

    async def aanswer(request: Any) -> Any:
        return answer(request)

    own: Any = (
        http.AsyncClient(transport=http.MockTransport(aanswer))
        if asker.is_async
        else http.Client(transport=http.MockTransport(answer))
    )
    result = asker("http://elsewhere/v1", POLICY, {"http_client": own})
    assert result.attempts == ["background-2h:served"]
    assert (result.report.lane, result.report.fallback) == ("standard", "downgraded")
    assert (len(bodies), bodies[0]["background"]) == (1, True)


def test_a_failure_that_is_about_the_window(asker: Asker, sim: Simulator) -> None:
    """A response that failed for lack of capacity in its window is asked for again."""
    sim.script_background(BackgroundOutcome.fail("server_overloaded", "Busy.", after=0.01))
    result = asker(sim)
    assert result.attempts == ["background-2h:transient", "background-2h:served"]
