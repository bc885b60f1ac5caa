"""The ladder of a call under ``lanes="auto"``: from model, deadline and what a call can take."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier import FlexPolicy, PolicyError
from flextier.auto import Plan, explain
from flextier.calls.run_tracking import RunTracker
from flextier.costs import PriceBook, set_price_book
from flextier.lanes import BACKGROUND, BACKGROUND_FLEX, LANES
from flextier.planning.auto_plan import plan, span
from flextier.planning.fallback import Ladder

HOUR = 3600.0
MODELS = ["gpt-6.2-sol", "gpt-6.1-terra", "o3", "gpt-4.1", "gpt-5.3-codex", "my-deployment"]


def names(plan: Plan) -> list[str]:
    """The ladder by name."""
    return [lane.name for lane in plan.lanes]


@pytest.mark.parametrize(
    ("model", "deadline", "lanes"),
    [
        ("gpt-6.2-sol", 20, "standard"),
        ("gpt-6.2-sol", 600, "standard"),
        ("gpt-6.2-sol", 2 * HOUR, "standard"),
        ("gpt-6.2-sol", 3 * HOUR, "background-2h standard"),
        ("gpt-6.2-sol", 10 * HOUR, "batch background-8h background-2h standard"),
        ("gpt-6.2-sol", None, "batch background-8h background-2h standard"),
        ("o3", 20, "standard"),
        ("o3", 600, "flex standard"),
        ("o3", 3 * HOUR, "flex standard"),
        ("o3", 6 * HOUR, "batch flex standard"),
        ("gpt-6.1-terra", 3 * HOUR, "flex background-2h standard"),
        ("gpt-6.1-terra", 48 * HOUR, "batch flex background-8h background-2h standard"),
        ("gpt-4.1", 48 * HOUR, "batch standard"),
        ("gpt-5.3-codex", 48 * HOUR, "standard"),
        ("my-deployment", 48 * HOUR, "batch flex standard"),
    ],
)
def test_the_ladder(model: str, deadline: float | None, lanes: str) -> None:
    """What the model has and the deadline allows, the cheapest first."""
    assert names(explain(model, deadline=deadline)) == lanes.split()


def test_chat_completions_have_no_windows() -> None:
    """The reason says where they are to be had."""
    plan = explain("gpt-6.2-sol", deadline=10 * HOUR, api="chat")
    assert names(plan) == ["batch", "standard"]
    assert "use_responses_api=True" in plan.why


def test_a_stream_is_no_line_of_a_batch() -> None:
    """A background response comes as a stream of one chunk."""
    plan = explain("gpt-6.2-sol", deadline=10 * HOUR, stream=True)
    assert names(plan) == ["background-8h", "background-2h", "standard"]


def test_a_step_waits_for_no_file() -> None:
    """Calls that follow from each other would wait for a batch each."""
    plan = explain("o3", deadline=48 * HOUR, step=True)
    assert names(plan) == ["flex", "standard"]
    assert "not batch: a step of a run" in plan.why


@pytest.mark.parametrize(
    ("window", "name"), [(2 * HOUR, "background-2h"), (8 * HOUR, "background-8h")]
)
def test_a_window_fits_if_the_ladder_says_so(window: float, name: str) -> None:
    """A window fits if it leaves ``standard_reserve`` and five seconds to cancel."""
    for over, fits in ((35.0, False), (35.5, True)):
        found = explain("gpt-6.2-sol", deadline=window + over, step=True)
        assert (name in names(found)) is fits
        step = Ladder(FlexPolicy(deadline=window + over), found.lanes, 0.0).start(0.0)
        assert step.lane is found.lanes[0]
    assert "its window, 5 s and standard_reserve" in explain("gpt-6.2-sol", deadline=window).why


def test_a_reserve_that_leaves_nothing_for_a_batch() -> None:
    """It is left out, instead of left at once."""
    policy = FlexPolicy(deadline=7 * HOUR, batch_reserve=7 * HOUR - 10, batch_window=10)
    found = plan("o3", policy, {})
    assert names(found) == ["flex", "standard"]
    assert "not batch: the deadline leaves no more than batch_window and batch_reserve" in found.why


def test_the_least_that_make_a_batch() -> None:
    """Ten, or more if the policy says more."""
    assert plan("o3", FlexPolicy(batch_min_calls=2), {}).batch_min_calls == 10
    assert plan("o3", FlexPolicy(batch_min_calls=50), {}).batch_min_calls == 50


def test_flex_that_the_api_has_refused_before() -> None:
    """A model without flex has none in the background, either."""
    policy = FlexPolicy(flex_background=True, deadline=600)
    assert names(plan("o3", policy, {}, frozenset({"flex"}))) == ["standard"]


def test_what_the_api_has_said_before() -> None:
    """A lane that was refused for the model is left out, and the reason is that."""
    policy = FlexPolicy(deadline=10 * HOUR)
    refused = frozenset({BACKGROUND["8h"].key, "batch"})
    found = plan("gpt-6.2-sol", policy, {}, refused)
    assert names(found) == ["background-2h", "standard"]
    assert "not batch, background-8h: the API does not offer it for gpt-6.2-sol" in found.why


def test_flex_without_a_held_connection() -> None:
    """``flex_background`` holds under auto, too, unless the API has refused it for the model."""
    policy = FlexPolicy(flex_background=True, deadline=600)
    assert plan("o3", policy, {}).lanes[0] is BACKGROUND_FLEX
    assert plan("o3", policy, {}, frozenset({BACKGROUND_FLEX.key})).lanes[0] is LANES["flex"]


def test_a_window_begins_only_whole() -> None:
    """What of a window is left when its turn comes has to be all of it."""
    lanes = {lane.name: lane for lane in explain("gpt-6.2-sol").lanes}
    assert lanes["background-8h"].min_seconds == 8 * HOUR
    assert lanes["background-2h"].min_seconds == 2 * HOUR


def test_own_prices_make_the_order() -> None:
    """Where flex is dearer than a window, it comes after it."""
    dear = {
        "gpt-6.1-terra": {"standard": _rates(10), "flex": _rates(9), "background-2h": _rates(7)}
    }
    before = set_price_book(PriceBook(rates=dear))
    try:
        plan = explain("gpt-6.1-terra", deadline=3 * HOUR)
    finally:
        set_price_book(before)
    assert names(plan) == ["background-2h", "flex", "standard"]
    shares = {one.lane.name: one.share for one in plan.considered}
    assert shares["flex"] == Decimal("0.9")
    assert names(explain("gpt-6.1-terra", deadline=3 * HOUR))[0] == "flex"


def _rates(dollars: int) -> dict[str, str]:
    return {"input": str(dollars), "output": str(dollars)}


@given(
    model=st.sampled_from(MODELS),
    deadline=st.none() | st.floats(0.01, 1e6),
    stream=st.booleans(),
    step=st.booleans(),
    api=st.sampled_from(["responses", "chat"]),
)
def test_every_plan(model: str, deadline: Any, stream: bool, step: bool, api: str) -> None:
    """It ends on standard, goes from cheap to dear, and every lane is in it or has a reason."""
    plan = explain(model, deadline=deadline, stream=stream, step=step, api=api)
    assert names(plan)[-1] == "standard"
    assert all(one.share <= other.share for one, other in pairwise(plan.considered))
    assert len(plan.considered) == 5
    for one in plan.considered:
        assert (one.lane in plan.lanes) is not bool(one.against)
        if one.lane.min_seconds and not one.against and deadline is not None:
            assert deadline > one.lane.min_seconds
        assert one.lane.name in plan.why


def test_bad_input() -> None:
    """The message names what is wrong."""
    with pytest.raises(ValueError, match="api='images'"):
        explain("o3", api="images")
    with pytest.raises(PolicyError, match="deadline=-1"):
        explain("o3", deadline=-1)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.5, "0.5 s"), (45, "45 s"), (600, "10 min"), (9000, "2.5 h"), (172_800, "2 days")],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    """In the largest unit that there is one of; days from two on."""
    assert span(seconds) == words


def test_steps_of_a_run() -> None:
    """A call is a step if others of its run have ended and none is on its way."""
    runs = RunTracker()
    assert not runs.call_started("a")
    assert not runs.call_started("a")  # at once with the first
    assert not runs.call_started("b")
    runs.call_ended("a")
    assert not runs.call_started("a")  # one is still on its way
    runs.call_ended("a")
    runs.call_ended("a")
    assert runs.call_started("a")
    runs.call_ended("unknown")
    assert not runs.call_started("unknown")


def test_a_fork_in_the_middle_of_a_run() -> None:
    """The child has none of the parent's calls, and a lock that a parent's thread held is free."""
    runs = RunTracker()
    runs.call_started("a")
    runs._lock.acquire()
    runs.reset_after_fork()
    assert runs.call_started("a")


def test_runs_are_forgotten() -> None:
    """However many there are, only the last ones are known."""
    runs = RunTracker()
    for number in range(10_001):
        runs.call_started(str(number))
        runs.call_ended(str(number))
    assert not runs.call_started("0")
    assert runs.call_started("10000")
