"""Who may send now, and whose turn it is. On a clock that only the test moves."""

from __future__ import annotations

import gc
import math
from typing import Any

import pytest

from flextier.capacity import Limiter, Permit, ProbeSpacing
from flextier.capacity.permit import Verdict

T0 = 1_000.0
EXACT = ProbeSpacing(1.0, 2.0, 60.0, 1.0)


class LimiterHarness:
    """A limiter with a flex lane, and the time."""

    def __init__(self) -> None:
        self.limiter = Limiter()
        self.flex = self.limiter.lane("flex", scarce=True)
        self.standard = self.limiter.lane("standard", scarce=False)
        self.now = T0
        self.woken: list[Permit] = []

    def ask(self, patience: float = 100.0, lane: Any = None, **more: Any) -> Permit:
        """A permit for an attempt on flex."""
        until = self.now + patience
        return self.limiter.try_acquire(
            lane or self.flex, self.now, until, more.pop("latest", until), **more
        )

    def recheck(self, permit: Permit) -> float:
        """Return the seconds until the permit is rechecked, 0 once it is granted."""
        return self.limiter.recheck(permit, self.now, lambda: self.woken.append(permit))

    def send(self, **more: Any) -> Permit:
        """An attempt that goes out."""
        permit = self.ask(**more)
        self.limiter.start(permit, self.now)
        return permit

    def end(self, permit: Permit, verdict: Verdict = "served") -> None:
        """It comes to an end now."""
        self.limiter.end(permit, verdict, self.now, EXACT)

    def shut(self) -> None:
        """Refusals until the lane is held at nothing."""
        self.flex.silence.add(0.01)
        permits = [self.send() for _ in range(3)]
        self.now += 0.01
        for permit in permits:
            self.end(permit, "refused")
        assert self.flex.hold is not None


@pytest.fixture
def harness() -> LimiterHarness:
    """An open lane, at T0."""
    return LimiterHarness()


def test_an_open_lane_lets_in_at_once(harness: LimiterHarness) -> None:
    """Requests are admitted at once while the window has room."""
    permits = [harness.ask() for _ in range(10)]
    assert all(permit.granted for permit in permits)
    assert not harness.ask().granted, "the eleventh waits for the fate of the first"


def test_a_waiting_call_gets_the_seconds_to_wait(harness: LimiterHarness) -> None:
    """The most urgent one until there may be a chance, the others until they look by themselves."""
    harness.shut()
    first, second = harness.ask(), harness.ask()
    assert harness.recheck(first) == pytest.approx(1.0)
    assert harness.recheck(second) == pytest.approx(5.1)


def test_no_call_waits_beyond_its_time(harness: LimiterHarness) -> None:
    """Patience ends the wait, though there would be a chance later."""
    harness.shut()
    assert harness.recheck(harness.ask(patience=0.4)) == pytest.approx(0.4)


def test_a_probe_is_the_most_urgent_ones(harness: LimiterHarness) -> None:
    """A due probe is granted to the call with the least time left, whichever call rechecks."""
    harness.shut()
    patient, hasty = harness.ask(patience=100), harness.ask(patience=10)
    harness.recheck(patient)
    harness.recheck(hasty)
    harness.now += 1.0
    assert harness.recheck(patient) > 0
    assert hasty.granted
    assert harness.woken == [hasty]
    assert harness.recheck(hasty) == 0


def test_earlier_deadlines_go_first_and_then_turns(harness: LimiterHarness) -> None:
    """In the order of what is left, and where that is the same, of asking."""
    inside = [harness.send() for _ in range(10)]
    late, soon, also = harness.ask(20), harness.ask(10), harness.ask(10)
    for permit in (late, also, soon):
        harness.recheck(permit)
    for permit in inside[:3]:
        harness.end(permit)
    assert harness.woken == [soon, also, late]


def test_an_earlier_turn_is_kept(harness: LimiterHarness) -> None:
    """A refused call keeps its place in the queue."""
    first, _ = harness.send(), [harness.send() for _ in range(9)]
    harness.now += 0.01
    harness.end(first, "refused")
    other = harness.ask(patience=99.99)
    again = harness.ask(patience=99.99, turn=first.turn)
    harness.recheck(other)
    harness.recheck(again)
    harness.now += 2
    harness.recheck(other)
    assert harness.woken[0] is again


def test_an_answer_lets_the_next_one_in(harness: LimiterHarness) -> None:
    """Without waiting for anybody to look; those who need not be are not woken."""
    inside = [harness.send() for _ in range(10)]
    first, second, third = harness.ask(), harness.ask(), harness.ask()
    for permit in (first, second, third):
        harness.recheck(permit)
    harness.end(inside[0])
    assert [first.granted, second.granted, third.granted] == [True, True, False]
    assert harness.woken == [first, second, third], "the third to look when the next may be in"
    assert harness.recheck(third) > 0


def test_no_call_is_woken_twice(harness: LimiterHarness) -> None:
    """Until they have looked again."""
    inside = [harness.send() for _ in range(10)]
    waiting = harness.ask()
    harness.recheck(waiting)
    for permit in inside:
        harness.end(permit)
    assert harness.woken == [waiting]


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_wait_passes_its_turn_on(harness: LimiterHarness, granted: bool) -> None:
    """When a waiting or admitted call is cancelled, the next one takes its place."""
    harness.shut()
    first, second = harness.ask(), harness.ask()
    harness.recheck(first)
    harness.recheck(second)
    if granted:
        harness.now += 1.0
        harness.recheck(second)
        assert first.granted
    harness.end(first, "gone")
    if not granted:
        assert harness.woken == [second], "it is the one who has to look in time now"
        assert harness.recheck(second) == pytest.approx(1.0)
        harness.now += 1.0
        harness.recheck(second)
    assert second.granted


def test_a_place_that_is_not_taken_goes_to_another(harness: LimiterHarness) -> None:
    """A permit that is not used is passed on: its event loop may be blocked."""
    harness.shut()
    blocked, other = harness.ask(), harness.ask()
    harness.recheck(blocked)
    harness.recheck(other)
    harness.now += 1.0
    harness.recheck(other)
    assert blocked.granted
    harness.now += 2.0
    assert harness.recheck(other) == 0
    assert other.granted
    assert not blocked.granted
    harness.limiter.start(blocked, harness.now)  # it comes after all: a last try, whatever is known
    assert harness.flex.in_flight == 2


def test_a_lane_that_refuses_refuses_the_call_in_the_end(harness: LimiterHarness) -> None:
    """When the time is over, without a permit."""
    harness.shut()
    permit = harness.ask(patience=0.5)
    harness.recheck(permit)
    harness.now += 0.5
    assert harness.recheck(permit) == 0
    assert not permit.granted
    assert not permit.waiting


def test_a_lane_that_does_not_refuse_admits_at_the_end(harness: LimiterHarness) -> None:
    """Who has waited for the fate of others until patience was spent may still go."""
    inside = [harness.send() for _ in range(10)]
    permit = harness.ask(patience=0.5, latest=T0 + 60)
    harness.recheck(permit)
    harness.now += 0.5
    assert harness.recheck(permit) == 0
    assert permit.granted
    assert len(inside) == 10


def test_it_is_too_late_after_the_latest_moment(harness: LimiterHarness) -> None:
    """An attempt that could not be answered in time is not let in."""
    inside = [harness.send() for _ in range(10)]
    permit = harness.ask(patience=0.5)
    harness.recheck(permit)
    harness.now += 0.5
    assert harness.recheck(permit) == 0
    assert not permit.granted
    assert len(inside) == 10


def test_retry_after_beyond_the_deadline_refuses_at_once(harness: LimiterHarness) -> None:
    """A call that cannot wait for Retry-After is refused at once; the others keep waiting."""
    inside = [harness.send() for _ in range(10)]
    hasty, patient = harness.ask(patience=10), harness.ask(patience=100)
    harness.recheck(hasty)
    harness.recheck(patient)
    harness.limiter.shut(harness.flex, harness.now + 30, harness.now)
    assert harness.woken == [hasty]
    assert harness.recheck(hasty) == 0
    assert not hasty.granted
    assert harness.recheck(patient) > 0
    assert len(inside) == 10


def test_what_was_ended_is_not_ended_again(harness: LimiterHarness) -> None:
    """A stream that is closed after its end gives nothing back twice."""
    permit = harness.send()
    harness.end(permit)
    harness.end(permit)
    harness.end(permit, "refused")
    assert (harness.flex.in_flight, harness.flex.answered, harness.flex.refused) == (0, 1, 0)
    harness.limiter.end(None, "gone", harness.now)


def test_a_dropped_permit_gives_its_place_back(harness: LimiterHarness) -> None:
    """A permit that was dropped without ending is noticed at the next request."""
    permits = [harness.send() for _ in range(3)]
    harness.now += 2
    harness.ask()
    assert harness.flex.confirmed == 3
    permits.clear()
    gc.collect()
    harness.ask()
    assert harness.flex.confirmed == 0


def test_a_dropped_permit_is_not_given_back_twice(harness: LimiterHarness) -> None:
    """What is collected with it may end it after that: a stream whose connection is closed then."""
    permit = harness.send()
    permit.__del__()
    harness.end(permit)
    harness.ask()
    assert harness.flex.in_flight == 1, "the one that asked now"


def test_a_rate_limit_is_shared_by_the_lanes(harness: LimiterHarness) -> None:
    """After a rate limit on either lane, no lane sends before Retry-After has passed."""
    harness.limiter.limited(harness.now, 5.0)
    flex, standard = harness.ask(), harness.ask(lane=harness.standard, patience=math.inf)
    assert not flex.granted
    assert not standard.granted
    assert harness.recheck(flex) == pytest.approx(5.0)
    assert harness.recheck(standard) == pytest.approx(5.0)
    harness.now += 5.0
    harness.recheck(flex)
    assert flex.granted


def test_requests_are_spaced_out_after_a_rate_limit(harness: LimiterHarness) -> None:
    """Each one lets the next one know when it may go."""
    harness.limiter.limited(harness.now, 1.0)
    permits = [harness.ask(lane=harness.standard, patience=math.inf) for _ in range(6)]
    sent: list[float] = []
    waits = {id(permit): harness.recheck(permit) for permit in permits}
    while permits:
        harness.now += min(min(waits.values()), 5.0)
        for permit in list(permits):
            wait = harness.recheck(permit)
            if wait:
                waits[id(permit)] = wait
            else:
                sent.append(harness.now)
                permits.remove(permit)
                del waits[id(permit)]
    assert sent[0] >= T0 + 1
    assert sent[-1] - sent[0] >= 4 * harness.limiter.pace.requests.interval


def test_a_lane_of_one_model_is_one_estimator(harness: LimiterHarness) -> None:
    """Each lane of a model has one estimator."""
    assert harness.limiter.lane("flex", scarce=True) is harness.flex
    assert harness.limiter.lanes(lambda estimator, waiting: (estimator.name, waiting)) == [
        ("flex", 0),
        ("standard", 0),
    ]


def test_how_many_wait_is_known(harness: LimiterHarness) -> None:
    """By lane; those who have left are not among them."""
    harness.shut()
    permits = [harness.ask() for _ in range(3)]
    for permit in permits:
        harness.recheck(permit)
    harness.end(permits[1], "gone")
    assert harness.limiter.lanes(lambda estimator, waiting: waiting) == [2, 0]


def test_a_lane_that_is_not_known_says_nothing() -> None:
    """Neither when it opens nor how long its answers take."""
    limiter = Limiter()
    assert limiter.shut_for("flex", T0) == 0.0
    assert limiter.latency("flex", 0.5) is None


def test_when_a_lane_opens_is_returned(harness: LimiterHarness) -> None:
    """It is the longer of the lane's next probe and the rate limit."""
    assert harness.limiter.opens_in(harness.flex, harness.now) == 0
    harness.shut()
    assert harness.limiter.opens_in(harness.flex, harness.now) == pytest.approx(1.0)
    harness.limiter.limited(harness.now, 7.0)
    assert harness.limiter.opens_in(harness.standard, harness.now) == pytest.approx(7.0)
