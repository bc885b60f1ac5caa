"""When a silent request has stalled. No clock, no requests: answers in, seconds out."""

from __future__ import annotations

import math
from itertools import count

import pytest

from flextier.capacity.estimators import Latencies
from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.permit import Permit
from flextier.capacity.stalls import StallDetector

FACTOR = 3.0
UNTIL = 600.0
LANE = LaneEstimator("flex", scarce=True)


class Lane:
    """A detector whose requests are all admitted when they are sent."""

    def __init__(self, *answers: tuple[float, float]) -> None:
        self.numbers = count()
        self.latencies = Latencies()
        self.detector = StallDetector(self.latencies)
        for sent_at, seconds in answers:
            self.latencies.add(sent_at, seconds)

    def send(self, at: float) -> Permit:
        """A request that is sent, admitted, and checked for the first time."""
        permit = Permit(LANE, math.inf, math.inf, 0, lambda lost: None)
        permit.sent_at, permit.number = at, next(self.numbers)
        self.detector.last_admitted = permit.sent_at
        assert self.check(permit, at) == 5
        return permit

    def check(
        self, permit: Permit, now: float, *, until: float = UNTIL, full: bool = True
    ) -> float:
        """Seconds until the next check; 0: stalled."""
        return self.detector.stalls_in(permit, now, FACTOR, until, full)

    def answer(self, permit: Permit, now: float) -> None:
        """An answer to a request."""
        self.latencies.add(permit.sent_at, now - permit.sent_at)
        self.detector.ended(permit, served=True)


def test_twenty_later_answers_show_a_stall() -> None:
    """After three times the longest of them, whether the lane is full or not."""
    lane = Lane()
    silent = lane.send(0)
    for number in range(20):
        lane.answer(lane.send(number), number + 3)
    assert lane.check(silent, 8.9, full=False) == pytest.approx(0.5)
    assert lane.check(silent, 9, full=False) == 0


def test_answers_to_requests_sent_just_before_count_too() -> None:
    """A request that was sent while the lane was slow may take as long as its neighbours."""
    slow = [(number / 2, 24.0) for number in range(10)]
    lane = Lane(*slow)
    silent = lane.send(5)
    for number in range(20):
        lane.answer(lane.send(6 + number), 9 + number)
    assert lane.check(silent, 5 + 71) > 0
    assert lane.check(silent, 5 + 72) == 0


@pytest.mark.parametrize(("answers", "seconds"), [(1, 90), (3, 30), (5, 18), (10, 9), (19, 9)])
def test_the_fewer_later_answers_the_longer_it_may_be_silent(answers: int, seconds: float) -> None:
    """With one, ten times as long as with ten."""
    lane = Lane()
    silent = lane.send(0)
    for _ in range(answers):
        lane.answer(lane.send(1), 4)
    assert lane.check(silent, seconds - 0.1) > 0
    assert lane.check(silent, seconds) == 0


def test_without_an_answer_nothing_is_given_up() -> None:
    """It is not known what answers take."""
    lane = Lane()
    silent = [lane.send(0) for _ in range(5)]
    assert all(lane.check(permit, 599) > 0 for permit in silent)


def test_a_full_lane_gives_up_the_last_one_alone() -> None:
    """The others wait for what is sent in its place, which has the same time."""
    lane = Lane((0, 3.0))
    silent = [lane.send(10 + number) for number in range(5)]
    assert all(lane.check(permit, 14 + 89.9) > 0 for permit in silent)
    assert [lane.check(permit, 14 + 90) > 0 for permit in silent] == [True, True, True, True, False]
    assert all(lane.check(permit, 14 + 91) > 0 for permit in silent[:4])
    lane.send(106)
    assert all(lane.check(permit, 106 + 89) > 0 for permit in silent[:4])


def test_an_answer_in_its_place_shows_the_others_stalled() -> None:
    """They are given up as soon as they are checked, within five seconds."""
    lane = Lane((0, 3.0))
    silent = [lane.send(10) for _ in range(5)]
    assert lane.check(silent.pop(), 100) == 0
    assert all(0 < lane.check(permit, 101) <= 5 for permit in silent)
    lane.answer(lane.send(101), 104)
    assert [lane.check(permit, 106) for permit in silent] == [0] * 4


def test_the_next_one_given_up_was_silent_twice_as_long() -> None:
    """As long as no answer comes: the lane may be very slow."""
    lane = Lane((0, 3.0))
    first = lane.send(10)
    assert lane.check(first, 10 + 90) == 0
    second = lane.send(100)
    assert lane.check(second, 100 + 179, until=9_000) > 0
    assert lane.check(second, 100 + 180, until=9_000) == 0


def test_a_full_lane_gives_up_in_time() -> None:
    """After a third of the time at the latest, but never before three times the longest answer."""
    lane = Lane((0, 20.0))
    silent = lane.send(10)
    assert lane.check(silent, 10 + 199, until=610) > 0
    assert lane.check(silent, 10 + 200, until=610) == 0
    hurried = lane.send(300)
    assert lane.check(hurried, 300 + 59, until=310) > 0
    assert lane.check(hurried, 300 + 60, until=310) == 0


def test_a_lane_with_room_gives_up_later() -> None:
    """After half of the time at the soonest."""
    lane = Lane((0, 3.0))
    silent = lane.send(10)
    assert lane.check(silent, 10 + 294, full=False) > 0
    assert lane.check(silent, 10 + 295, full=False) == 0


def test_a_request_that_is_not_checked_any_more_does_not_count() -> None:
    """A stream whose first event has come: its end may be far away."""
    lane = Lane((0, 3.0))
    silent, stream = lane.send(10), lane.send(11)
    assert lane.check(stream, 98) == 3
    assert lane.check(silent, 105) > 0
    assert lane.check(silent, 106) == 0
