"""What the model, the crowd and the collector found once: each in its smallest form."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from flextier.capacity import Limiter, LimiterRegistry, Permit
from flextier.capacity.lane_estimator import FIRST_WINDOW, LaneEstimator
from flextier.capacity.wait_queue import WaitQueue


@pytest.fixture
def gate() -> Limiter:
    """With nothing known."""
    return Limiter()


@pytest.fixture
def flex(gate: Limiter) -> LaneEstimator:
    """Its scarce lane."""
    return gate.lane("flex", True)


def waiting(gate: Limiter, gauge: LaneEstimator, count: int, until: float = 300.0) -> list[Permit]:
    """So many that stand in line from 0 on."""
    tickets = [gate.ask(gauge, 0.0, until, until) for _ in range(count)]
    assert all(gate.look(ticket, 0.0, _unheard) > 0 for ticket in tickets)
    return tickets


def _unheard() -> None:
    """Nobody listens."""


def test_who_begins_brings_the_next_chance_nearer(gate: Limiter, flex: LaneEstimator) -> None:
    """Once a request is out its fate is known sooner: the next in line hears of that."""
    woken: list[str] = []
    out = [gate.ask(flex, 0.0, 300.0, 300.0) for _ in range(FIRST_WINDOW)]
    last = gate.ask(flex, 0.0, 300.0, 300.0)
    assert gate.look(last, 0.0, lambda: woken.append("last")) == pytest.approx(2.0)
    gate.begin(out[0], 0.0)
    assert woken == ["last"]


def test_a_lane_that_only_the_pace_holds_up(gate: Limiter, flex: LaneEstimator) -> None:
    """With room in the window the next one waits for the pace, not for the fate of others."""
    gate.limited(0.0, 0.1)
    for _ in range(2):
        gate.begin(gate.ask(flex, 0.2, 300.0, 300.0), 0.2)
    ticket = gate.ask(flex, 0.2, 300.0, 300.0)
    assert gate.look(ticket, 0.2, _unheard) == pytest.approx(0.2, abs=0.01)  # a turn for each


def test_nobody_is_let_in_before_a_rate_limit_says(gate: Limiter, flex: LaneEstimator) -> None:
    """Who cannot wait that long is turned away, and does not run against the limit."""
    gate.limited(0.0, 30.0)
    tickets = [gate.ask(flex, 1.0, 20.0, 100.0) for _ in range(50)]
    assert {gate.look(ticket, 1.0, _unheard) for ticket in tickets} == {0.0}
    assert not any(ticket.granted for ticket in tickets)


def test_lanes_share_the_pace_by_urgency(gate: Limiter, flex: LaneEstimator) -> None:
    """Whose time is over first goes first, on whatever lane."""
    gate.limited(0.0, 1.0)
    patient = waiting(gate, flex, 20)
    urgent = waiting(gate, gate.lane("standard", False), 2, until=10.0)
    for now in (1.0, 2.0, 3.0):
        gate.look(patient[-1], now, _unheard)
    assert all(ticket.granted for ticket in urgent)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that change places as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switches")
def test_two_ends_of_one_ticket(gate: Limiter, flex: LaneEstimator) -> None:
    """A ticket that two threads end at once is given back once."""
    start = threading.Barrier(2)
    for _ in range(1_000):
        ticket = gate.ask(flex, 0.0, 1.0, 1.0)

        def end(ticket: Permit = ticket) -> None:
            start.wait()
            gate.end(ticket, "served", 0.0)

        other = threading.Thread(target=end)
        other.start()
        end()
        other.join()
        assert flex.in_flight == 0


def test_a_dropped_ticket_that_had_waited(flex: LaneEstimator) -> None:
    """A queue does not keep one that has left, though its place has not come up."""
    queue, lost = WaitQueue(), list[Any]()
    first, late = (Permit(flex, until, 9.0, 0, lost.append) for until in (1.0, 2.0))
    queue.push(first)
    queue.push(late)
    queue.leave(late)
    late.granted = True
    del late
    assert lost == [(flex, False)]
    assert (len(queue), queue.head()) == (1, first)


def test_whoever_is_gone_loses_their_turn(gate: Limiter, flex: LaneEstimator) -> None:
    """A wake-up that finds the event loop closed hands the turn on at once."""

    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    flex.shut(1.0, 0.0)
    dead = [gate.ask(flex, 0.0, 10.0, 10.0) for _ in range(30)]
    for ticket in dead:
        gate.look(ticket, 0.0, closed)
    alive = waiting(gate, flex, 1)[0]
    gate.look(alive, 1.0, _unheard)
    assert alive.granted
    assert flex.in_flight == 1


def test_the_collector_may_end_tickets_at_the_gate() -> None:
    """Garbage that ends its call is collected wherever the gate allocates, also under its lock."""
    gate = Limiter()
    flex = gate.lane("flex", True)

    def call() -> Iterator[None]:
        ticket = gate.ask(flex, 0.0, 300.0, 300.0)
        try:
            yield
        finally:
            gate.end(ticket, "gone", 0.0)

    def rubbish() -> None:
        knot: dict[str, Any] = {"call": call()}
        next(knot["call"])
        knot["itself"] = knot

    def use_it() -> None:
        threshold = gc.get_threshold()
        gc.collect()
        gc.freeze()
        try:
            for allocations in range(1, 41):
                for _ in range(10):
                    gc.disable()
                    rubbish()
                    gc.set_threshold(allocations)
                    gc.enable()
                    ticket = gate.ask(flex, 1.0, 300.0, 300.0)
                    gate.look(ticket, 1.0, _unheard)
                    gate.end(ticket, "gone", 1.0)
        finally:
            gc.set_threshold(*threshold)
            gc.unfreeze()
            gc.collect()

    thread = threading.Thread(target=use_it, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "the gate waits for itself"
    assert gate.lanes(lambda gauge, waiting: (gauge.in_flight, waiting)) == [(0, 0)]


def test_a_snapshot_amid_traffic() -> None:
    """What is shown is read under the gate's lock, so that nothing changes meanwhile."""
    capacity, over = LimiterRegistry(), threading.Event()
    gate = capacity.gate("url", "account", "o3")
    flex = gate.lane("flex", True)

    def traffic() -> None:
        while not over.is_set():
            ticket = gate.ask(flex, 0.0, 1.0, 1.0)
            gate.begin(ticket, 0.0)
            gate.end(ticket, "served", 1.0, timed=True)

    threads = [threading.Thread(target=traffic) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            (state,) = capacity.snapshot(2.0)
            assert 0 <= state.in_flight <= 2
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert capacity.snapshot(2.0)[0].in_flight == 0


def test_what_another_thread_has_booked_is_no_error(gate: Limiter, flex: LaneEstimator) -> None:
    """Between the look whether something ended and the lock, whoever had the lock has booked it."""

    class Lock:
        """The gate's, which another thread has held until now."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def acquire(self, blocking: bool = True) -> bool:
            got: bool = self.lock.acquire(blocking)
            gate._book_ended()
            return got

        def release(self) -> None:
            self.lock.release()

    ticket = gate.ask(flex, 0.0, 300.0, 300.0)
    gate.begin(ticket, 0.0)
    gate._lock = Lock(gate._lock)  # type: ignore[assignment]
    gate.end(ticket, "served", 1.0)
    assert ticket.verdict == "served"
    assert flex.in_flight == 0
