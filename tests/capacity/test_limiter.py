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


class House:
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
        """Look whether it has been let in, or line up."""
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
def house() -> House:
    """An open lane, at T0."""
    return House()


def test_an_open_lane_lets_in_at_once(house: House) -> None:
    """Nobody lines up where nobody waits."""
    permits = [house.ask() for _ in range(10)]
    assert all(permit.granted for permit in permits)
    assert not house.ask().granted, "the eleventh waits for the fate of the first"


def test_a_waiting_call_gets_the_seconds_to_wait(house: House) -> None:
    """The most urgent one until there may be a chance, the others until they look by themselves."""
    house.shut()
    first, second = house.ask(), house.ask()
    assert house.recheck(first) == pytest.approx(1.0)
    assert house.recheck(second) == pytest.approx(5.1)


def test_no_call_waits_beyond_its_time(house: House) -> None:
    """Patience ends the wait, though there would be a chance later."""
    house.shut()
    assert house.recheck(house.ask(patience=0.4)) == pytest.approx(0.4)


def test_a_probe_is_the_most_urgent_ones(house: House) -> None:
    """When the time has come, it is granted to whoever has the least left, whoever looks."""
    house.shut()
    patient, hasty = house.ask(patience=100), house.ask(patience=10)
    house.recheck(patient)
    house.recheck(hasty)
    house.now += 1.0
    assert house.recheck(patient) > 0
    assert hasty.granted
    assert house.woken == [hasty]
    assert house.recheck(hasty) == 0


def test_earlier_deadlines_go_first_and_then_turns(house: House) -> None:
    """In the order of what is left, and where that is the same, of asking."""
    inside = [house.send() for _ in range(10)]
    late, soon, also = house.ask(20), house.ask(10), house.ask(10)
    for permit in (late, also, soon):
        house.recheck(permit)
    for permit in inside[:3]:
        house.end(permit)
    assert house.woken == [soon, also, late]


def test_an_earlier_turn_is_kept(house: House) -> None:
    """Whoever was refused lines up again where they stood."""
    first, _ = house.send(), [house.send() for _ in range(9)]
    house.now += 0.01
    house.end(first, "refused")
    other = house.ask(patience=99.99)
    again = house.ask(patience=99.99, turn=first.turn)
    house.recheck(other)
    house.recheck(again)
    house.now += 2
    house.recheck(other)
    assert house.woken[0] is again


def test_an_answer_lets_the_next_one_in(house: House) -> None:
    """Without waiting for anybody to look; those who need not be are not woken."""
    inside = [house.send() for _ in range(10)]
    first, second, third = house.ask(), house.ask(), house.ask()
    for permit in (first, second, third):
        house.recheck(permit)
    house.end(inside[0])
    assert [first.granted, second.granted, third.granted] == [True, True, False]
    assert house.woken == [first, second, third], "the third to look when the next may be in"
    assert house.recheck(third) > 0


def test_no_call_is_woken_twice(house: House) -> None:
    """Until they have looked again."""
    inside = [house.send() for _ in range(10)]
    waiting = house.ask()
    house.recheck(waiting)
    for permit in inside:
        house.end(permit)
    assert house.woken == [waiting]


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_wait_passes_its_turn_on(house: House, granted: bool) -> None:
    """In line, or let in already: somebody else goes instead."""
    house.shut()
    first, second = house.ask(), house.ask()
    house.recheck(first)
    house.recheck(second)
    if granted:
        house.now += 1.0
        house.recheck(second)
        assert first.granted
    house.end(first, "gone")
    if not granted:
        assert house.woken == [second], "it is the one who has to look in time now"
        assert house.recheck(second) == pytest.approx(1.0)
        house.now += 1.0
        house.recheck(second)
    assert second.granted


def test_a_place_that_is_not_taken_goes_to_another(house: House) -> None:
    """Whoever was let in may be on an event loop that is blocked."""
    house.shut()
    blocked, other = house.ask(), house.ask()
    house.recheck(blocked)
    house.recheck(other)
    house.now += 1.0
    house.recheck(other)
    assert blocked.granted
    house.now += 2.0
    assert house.recheck(other) == 0
    assert other.granted
    assert not blocked.granted
    house.limiter.start(blocked, house.now)  # it comes after all: a last try, whatever is known
    assert house.flex.in_flight == 2


def test_a_lane_that_refuses_turns_away_in_the_end(house: House) -> None:
    """When the time is over, without a permit."""
    house.shut()
    permit = house.ask(patience=0.5)
    house.recheck(permit)
    house.now += 0.5
    assert house.recheck(permit) == 0
    assert not permit.granted
    assert not permit.waiting


def test_a_lane_that_does_not_refuse_admits_at_the_end(house: House) -> None:
    """Who has waited for the fate of others until patience was spent may still go."""
    inside = [house.send() for _ in range(10)]
    permit = house.ask(patience=0.5, latest=T0 + 60)
    house.recheck(permit)
    house.now += 0.5
    assert house.recheck(permit) == 0
    assert permit.granted
    assert len(inside) == 10


def test_it_is_too_late_after_the_latest_moment(house: House) -> None:
    """An attempt that could not be answered in time is not let in."""
    inside = [house.send() for _ in range(10)]
    permit = house.ask(patience=0.5)
    house.recheck(permit)
    house.now += 0.5
    assert house.recheck(permit) == 0
    assert not permit.granted
    assert len(inside) == 10


def test_the_servers_word_turns_away_at_once(house: House) -> None:
    """Whoever could not be let in by then need not wait for it; the others go on waiting."""
    inside = [house.send() for _ in range(10)]
    hasty, patient = house.ask(patience=10), house.ask(patience=100)
    house.recheck(hasty)
    house.recheck(patient)
    house.limiter.shut(house.flex, house.now + 30, house.now)
    assert house.woken == [hasty]
    assert house.recheck(hasty) == 0
    assert not hasty.granted
    assert house.recheck(patient) > 0
    assert len(inside) == 10


def test_what_was_ended_is_not_ended_again(house: House) -> None:
    """A stream that is closed after its end gives nothing back twice."""
    permit = house.send()
    house.end(permit)
    house.end(permit)
    house.end(permit, "refused")
    assert (house.flex.in_flight, house.flex.answered, house.flex.refused) == (0, 1, 0)
    house.limiter.end(None, "gone", house.now)


def test_a_dropped_permit_gives_its_place_back(house: House) -> None:
    """Nobody ended it: it is noticed when the next one asks."""
    permits = [house.send() for _ in range(3)]
    house.now += 2
    house.ask()
    assert house.flex.confirmed == 3
    permits.clear()
    gc.collect()
    house.ask()
    assert house.flex.confirmed == 0


def test_a_dropped_permit_is_not_given_back_twice(house: House) -> None:
    """What is collected with it may end it after that: a stream whose connection is closed then."""
    permit = house.send()
    permit.__del__()
    house.end(permit)
    house.ask()
    assert house.flex.in_flight == 1, "the one that asked now"


def test_a_rate_limit_is_shared_by_the_lanes(house: House) -> None:
    """Whoever met it: nobody goes out before the server said, on flex or on standard."""
    house.limiter.limited(house.now, 5.0)
    flex, standard = house.ask(), house.ask(lane=house.standard, patience=math.inf)
    assert not flex.granted
    assert not standard.granted
    assert house.recheck(flex) == pytest.approx(5.0)
    assert house.recheck(standard) == pytest.approx(5.0)
    house.now += 5.0
    house.recheck(flex)
    assert flex.granted


def test_requests_are_spaced_out_after_a_rate_limit(house: House) -> None:
    """Each one lets the next one know when it may go."""
    house.limiter.limited(house.now, 1.0)
    permits = [house.ask(lane=house.standard, patience=math.inf) for _ in range(6)]
    sent: list[float] = []
    waits = {id(permit): house.recheck(permit) for permit in permits}
    while permits:
        house.now += min(min(waits.values()), 5.0)
        for permit in list(permits):
            wait = house.recheck(permit)
            if wait:
                waits[id(permit)] = wait
            else:
                sent.append(house.now)
                permits.remove(permit)
                del waits[id(permit)]
    assert sent[0] >= T0 + 1
    assert sent[-1] - sent[0] >= 4 * house.limiter.pace.interval


def test_a_lane_of_one_model_is_one_estimator(house: House) -> None:
    """Whoever asks for it."""
    assert house.limiter.lane("flex", scarce=True) is house.flex
    assert house.limiter.lanes(lambda estimator, waiting: (estimator.name, waiting)) == [
        ("flex", 0),
        ("standard", 0),
    ]


def test_how_many_wait_is_known(house: House) -> None:
    """By lane; those who have left are not among them."""
    house.shut()
    permits = [house.ask() for _ in range(3)]
    for permit in permits:
        house.recheck(permit)
    house.end(permits[1], "gone")
    assert house.limiter.lanes(lambda estimator, waiting: waiting) == [2, 0]


def test_a_lane_that_is_not_known_says_nothing() -> None:
    """Neither when it opens nor how long its answers take."""
    limiter = Limiter()
    assert limiter.shut_for("flex", T0) == 0.0
    assert limiter.latency("flex", 0.5) is None


def test_when_a_lane_opens_is_returned(house: House) -> None:
    """For whoever wants to know how long the next try will wait."""
    assert house.limiter.opens_in(house.flex, house.now) == 0
    house.shut()
    assert house.limiter.opens_in(house.flex, house.now) == pytest.approx(1.0)
    house.limiter.limited(house.now, 7.0)
    assert house.limiter.opens_in(house.standard, house.now) == pytest.approx(7.0)
