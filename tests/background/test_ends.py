"""What can become of a background response, and what the call makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.errors import BackgroundLost, BackgroundUnfinished
from flextier.sim import BackgroundOutcome, Simulator
from tests.background.asking import (
    ALONE,
    ANSWER,
    MODEL,
    POLICY,
    Asker,
    background,
    cancels,
    created,
    creations,
    looks,
    quick_clock,
    served,
    statuses,
)


@pytest.mark.parametrize("window", ["soonest", "2h", "8h"])
def test_completed(window: str, asker: Asker, sim: Simulator) -> None:
    """The finished object comes as if it had been a plain call, billed on its window."""
    result = asker(sim, POLICY.replace(background_window=window))
    lane = f"background-{window}"
    assert (result.text, result.report.lane, result.report.fallback) == (ANSWER, lane, None)
    assert result.attempts == [f"{lane}:served"]
    assert result.report.usage is not None
    assert result.report.usage.output_tokens == result.answer.usage.output_tokens
    assert (creations(sim), cancels(sim), served(sim)) == (1, 0, {lane: 1})
    assert sim.stats()["background"]["windows"] == {window: 1}
    share = {"soonest": 100, "2h": 70, "8h": 60}[window]
    assert result.report.cost.total * 100 == result.report.cost.standard * share


def test_incomplete(asker: Asker, sim: Simulator) -> None:
    """What was cut off is an answer, as it is for a plain call; it is billed."""
    sim.script_background(BackgroundOutcome.incomplete("content_filter", after=0.05))
    result = asker(sim)
    assert result.answer.status == "incomplete"
    assert result.answer.incomplete_details.reason == "content_filter"
    assert result.attempts == ["background-2h:served"]
    assert served(sim) == {"background-2h": 1}


def test_failed_and_asked_again(asker: Asker, sim: Simulator) -> None:
    """A fault of the server is tried again, on the same lane; it is not billed."""
    sim.script_background(BackgroundOutcome.fail(after=0.05))
    result = asker(sim)
    assert (result.text, result.report.fallback) == (ANSWER, None)
    assert result.attempts == ["background-2h:transient", "background-2h:served"]
    assert (created(sim), served(sim)) == (2, {"background-2h": 1})


def test_failed_for_good(asker: Asker, sim: Simulator) -> None:
    """One that fails whenever it is asked for goes to the next lane."""
    sim.weather = background(fail=1.0)
    result = asker(sim, POLICY.replace(max_retries=1))
    assert result.attempts == [*["background-2h:transient"] * 2, "standard:served"]
    assert (result.text, result.report.lane, result.report.fallback) == (
        ANSWER,
        "standard",
        "transient",
    )
    assert (created(sim), served(sim)) == (2, {"default": 1})


def test_failed_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """The failed response is handed over, as the SDK does."""
    sim.weather = background(fail=1.0)
    result = asker(sim, ALONE.replace(max_retries=1))
    assert (result.answer.status, result.answer.error.code) == ("failed", "server_error")
    assert result.attempts == ["background-2h:transient"] * 2
    assert (created(sim), served(sim)) == (2, {})


def test_failed_by_a_rate_limit(asker: Asker, sim: Simulator) -> None:
    """A rate limit is waited out on the same lane."""
    sim.script_background(BackgroundOutcome.fail("rate_limit_exceeded", "Slow down.", after=0.02))
    result = asker(sim)
    assert result.attempts == ["background-2h:rate_limited", "background-2h:served"]
    assert (created(sim), result.possibly_billed) == (2, [False, False])


def test_failed_by_what_was_asked(asker: Asker, sim: Simulator) -> None:
    """What no lane would answer is asked once: the failed response is handed over."""
    sim.script_background(BackgroundOutcome.fail("invalid_prompt", "Not that.", after=0.02))
    result = asker(sim)
    assert (result.attempts, creations(sim)) == (["background-2h:rejected"], 1)
    assert result.answer.error.code == "invalid_prompt"


def test_failed_for_want_of_flex(asker: Asker, sim: Simulator) -> None:
    """A refusal that comes when the response was accepted waits at the limiter, as any of flex."""
    sim.script_background(BackgroundOutcome.fail("flex_unavailable", "Try standard.", after=0.02))
    policy = POLICY.replace(lanes=("flex", "standard"), flex_background=True)
    result = asker(sim, policy, model="o3")
    assert result.attempts == ["flex:capacity", "flex:served"]
    assert (created(sim), served(sim), result.report.lane) == (2, {"flex": 1}, "flex")


def test_cancelled_by_another_client(asker: Asker, sim: Simulator) -> None:
    """The next lane answers; the cancelled response is reported as possibly billed."""
    sim.script_background(BackgroundOutcome.cancel(after=0.05))
    result = asker(sim)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (result.report.fallback, result.possibly_billed) == ("unfinished", [True, False])
    assert (created(sim), cancels(sim), served(sim)) == (1, 0, {"default": 1})


def test_cancelled_by_another_client_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """The call is retried up to ``max_retries`` times; then the error names the response."""
    sim.script_background(*[BackgroundOutcome.cancel(after=0.02)] * 2)
    result = asker(sim, ALONE.replace(max_retries=1))
    assert isinstance(result.error, BackgroundUnfinished)
    assert result.error.response_id is not None
    assert "cancelled by another client" in str(result.error)
    assert (created(sim), result.attempts) == (2, ["background-2h:unfinished"] * 2)


def test_an_unknown_status_that_never_ends(asker: Asker, sim: Simulator) -> None:
    """An unknown status is warned about once; the call falls back after its background_timeout."""
    sim.script_background(BackgroundOutcome.stay("pondering"))
    with pytest.warns(UserWarning, match="unknown status 'pondering'") as warned:
        result = asker(sim, POLICY.replace(background_timeout=60.0), {"clock": quick_clock()})
    assert len(warned) == 1
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (cancels(sim), statuses(sim), served(sim)) == (1, {"cancelled": 1}, {"default": 1})
    assert result.possibly_billed == [True, False]


def test_an_unknown_status_that_passes(asker: Asker) -> None:
    """It is waited for as if it were in progress."""
    statuses = iter(["minted", "pondering", "pondering", "in_progress", "completed"])

    def answer(request: Any) -> Any:
        status = next(statuses)
        done = status == "completed"
        text = {"type": "output_text", "text": ANSWER, "annotations": []}
        output = [{"type": "message", "role": "assistant", "content": [text]}] if done else []
        warned = {"id": "resp_1", "object": "response", "model": MODEL, "output": output}
        return http.Response(200, json={**warned, "status": status, "background": True})

    async def aanswer(request: Any) -> Any:
        return answer(request)

    kind = http.AsyncClient if asker.is_async else http.Client
    own = kind(transport=http.MockTransport(aanswer if asker.is_async else answer))
    with pytest.warns(UserWarning, match="has the unknown status") as warned:
        result = asker("http://elsewhere/v1", POLICY, {"http_client": own})
    assert (result.text, result.attempts) == (ANSWER, ["background-2h:served"])
    assert ["minted" in str(one.message) for one in warned] == [True, False]
    assert list(statuses) == []


def test_deleted_before_it_was_seen(asker: Asker, sim: Simulator) -> None:
    """What is not there any more is not asked for on that lane again: it may be paid for."""
    sim.weather = background(keep=0.0)
    result = asker(sim, store=False)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.possibly_billed == [True, False]
    assert (created(sim), served(sim)) == (1, {"background-2h": 1, "default": 1})


def test_deleted_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """The error says what was lost, and why."""
    sim.script_background(BackgroundOutcome.delete())
    result = asker(sim, ALONE.replace(max_retries=0))
    assert isinstance(result.error, BackgroundLost)
    assert "ten minutes" in str(result.error)
    assert created(sim) == 1


def test_a_window_that_is_missed(asker: Asker, sim: Simulator) -> None:
    """It is a target: the answer is taken when it comes, at the window's price."""
    sim.weather = background(missed=1.0, missed_by=100.0)
    policy = POLICY.replace(background_timeout=30.0)
    result = asker(sim, policy, {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert statuses(sim) == {"cancelled": 1}
    assert looks(sim) < 60
