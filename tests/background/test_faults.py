"""Faults on the wire: of the creation, of looks, of cancelling. What reaches it is counted."""

from __future__ import annotations

import time

import openai
import pytest

from flextier.errors import BackgroundLost
from flextier.sim import BackgroundOutcome, BackgroundWeather, Fault, Simulator, Weather
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
    creations,
    looks,
    quick_clock,
    served,
    statuses,
)

pytestmark = pytest.mark.sampled(2)

BRIEF = POLICY.replace(background_timeout=25.0)
"""On a clock where nothing has to be waited for."""
SILENCE = POLICY.replace(background_timeout=1.0)
"""Where the server is silent, which has to be waited for."""

UNMADE: dict[str, tuple[Fault, bool]] = {
    "500": (Fault.status(500), False),
    "503": (Fault.status(503), False),
    "reset": (Fault.reset(), True),
}


@pytest.mark.parametrize(("fault", "possibly"), UNMADE.values(), ids=UNMADE)
def test_a_creation_that_fails(fault: Fault, possibly: bool, asker: Asker, sim: Simulator) -> None:
    """It is tried again, on the same lane: one response, paid once."""
    sim.script(fault.on(path="/responses"))
    result = asker(sim)
    assert result.attempts == ["background-2h:transient", "background-2h:served"]
    assert result.possibly_billed == [possibly, False]
    assert (creations(sim), created(sim), served(sim)) == (2, 1, {"background-2h": 1})


REPLY_LOST: dict[str, Fault] = {
    "reset": Fault.reset(after_effect=True),
    "cut": Fault.cut(20),
    "not-json": Fault.not_json(),
    "a-page": Fault.not_json("text/html"),
}


@pytest.mark.parametrize("fault", REPLY_LOST.values(), ids=REPLY_LOST)
def test_a_creation_whose_answer_is_lost(fault: Fault, asker: Asker, sim: Simulator) -> None:
    """The id of the created response is lost: the retry creates another, both may be billed."""
    sim.script(fault.on(path="/responses"))
    result = asker(sim)
    assert (result.text, result.report.lane) == (ANSWER, "background-2h")
    assert result.attempts == ["background-2h:transient", "background-2h:served"]
    assert result.possibly_billed == [True, False]
    assert (creations(sim), created(sim)) == (2, 2)
    time.sleep(0.06)
    assert served(sim) == {"background-2h": 2}


def test_a_creation_that_is_limited(asker: Asker, sim: Simulator) -> None:
    """Retry-After is waited out, on the same lane."""
    sim.script(Fault.rate_limit(retry_after=0.2).on(path="/responses"))
    result = asker(sim)
    assert result.attempts == ["background-2h:rate_limited", "background-2h:served"]
    assert result.report.waited >= 0.2
    assert (creations(sim), created(sim)) == (2, 1)


@pytest.mark.parametrize("code", [400, 401, 404])
def test_a_creation_that_is_rejected(code: int, asker: Asker, sim: Simulator) -> None:
    """It is raised at once: one request."""
    sim.script(Fault.status(code).on(path="/responses"))
    result = asker(sim)
    assert isinstance(result.error, openai.APIStatusError)
    assert (result.attempts, creations(sim)) == (["background-2h:rejected"], 1)


def test_a_creation_without_money(asker: Asker, sim: Simulator) -> None:
    """A quota is raised at once, too."""
    sim.script(Fault.quota().on(path="/responses"))
    result = asker(sim)
    assert isinstance(result.error, openai.RateLimitError)
    assert (result.attempts, creations(sim)) == (["background-2h:quota"], 1)


# --- looks ------------------------------------------------------------------------------------

PASSING: dict[str, list[Fault]] = {
    "500s": [Fault.status(500), Fault.status(502), Fault.status(529)],
    "limited": [Fault.rate_limit(retry_after=0.1)],
    "resets": [Fault.reset(), Fault.reset(after_effect=True)],
    "cut": [Fault.cut(100), Fault.cut(0)],
    "a-page": [Fault.not_json("text/html"), Fault.not_json()],
    "no-answers": [Fault.body(text) for text in ("null", "[]", "{}", "[" * 50_000, b"\xff\xfe")],
    "no-output": [Fault.body('{"id": "resp_1", "status": "completed", "output": null}')] * 2,
    "denied-for-a-moment": [Fault.status(401), Fault.status(403)],
    "unknown-for-a-moment": [Fault.status(404)] * 3,
}


@pytest.mark.parametrize("faults", PASSING.values(), ids=PASSING)
def test_looks_that_fail(faults: list[Fault], asker: Asker, sim: Simulator) -> None:
    """Whatever happens to a look, the answer is waited for: it is one attempt, paid once."""
    sim.weather = background(seconds=0.0)
    sim.script(*(fault.on(path=LOOK) for fault in faults))
    result = asker(sim)
    assert (result.text, result.attempts) == (ANSWER, ["background-2h:served"])
    assert (creations(sim), looks(sim), cancels(sim)) == (1, len(faults) + 1, 0)
    assert served(sim) == {"background-2h": 1}


def test_a_look_that_stalls(asker: Asker, sim: Simulator) -> None:
    """It does not outlast the lane: the response is cancelled, and the next lane asked."""
    sim.weather = SLOW
    sim.script(*[Fault.stall().on(path=LOOK)] * 9)
    result = asker(sim, SILENCE)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (cancels(sim), statuses(sim)) == (1, {"cancelled": 1})
    assert result.report.elapsed < IN_TIME


def test_looks_that_all_fail(asker: Asker, sim: Simulator) -> None:
    """A finished answer that no poll could fetch is found by cancelling it."""
    sim.script(*[Fault.status(500).on(path=LOOK, method="GET")] * 4)
    sim.weather = background(seconds=0.0, cancel_ended=True)
    result = asker(sim, POLICY.replace(background_timeout=0.5), {"clock": quick_clock(least=0.1)})
    assert (result.text, result.attempts) == (ANSWER, ["background-2h:served"])
    assert served(sim) == {"background-2h": 1}


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_may_not_look(code: int, asker: Asker, sim: Simulator) -> None:
    """It is cancelled, and the next lane answers: it is not created again and again."""
    sim.weather = SLOW
    sim.script(*[Fault.status(code).on(path=LOOK)] * 5)
    result = asker(sim)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.possibly_billed == [True, False]
    assert (created(sim), looks(sim), cancels(sim)) == (1, 5, 1)
    assert (statuses(sim), served(sim)) == ({"cancelled": 1}, {"default": 1})


def test_a_key_that_may_not_look_on_the_last_lane(asker: Asker, sim: Simulator) -> None:
    """The error says so, and what the server said is its cause; it is not created again."""
    sim.weather = SLOW
    sim.script(*[Fault.status(403).on(path=LOOK)] * 99)
    result = asker(sim, ALONE)
    assert isinstance(result.error, BackgroundLost)
    assert result.error.denied
    assert isinstance(result.error.__cause__, openai.PermissionDeniedError)
    assert (created(sim), statuses(sim)) == (1, {"cancelled": 1})


def test_a_key_that_may_do_nothing_any_more(asker: Asker, sim: Simulator) -> None:
    """A key that was revoked: what the next lane says of it is raised, and soon."""
    sim.weather = SLOW
    sim.script(
        *[Fault.status(401).on(path=LOOK)] * 99,
        *[Fault.status(401).on(path=CANCEL)] * 99,
        Fault.status(401).on(path="/responses", lane="standard"),
    )
    result = asker(sim)
    assert isinstance(result.error, openai.AuthenticationError)
    assert result.attempts == ["background-2h:unfinished", "standard:rejected"]
    assert result.report.elapsed < IN_TIME


def test_too_many_looks(asker: Asker, sim: Simulator) -> None:
    """Rate-limited polls slow down, and every call still gets its answer."""
    sim.weather = Weather(background=BackgroundWeather(seconds=0.1, poll_rpm=6000))
    sim.script(Fault.rate_limit(retry_after=0.3).on(path=LOOK))
    results = asker.many(sim, count=3)
    assert [one.attempts for one in results] == [["background-2h:served"]] * 3
    assert looks(sim) < 30


# --- cancelling -------------------------------------------------------------------------------


def test_cancelling_whose_reply_is_lost(asker: Asker, sim: Simulator) -> None:
    """After an error and a lost reply, cancelling is repeated before the call falls back."""
    sim.weather = SLOW
    sim.script(
        Fault.status(500).on(path=CANCEL),
        Fault.reset(after_effect=True).on(path=CANCEL),
    )
    result = asker(sim, POLICY.replace(background_timeout=80.0), {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (statuses(sim), served(sim)) == ({"cancelled": 1}, {"default": 1})
    assert sim.requests[-1].path == "/v1/responses"


@pytest.mark.parametrize("returned", [False, True])
def test_cancelling_that_is_outrun(returned: bool, asker: Asker, sim: Simulator) -> None:
    """It had completed: the answer is used, and nothing else is asked for."""
    sim.weather = background(seconds=1_000.0, cancel_ended=returned)
    sim.script_background(BackgroundOutcome.outrun())
    result = asker(sim, BRIEF, {"clock": quick_clock()})
    assert (result.text, result.attempts) == (ANSWER, ["background-2h:served"])
    assert (creations(sim), served(sim)) == (1, {"background-2h": 1})


def test_cancelling_what_has_failed(asker: Asker, sim: Simulator) -> None:
    """How it ended is looked up: it had failed, which is tried again as any failure."""
    sim.weather = background(seconds=0.0)
    sim.script_background(BackgroundOutcome.fail(after=0.0))
    result = asker(sim, BRIEF, {"clock": quick_clock(least=24.0)})
    assert result.attempts == ["background-2h:transient", "background-2h:served"]
    assert cancels(sim) == 2


def test_cancelling_that_takes_a_while(asker: Asker, sim: Simulator) -> None:
    """The next lane is asked when it is cancelled, not before."""
    sim.weather = background(seconds=1_000.0, cancelling=0.05)
    result = asker(sim, POLICY.replace(background_timeout=1.5))
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (statuses(sim), served(sim)) == ({"cancelled": 1}, {"default": 1})
    assert result.report.attempts[0].seconds < 1.5


def test_cancelling_that_never_succeeds(asker: Asker, sim: Simulator) -> None:
    """The call goes on in time, and says that the response may be billed."""
    sim.weather = SLOW
    sim.script(*[Fault.status(500).on(path=CANCEL)] * 99)
    result = asker(sim, POLICY.replace(background_timeout=3.0), {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.possibly_billed == [True, False]
    assert statuses(sim) == {"in_progress": 1}
    assert 1 <= cancels(sim) < 60


def test_cancelling_that_stalls(asker: Asker, sim: Simulator) -> None:
    """It does not outlast what was kept for it."""
    sim.weather = SLOW
    sim.script(*[Fault.stall().on(path=CANCEL)] * 99)
    result = asker(sim, SILENCE)
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert result.report.elapsed < IN_TIME


def test_cancelling_what_is_gone(asker: Asker, sim: Simulator) -> None:
    """A response that was deleted while it was being cancelled is lost."""
    sim.weather = SLOW
    sim.script(Fault.status(404).on(path=CANCEL))
    result = asker(sim, BRIEF, {"clock": quick_clock()})
    assert result.attempts == ["background-2h:unfinished", "standard:served"]
    assert (cancels(sim), created(sim)) == (1, 1)


def test_a_queue_that_was_never_left(asker: Asker, sim: Simulator) -> None:
    """What is cancelled before it has begun is not billed."""
    sim.weather = background(queued=1_000.0)
    result = asker(sim, POLICY.replace(background_timeout=2.0), {"clock": quick_clock()})
    assert result.possibly_billed == [False, False]
    assert statuses(sim) == {"cancelled": 1}
