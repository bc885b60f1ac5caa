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
    """A gate with a flex lane, and the time."""

    def __init__(self) -> None:
        self.gate = Limiter()
        self.flex = self.gate.lane("flex", scarce=True)
        self.standard = self.gate.lane("standard", scarce=False)
        self.now = T0
        self.woken: list[Permit] = []

    def ask(self, patience: float = 100.0, lane: Any = None, **more: Any) -> Permit:
        """A ticket for an attempt on flex."""
        until = self.now + patience
        return self.gate.ask(lane or self.flex, self.now, until, more.pop("latest", until), **more)

    def look(self, ticket: Permit) -> float:
        """Look whether it has been let in, or line up."""
        return self.gate.look(ticket, self.now, lambda: self.woken.append(ticket))

    def send(self, **more: Any) -> Permit:
        """An attempt that goes out."""
        ticket = self.ask(**more)
        self.gate.begin(ticket, self.now)
        return ticket

    def end(self, ticket: Permit, verdict: Verdict = "served") -> None:
        """It comes to an end now."""
        self.gate.end(ticket, verdict, self.now, EXACT)

    def shut(self) -> None:
        """Refusals until the lane is held at nothing."""
        self.flex.silence.add(0.01)
        tickets = [self.send() for _ in range(3)]
        self.now += 0.01
        for ticket in tickets:
            self.end(ticket, "refused")
        assert self.flex.hold is not None


@pytest.fixture
def house() -> House:
    """An open lane, at T0."""
    return House()


def test_an_open_lane_lets_in_at_once(house: House) -> None:
    """Nobody lines up where nobody waits."""
    tickets = [house.ask() for _ in range(10)]
    assert all(ticket.granted for ticket in tickets)
    assert not house.ask().granted, "the eleventh waits for the fate of the first"


def test_whoever_waits_is_told_for_how_long(house: House) -> None:
    """The most urgent one until there may be a chance, the others until they look by themselves."""
    house.shut()
    first, second = house.ask(), house.ask()
    assert house.look(first) == pytest.approx(1.0)
    assert house.look(second) == pytest.approx(5.1)


def test_nobody_waits_beyond_their_time(house: House) -> None:
    """Patience ends the wait, though there would be a chance later."""
    house.shut()
    assert house.look(house.ask(patience=0.4)) == pytest.approx(0.4)


def test_a_probe_is_the_most_urgent_ones(house: House) -> None:
    """When the time has come, it is granted to whoever has the least left, whoever looks."""
    house.shut()
    patient, hasty = house.ask(patience=100), house.ask(patience=10)
    house.look(patient)
    house.look(hasty)
    house.now += 1.0
    assert house.look(patient) > 0
    assert hasty.granted
    assert house.woken == [hasty]
    assert house.look(hasty) == 0


def test_earlier_deadlines_go_first_and_then_turns(house: House) -> None:
    """In the order of what is left, and where that is the same, of asking."""
    inside = [house.send() for _ in range(10)]
    late, soon, also = house.ask(20), house.ask(10), house.ask(10)
    for ticket in (late, also, soon):
        house.look(ticket)
    for ticket in inside[:3]:
        house.end(ticket)
    assert house.woken == [soon, also, late]


def test_an_earlier_turn_is_kept(house: House) -> None:
    """Whoever was refused lines up again where they stood."""
    first, _ = house.send(), [house.send() for _ in range(9)]
    house.now += 0.01
    house.end(first, "refused")
    other = house.ask(patience=99.99)
    again = house.ask(patience=99.99, turn=first.turn)
    house.look(other)
    house.look(again)
    house.now += 2
    house.look(other)
    assert house.woken[0] is again


def test_an_answer_lets_the_next_one_in(house: House) -> None:
    """Without waiting for anybody to look; those who need not be are not woken."""
    inside = [house.send() for _ in range(10)]
    first, second, third = house.ask(), house.ask(), house.ask()
    for ticket in (first, second, third):
        house.look(ticket)
    house.end(inside[0])
    assert [first.granted, second.granted, third.granted] == [True, True, False]
    assert house.woken == [first, second, third], "the third to look when the next may be in"
    assert house.look(third) > 0


def test_nobody_is_woken_twice(house: House) -> None:
    """Until they have looked again."""
    inside = [house.send() for _ in range(10)]
    waiting = house.ask()
    house.look(waiting)
    for ticket in inside:
        house.end(ticket)
    assert house.woken == [waiting]


@pytest.mark.parametrize("granted", [False, True])
def test_a_cancelled_wait_passes_its_turn_on(house: House, granted: bool) -> None:
    """In line, or let in already: somebody else goes instead."""
    house.shut()
    first, second = house.ask(), house.ask()
    house.look(first)
    house.look(second)
    if granted:
        house.now += 1.0
        house.look(second)
        assert first.granted
    house.end(first, "gone")
    if not granted:
        assert house.woken == [second], "it is the one who has to look in time now"
        assert house.look(second) == pytest.approx(1.0)
        house.now += 1.0
        house.look(second)
    assert second.granted


def test_a_place_that_is_not_taken_goes_to_another(house: House) -> None:
    """Whoever was let in may be on an event loop that is blocked."""
    house.shut()
    blocked, other = house.ask(), house.ask()
    house.look(blocked)
    house.look(other)
    house.now += 1.0
    house.look(other)
    assert blocked.granted
    house.now += 2.0
    assert house.look(other) == 0
    assert other.granted
    assert not blocked.granted
    house.gate.begin(blocked, house.now)  # it comes after all: a last try, whatever is known
    assert house.flex.in_flight == 2


def test_a_lane_that_refuses_turns_away_in_the_end(house: House) -> None:
    """When the time is over, without a ticket."""
    house.shut()
    ticket = house.ask(patience=0.5)
    house.look(ticket)
    house.now += 0.5
    assert house.look(ticket) == 0
    assert not ticket.granted
    assert not ticket.waiting


def test_a_lane_that_does_not_refuse_turns_nobody_away(house: House) -> None:
    """Who has waited for the fate of others until patience was spent may still go."""
    inside = [house.send() for _ in range(10)]
    ticket = house.ask(patience=0.5, latest=T0 + 60)
    house.look(ticket)
    house.now += 0.5
    assert house.look(ticket) == 0
    assert ticket.granted
    assert len(inside) == 10


def test_it_is_too_late_after_the_latest_moment(house: House) -> None:
    """An attempt that could not be answered in time is not let in."""
    inside = [house.send() for _ in range(10)]
    ticket = house.ask(patience=0.5)
    house.look(ticket)
    house.now += 0.5
    assert house.look(ticket) == 0
    assert not ticket.granted
    assert len(inside) == 10


def test_the_servers_word_turns_away_at_once(house: House) -> None:
    """Whoever could not be let in by then need not wait for it; the others go on waiting."""
    inside = [house.send() for _ in range(10)]
    hasty, patient = house.ask(patience=10), house.ask(patience=100)
    house.look(hasty)
    house.look(patient)
    house.gate.shut(house.flex, house.now + 30, house.now)
    assert house.woken == [hasty]
    assert house.look(hasty) == 0
    assert not hasty.granted
    assert house.look(patient) > 0
    assert len(inside) == 10


def test_what_was_ended_is_not_ended_again(house: House) -> None:
    """A stream that is closed after its end gives nothing back twice."""
    ticket = house.send()
    house.end(ticket)
    house.end(ticket)
    house.end(ticket, "refused")
    assert (house.flex.in_flight, house.flex.answered, house.flex.refused) == (0, 1, 0)
    house.gate.end(None, "gone", house.now)


def test_a_dropped_ticket_gives_its_place_back(house: House) -> None:
    """Nobody ended it: it is noticed when the next one asks."""
    tickets = [house.send() for _ in range(3)]
    house.now += 2
    house.ask()
    assert house.flex.confirmed == 3
    tickets.clear()
    gc.collect()
    house.ask()
    assert house.flex.confirmed == 0


def test_a_dropped_ticket_is_not_given_back_twice(house: House) -> None:
    """What is collected with it may end it after that: a stream whose connection is closed then."""
    ticket = house.send()
    ticket.__del__()
    house.end(ticket)
    house.ask()
    assert house.flex.in_flight == 1, "the one that asked now"


def test_a_rate_limit_is_shared_by_the_lanes(house: House) -> None:
    """Whoever met it: nobody goes out before the server said, on flex or on standard."""
    house.gate.limited(house.now, 5.0)
    flex, standard = house.ask(), house.ask(lane=house.standard, patience=math.inf)
    assert not flex.granted
    assert not standard.granted
    assert house.look(flex) == pytest.approx(5.0)
    assert house.look(standard) == pytest.approx(5.0)
    house.now += 5.0
    house.look(flex)
    assert flex.granted


def test_requests_are_spaced_out_after_a_rate_limit(house: House) -> None:
    """Each one lets the next one know when it may go."""
    house.gate.limited(house.now, 1.0)
    tickets = [house.ask(lane=house.standard, patience=math.inf) for _ in range(6)]
    sent: list[float] = []
    waits = {id(ticket): house.look(ticket) for ticket in tickets}
    while tickets:
        house.now += min(min(waits.values()), 5.0)
        for ticket in list(tickets):
            wait = house.look(ticket)
            if wait:
                waits[id(ticket)] = wait
            else:
                sent.append(house.now)
                tickets.remove(ticket)
                del waits[id(ticket)]
    assert sent[0] >= T0 + 1
    assert sent[-1] - sent[0] >= 4 * house.gate.pace.interval


def test_a_lane_of_one_model_is_one_gauge(house: House) -> None:
    """Whoever asks for it."""
    assert house.gate.lane("flex", scarce=True) is house.flex
    assert house.gate.lanes(lambda gauge, waiting: (gauge.name, waiting)) == [
        ("flex", 0),
        ("standard", 0),
    ]


def test_how_many_wait_is_known(house: House) -> None:
    """By lane; those who have left are not among them."""
    house.shut()
    tickets = [house.ask() for _ in range(3)]
    for ticket in tickets:
        house.look(ticket)
    house.end(tickets[1], "gone")
    assert house.gate.lanes(lambda gauge, waiting: waiting) == [2, 0]


def test_a_lane_that_is_not_known_says_nothing() -> None:
    """Neither when it opens nor how long its answers take."""
    gate = Limiter()
    assert gate.shut_for("flex", T0) == 0.0
    assert gate.took("flex", 0.5) is None


def test_when_a_lane_opens_is_told(house: House) -> None:
    """For whoever wants to know how long the next try will wait."""
    assert house.gate.opens_in(house.flex, house.now) == 0
    house.shut()
    assert house.gate.opens_in(house.flex, house.now) == pytest.approx(1.0)
    house.gate.limited(house.now, 7.0)
    assert house.gate.opens_in(house.standard, house.now) == pytest.approx(7.0)
