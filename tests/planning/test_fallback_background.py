"""The ladder on lanes whose answers are fetched: when they are left, and what comes after."""

from __future__ import annotations

import pytest

from flextier import FlexPolicy
from flextier.lanes import BACKGROUND, BACKGROUND_FLEX, FLEX, STANDARD, Lane
from flextier.planning.fallback import FailedAttempt, GiveUp, Ladder, Send

HOURS = BACKGROUND["8h"]


def ladder(*lanes: Lane, **knobs: float) -> Ladder:
    """A call that begins at 0 on the first of these lanes."""
    names = dict.fromkeys(lane.name for lane in lanes)
    made = Ladder(FlexPolicy(lanes=tuple(names), **knobs), lanes, 0.0)
    made.start(0.0)
    return made


def unfinished(now: float) -> FailedAttempt:
    """A failure: the response was cancelled."""
    return FailedAttempt("unfinished", now, jitter=0.5)


def test_called_off_before_the_next_lane_needs_the_time() -> None:
    """Of 1,000 s, 30 are reserved for standard, and 5 for cancelling."""
    made = ladder(HOURS, STANDARD, deadline=1000)
    assert (made.cancel_at, made.attempt_ends_by) == (965.0, 970.0)


@pytest.mark.parametrize(("deadline", "room"), [(1000, 5.0), (10, 1.0)])
def test_called_off_before_the_deadline_on_the_last_lane(deadline: float, room: float) -> None:
    """A tenth of a short deadline, five seconds of a long one."""
    made = ladder(HOURS, deadline=deadline)
    assert (made.cancel_at, made.attempt_ends_by) == (deadline - room, deadline)


def test_the_next_lane_is_sooner_than_another_window() -> None:
    """What came to nothing is not asked for there again."""
    step = ladder(HOURS, STANDARD).failed(unfinished(100.0))
    assert isinstance(step, Send)
    assert step.lane is STANDARD


def test_on_the_last_lane_it_is_asked_for_again() -> None:
    """``max_retries`` times, unless the deadline is why it was left."""
    made = ladder(HOURS, max_retries=1)
    assert isinstance(made.failed(unfinished(100.0)), Send)
    assert made.failed(unfinished(200.0)) == GiveUp("max_retries")
    assert ladder(HOURS, deadline=1000).failed(unfinished(995.0)) == GiveUp("deadline")


def test_flex_in_the_background_has_the_patience_of_flex() -> None:
    """A response that took too long is asked for again while patience lasts; then standard is."""
    made = ladder(BACKGROUND_FLEX, STANDARD, patience=300)
    step = made.failed(unfinished(100.0))
    assert isinstance(step, Send)
    assert step.lane is BACKGROUND_FLEX
    step = made.failed(unfinished(900.0))
    assert isinstance(step, Send)
    assert step.lane is STANDARD
    assert ladder(BACKGROUND_FLEX, patience=300).failed(unfinished(900.0)) == GiveUp("patience")


def test_the_other_lane_of_the_name() -> None:
    """It takes the place of the one that was refused, and nothing has fallen back."""
    made = ladder(BACKGROUND_FLEX, STANDARD)
    assert made.replace_lane(FLEX, 1.0).lane is FLEX
    assert made.fallback is None
    assert made.lane is FLEX
