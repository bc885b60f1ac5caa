"""Deadlines: the response is cancelled, then the next lane answers, all before the deadline."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier import FlexDeadlineExceeded
from flextier._openai.http_library import http
from flextier.errors import BackgroundUnfinished
from flextier.sim import BackgroundOutcome, Fault, Simulator
from tests.background.asking import (
    ALONE,
    ANSWER,
    CANCEL,
    IN_TIME,
    LOOK,
    POLICY,
    SLOW,
    Asker,
    background,
    cancels,
    created,
    quick_clock,
    served,
    statuses,
)
from tests.batch.crowd import seen

pytestmark = pytest.mark.sampled(2)

DEADLINE = 0.8
"""Seconds, where a server is silent: they have to be waited for."""
SOON = POLICY.replace(deadline=5.0, standard_reserve=4.0)
"""Half a second for the background, as much to cancel it, and plenty for the next lane."""
QUICK = POLICY.replace(deadline=80.0, standard_reserve=30.0)
"""On a clock where nothing has to be waited for."""


def test_the_last_safe_moment(asker: Asker, sim: Simulator) -> None:
    """It is cancelled on the server, and after that the next lane answers by the deadline."""
    sim.weather = SLOW
    result = asker(sim, QUICK, {"clock": quick_clock()})
    assert (result.text, result.report.lane, result.report.fallback) == (
        ANSWER,
        "standard",
        "unfinished",
    )
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert 80.0 / 2 < result.report.elapsed < 80.0
    cancel, last = sim.requests[-2:]
    assert cancel.path.endswith("/cancel")
    assert (last.path, last.lane) == ("/v1/responses", "standard")
    assert (statuses(sim), served(sim)) == ({"cancelled": 1}, {"default": 1})


def test_what_has_finished_by_then_is_used(asker: Asker, sim: Simulator) -> None:
    """Whatever happened to the looks, a finished answer is not paid for twice."""
    sim.weather = background(seconds=0.0)
    sim.script(*[Fault.status(500).on(path=LOOK, method="GET")] * 5)
    result = asker(sim, QUICK, {"clock": quick_clock()})
    assert (result.text, result.report.lane) == (ANSWER, "background-2h")
    assert served(sim) == {"background-2h": 1}


def test_what_finishes_at_that_moment_is_used(asker: Asker, sim: Simulator) -> None:
    """It completes while it is being cancelled."""
    sim.weather = SLOW
    sim.script_background(BackgroundOutcome.outrun())
    result = asker(sim, QUICK, {"clock": quick_clock()})
    assert (result.attempts, served(sim)) == (["background-2h:served"], {"background-2h": 1})


def test_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """It ends by the deadline, cancelled, with the error that says so."""
    sim.weather = SLOW
    result = asker(sim, ALONE.replace(deadline=80.0), {"clock": quick_clock()})
    assert isinstance(result.error, FlexDeadlineExceeded)
    assert isinstance(result.error.__cause__, BackgroundUnfinished)
    assert 80.0 / 2 < result.report.elapsed <= 80.0
    assert result.attempts == ["background-2h:unfinished"]
    assert (created(sim), cancels(sim), statuses(sim)) == (1, 1, {"cancelled": 1})


STALLED = {
    "creation": ("/responses", False),
    "creation-with-an-http-client": ("/responses", True),
    "look": (LOOK, False),
    "look-with-an-http-client": (LOOK, True),
    "cancel": (CANCEL, False),
}


@pytest.mark.parametrize(("path", "own_client"), STALLED.values(), ids=STALLED)
@pytest.mark.sampled(2)
def test_a_request_that_stalls(path: str, own_client: bool, asker: Asker, sim: Simulator) -> None:
    """A silent server costs no deadline, with any HTTP client."""
    sim.weather = SLOW
    sim.script(*[Fault.stall().on(path=path)] * 3)
    made: dict[str, Any] = {}
    if own_client:
        made["http_client"] = (http.AsyncClient if asker.is_async else http.Client)()
    result = asker(sim, ALONE.replace(deadline=DEADLINE), made)
    assert isinstance(result.error, openai.APITimeoutError)
    assert result.report.elapsed < DEADLINE + IN_TIME
    assert result.possibly_billed[0]


def test_a_creation_that_trickles_in(asker: Asker, sim: Simulator) -> None:
    """Nor does an answer that comes a few bytes at a time."""
    sim.script(Fault.trickle(60.0, bytes=10).on(path="/responses"))
    result = asker(sim, ALONE.replace(deadline=DEADLINE))
    assert isinstance(result.error, FlexDeadlineExceeded)
    assert result.report.elapsed < DEADLINE + IN_TIME


def test_a_slow_creation_leaves_the_next_lane_its_time(asker: Asker, sim: Simulator) -> None:
    """A lane that does not even accept the call in time is left in time."""
    sim.script(*[Fault.stall().on(lane="background-2h")] * 3)
    result = asker(sim, SOON)
    assert (result.text, result.report.lane) == (ANSWER, "standard")
    assert {one.lane for one in result.report.attempts} == {"background-2h", "standard"}
    assert result.report.elapsed < 5.0


def test_a_cancellation_that_is_never_confirmed(asker: Asker, sim: Simulator) -> None:
    """The next lane has its time all the same."""
    sim.weather = background(seconds=1_000.0, cancelling=1_000.0)
    result = asker(sim, SOON, {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.report.elapsed < 5.0
    assert result.possibly_billed == [True, False]


def test_background_timeout(asker: Asker, sim: Simulator) -> None:
    """Without a deadline, an attempt ends by the policy's knob."""
    sim.weather = SLOW
    policy = POLICY.replace(background_timeout=30.0)
    result = asker(sim, policy, {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.report.attempts[0].seconds == pytest.approx(30.0, abs=3.0)
    assert (cancels(sim), statuses(sim)) == (1, {"cancelled": 1})


def test_background_timeout_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """The error names the knob, and the response."""
    sim.weather = SLOW
    policy = ALONE.replace(background_timeout=20.0, max_retries=0)
    result = asker(sim, policy, {"clock": quick_clock()})
    assert isinstance(result.error, BackgroundUnfinished)
    assert "FLEXTIER_BACKGROUND_TIMEOUT" in str(result.error)
    assert result.error.response_id is not None
    (cancelled,) = seen(sim, "POST", CANCEL)
    assert result.error.response_id in cancelled.path


def test_one_window_after_another(asker: Asker, sim: Simulator) -> None:
    """A ladder of windows is gone down; each response is cancelled before the next is made."""
    sim.weather = SLOW
    lanes = ("background-8h", "background-2h", "standard")
    policy = POLICY.replace(lanes=lanes, background_timeout=20.0)
    result = asker(sim, policy, {"clock": quick_clock()})
    assert result.attempts == [
        "background-8h:unfinished",
        "background-2h:unfinished",
        "standard:served",
    ]
    assert (cancels(sim), statuses(sim)) == (2, {"cancelled": 2})


def test_a_deadline_that_leaves_no_time(asker: Asker, sim: Simulator) -> None:
    """A lane that would be left at once is not asked."""
    result = asker(sim, POLICY.replace(deadline=IN_TIME, standard_reserve=IN_TIME - 0.01))
    assert (result.attempts, result.report.fallback) == (["standard:served"], "unfinished")
    assert created(sim) == 0
