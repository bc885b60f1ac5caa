"""How background responses behave: words, JSON, mistakes, and the course that is drawn."""

from __future__ import annotations

from math import inf
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.sim import BackgroundOutcome, BackgroundWeather, Simulator, Weather
from flextier.sim.stores.background_timeline import WINDOWS, BackgroundTimeline, plan

from .background import account
from .callers import raw

NOW = 1_000.0


def planned(
    window: str = "8h", outcome: BackgroundOutcome | None = None, **fields: Any
) -> BackgroundTimeline:
    """The course of a response in weather with 10 s in the queue and 100 s at work."""
    weather = BackgroundWeather(**{"queued": 10, "seconds": 100, **fields})
    return plan(window, weather, outcome, NOW, Random(1))


@pytest.mark.parametrize(
    ("window", "fields", "starts", "ends"),
    [
        ("soonest", {}, 10, 110),
        ("8h", {}, 10, 110),
        ("2h", {"queued_2h": 50, "seconds_8h": 7}, 50, 150),
        ("8h", {"queued_2h": 50, "seconds_8h": 7}, 10, 17),
        ("soonest", {"queued_2h": 50, "seconds_8h": 7}, 10, 110),
        ("8h", {"queued_8h": 0}, 0, 100),
        ("2h", {"missed": 1, "missed_by": 5}, 7105, 7205),
        ("2h", {"missed": 1, "missed_by": 5, "queued": 8000}, 8000, 8100),
        ("soonest", {"missed": 1, "missed_by": 5}, 10, 110),
    ],
)
def test_times(window: str, fields: dict[str, Any], starts: float, ends: float) -> None:
    """Every window has its own times, or those of all."""
    course = planned(window, **fields)
    assert (course.starts - NOW, course.ends - NOW) == (starts, ends)
    assert course.late - NOW == WINDOWS[window]


@pytest.mark.parametrize(
    ("outcome", "starts", "ends", "end"),
    [
        (BackgroundOutcome.complete(), 10, 110, "completed"),
        (BackgroundOutcome.complete(after=11), 1, 11, "completed"),
        (BackgroundOutcome.complete(after=0), 0, 0, "completed"),
        (BackgroundOutcome.fail(after=1100), 100, 1100, "failed"),
        (BackgroundOutcome.incomplete(), 10, 110, "incomplete"),
        (BackgroundOutcome.cancel(), 0, 0, "cancelled"),
        (BackgroundOutcome.stay("queued"), inf, inf, "completed"),
        (BackgroundOutcome.stay("in_progress", after=3), 10, inf, "completed"),
        (BackgroundOutcome.delete(after=3), 10, 110, "completed"),
        (BackgroundOutcome.outrun(), 10, 110, "completed"),
    ],
)
def test_scripted_courses(outcome: BackgroundOutcome, starts: float, ends: float, end: str) -> None:
    """What the script does not say, the weather does."""
    course = planned(outcome=outcome)
    assert course.starts - NOW == pytest.approx(starts)
    assert (course.ends - NOW, course.end) == (ends, end)


@given(
    window=st.sampled_from(list(WINDOWS)),
    queued=st.tuples(st.floats(0, 1e4), st.floats(0, 1e4)).map(sorted).map(tuple),
    seconds=st.floats(0, 1e5),
    missed=st.floats(0, 1),
    fail=st.floats(0, 0.5),
    follows=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_a_course_is_in_order(
    window: str,
    queued: Any,
    seconds: float,
    missed: float,
    fail: float,
    follows: bool,
    seed: int,
) -> None:
    """Created, started, ended: the course is determined by the seed."""
    weather = BackgroundWeather(
        queued=queued, seconds=seconds, missed=missed, fail=fail, incomplete=fail
    )
    course, again = (
        plan(window, weather, None, NOW, Random(seed), follows=follows) for _ in range(2)
    )
    assert course == again
    assert NOW <= course.starts <= course.ends
    statuses = [course.status(moment) for moment in (NOW - 1, course.starts, course.ends)]
    assert statuses == ["queued", "in_progress", "in_progress"]


def test_shares() -> None:
    """So many fail, end half written and miss their window as the weather says."""
    weather = BackgroundWeather(fail=0.2, incomplete=0.3, missed=0.4, missed_by=1)
    courses = [plan("2h", weather, None, NOW, Random(seed)) for seed in range(2000)]
    ends = [course.end for course in courses]
    assert ends.count("failed") / 2000 == pytest.approx(0.2, abs=0.03)
    assert ends.count("incomplete") / 2000 == pytest.approx(0.3, abs=0.03)
    late = sum(course.ends > course.late for course in courses)
    assert late / 2000 == pytest.approx(0.4, abs=0.03)


WORDS = (
    "background=5-60,background_2h=600,background_8h=60-7200,background_queued=1,"
    "background_queued_2h=2,background_queued_8h=3-4,background_fail=0.1,"
    "background_incomplete=0.2,background_missed=0.3,background_missed_by=60,"
    "background_follow_up=0.25,background_cancelling=3,background_cancel_ended=true,"
    "background_windows=o3,background_windows=gpt-5*,background_unsupported=gpt-4o,"
    "background_stored=false,background_keep=30,background_poll_rpm=60,background_api_errors=0.05"
)
FIELDS: dict[str, Any] = {
    "seconds": (5, 60), "seconds_2h": 600, "seconds_8h": (60, 7200), "queued": 1,
    "queued_2h": 2, "queued_8h": (3, 4), "fail": 0.1, "incomplete": 0.2, "missed": 0.3,
    "missed_by": 60, "follow_up": 0.25, "cancelling": 3, "cancel_ended": True,
    "window_models": ("o3", "gpt-5*"), "unsupported_models": ("gpt-4o",), "stored": False,
    "keep": 30, "poll_rpm": 60, "api_errors": 0.05,
}  # fmt: skip


def test_every_field_has_a_word() -> None:
    """One line, an object of JSON, and Python mean the same."""
    expected = Weather(background=BackgroundWeather(**FIELDS))
    assert Weather.parse(WORDS) == expected
    as_json = {k: list(v) if isinstance(v, tuple) else v for k, v in FIELDS.items()}
    assert Weather.from_dict({"background": as_json}) == expected


def test_a_model_can_have_its_own() -> None:
    """What a model's weather leaves out is as around it."""
    weather = Weather.parse("background=60,background_fail=0.1,o3:background_8h=5")
    assert weather.of("o3").background == BackgroundWeather(seconds=60, fail=0.1, seconds_8h=5)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("background=x", "background=x cannot be read"),
        ("background_fail=2", "background: fail must be a probability"),
        ("background_fail=0.6,background_incomplete=0.6", "fail and incomplete"),
        ("background_stored=1", "true or false"),
        ("background_poll_rpm=0", "poll_rpm must be"),
        ("background_keep=-1", "keep must be"),
        ("background_2h=9-1", "seconds_2h must be"),
        ("o3:background_follow_up=-1", "models: o3: background: follow_up"),
    ],
)
def test_mistakes_are_explained(line: str, problem: str) -> None:
    """A word that cannot be is an error that names it."""
    with pytest.raises(ValueError, match=problem):
        Weather.parse(line)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"rain": 1}, "background has unknown fields: rain"),
        ({"queued": None}, "queued must not be None"),
        ({"stored": 1}, "stored must be true or false"),
        ({"window_models": "o3"}, "window_models must be a tuple"),
        ({"missed_by": "soon"}, "missed_by must be seconds"),
    ],
)
def test_mistakes_in_json_are_explained(fields: dict[str, Any], problem: str) -> None:
    """A field that cannot be is an error that names it."""
    with pytest.raises(ValueError, match=problem):
        Weather.from_dict({"background": fields})


def test_the_part_has_its_type() -> None:
    """Anything but a BackgroundWeather is a mistake."""
    with pytest.raises(ValueError, match="background must be a BackgroundWeather"):
        Weather(background=3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: BackgroundOutcome.stay("completed"), "status must be"),
        (lambda: BackgroundOutcome.stay(""), "status must be"),
        (lambda: BackgroundOutcome.incomplete("tired"), "reason must be"),  # type: ignore[arg-type]
        (lambda: BackgroundOutcome.complete(-1), "after must be"),
    ],
)
def test_mistakes_in_outcomes_are_explained(make: Any, problem: str) -> None:
    """An outcome that cannot be is an error that names the field."""
    with pytest.raises(ValueError, match=problem):
        make()


def steer(sim: Simulator, outcomes: Any) -> Any:
    """Script outcomes over HTTP."""
    return raw(
        sim.url,
        "POST",
        "/sim/background",
        {"outcomes": outcomes},
        **{"x-flextier-token": sim.token},
    )


def test_outcomes_can_be_scripted_over_http(sim: Simulator) -> None:
    """Every outcome, repeated, and mistakes are explained."""
    names = ("complete", "incomplete", "cancel", "delete", "outrun")
    items: list[dict[str, Any]] = [{"outcome": name} for name in names]
    items += [{"outcome": "stay", "status": "queued"}, {"outcome": "fail", "code": "x", "times": 2}]
    assert steer(sim, items).json() == {"waiting": 8}
    for wrong, problem in (
        ("fail", "must be a list"),
        ([{"outcome": "rain"}], "outcome must be one of complete"),
        ([{"outcome": "stay"}], "outcome stay"),
        ([{"outcome": "complete", "after": -1}], "after must be"),
    ):
        answer = steer(sim, wrong)
        assert answer.status == 400
        assert problem in answer.json()["error"]["message"]
    with account(sim) as backgrounds:
        statuses = [backgrounds.look(backgrounds.create()).status for _ in range(3)]
    assert statuses == ["completed", "incomplete", "cancelled"]


def test_a_reset_forgets_responses(sim: Simulator) -> None:
    """Responses, outcomes and counts are gone, direct ones too."""
    with account(sim) as backgrounds:
        made = [backgrounds.create(), backgrounds.create(background=False)]
        sim.script_background(BackgroundOutcome.fail())
        sim.reset()
        for response in made:
            assert raw(sim.url, "GET", f"/v1/responses/{response.id}").status == 404
        assert backgrounds.look(backgrounds.create()).status == "completed"
    assert sim.stats()["background"]["created"] == 1
