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
from flextier.capacity.limiter import HeldPermit
from flextier.capacity.snapshot import states
from flextier.capacity.wait_queue import WaitQueue


@pytest.fixture
def limiter() -> Limiter:
    """With nothing known."""
    return Limiter()


@pytest.fixture
def flex(limiter: Limiter) -> LaneEstimator:
    """Its scarce lane."""
    return limiter.lane("flex", True)


def waiting(
    limiter: Limiter, estimator: LaneEstimator, count: int, until: float = 300.0
) -> list[Permit]:
    """Return ``count`` permits that have been queued since 0."""
    permits = [limiter.try_acquire(estimator, 0.0, until, until) for _ in range(count)]
    assert all(limiter.recheck(permit, 0.0, _no_wakeup) > 0 for permit in permits)
    return permits


def _no_wakeup() -> None:
    """A wake-up call that does nothing."""


def test_a_sent_request_brings_the_chance_nearer(limiter: Limiter, flex: LaneEstimator) -> None:
    """When a request is sent, the next chance comes sooner, and the next call is woken."""
    woken: list[str] = []
    out = [limiter.try_acquire(flex, 0.0, 300.0, 300.0) for _ in range(FIRST_WINDOW)]
    last = limiter.try_acquire(flex, 0.0, 300.0, 300.0)
    assert limiter.recheck(last, 0.0, lambda: woken.append("last")) == pytest.approx(2.0)
    limiter.start(out[0], 0.0)
    assert woken == ["last"]


def test_a_lane_that_only_the_pace_holds_up(limiter: Limiter, flex: LaneEstimator) -> None:
    """With room in the window the next one waits for the pace, not for the fate of others."""
    limiter.limited(0.0, 0.1)
    for _ in range(2):
        limiter.start(limiter.try_acquire(flex, 0.2, 300.0, 300.0), 0.2)
    permit = limiter.try_acquire(flex, 0.2, 300.0, 300.0)
    assert limiter.recheck(permit, 0.2, _no_wakeup) == pytest.approx(
        0.2, abs=0.01
    )  # a turn for each


def test_no_call_is_admitted_before_retry_after(limiter: Limiter, flex: LaneEstimator) -> None:
    """A call that cannot wait for Retry-After is refused without a request."""
    limiter.limited(0.0, 30.0)
    permits = [limiter.try_acquire(flex, 1.0, 20.0, 100.0) for _ in range(50)]
    assert {limiter.recheck(permit, 1.0, _no_wakeup) for permit in permits} == {0.0}
    assert not any(permit.granted for permit in permits)


def test_lanes_share_the_pace_by_urgency(limiter: Limiter, flex: LaneEstimator) -> None:
    """Whose time is over first goes first, on whatever lane."""
    limiter.limited(0.0, 1.0)
    patient = waiting(limiter, flex, 20)
    urgent = waiting(limiter, limiter.lane("standard", False), 2, until=10.0)
    for now in (1.0, 2.0, 3.0):
        limiter.recheck(patient[-1], now, _no_wakeup)
    assert all(permit.granted for permit in urgent)


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that change places as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_switches")
def test_two_ends_of_one_permit(limiter: Limiter, flex: LaneEstimator) -> None:
    """A permit that two threads end at once is given back once."""
    start = threading.Barrier(2)
    for _ in range(1_000):
        permit = limiter.try_acquire(flex, 0.0, 1.0, 1.0)

        def end(permit: Permit = permit) -> None:
            start.wait()
            limiter.end(permit, "served", 0.0)

        other = threading.Thread(target=end)
        other.start()
        end()
        other.join()
        assert flex.in_flight == 0


def test_a_dropped_permit_that_had_waited(flex: LaneEstimator) -> None:
    """A queue does not keep one that has left, though its place has not come up."""
    queue, lost = WaitQueue(), list[Any]()
    first, late = (HeldPermit(flex, until, 9.0, 0, lost.append) for until in (1.0, 2.0))
    queue.push(first)
    queue.push(late)
    queue.leave(late)
    late.granted = True
    del late
    assert lost == [(flex, False)]
    assert (len(queue), queue.head()) == (1, first)


def test_a_closed_event_loop_passes_its_turn_on(limiter: Limiter, flex: LaneEstimator) -> None:
    """A wake-up that finds the event loop closed hands the turn on at once."""

    def closed() -> None:
        raise RuntimeError("Event loop is closed")

    flex.shut(1.0, 0.0)
    dead = [limiter.try_acquire(flex, 0.0, 10.0, 10.0) for _ in range(30)]
    for permit in dead:
        limiter.recheck(permit, 0.0, closed)
    alive = waiting(limiter, flex, 1)[0]
    limiter.recheck(alive, 1.0, _no_wakeup)
    assert alive.granted
    assert flex.in_flight == 1


def test_the_collector_may_end_permits_at_the_limiter() -> None:
    """Garbage that ends its call is collected where the limiter allocates, also under its lock."""
    limiter = Limiter()
    flex = limiter.lane("flex", True)

    def call() -> Iterator[None]:
        permit = limiter.try_acquire(flex, 0.0, 300.0, 300.0)
        try:
            yield
        finally:
            limiter.end(permit, "gone", 0.0)

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
                    permit = limiter.try_acquire(flex, 1.0, 300.0, 300.0)
                    limiter.recheck(permit, 1.0, _no_wakeup)
                    limiter.end(permit, "gone", 1.0)
        finally:
            gc.set_threshold(*threshold)
            gc.unfreeze()
            gc.collect()

    thread = threading.Thread(target=use_it, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "the limiter waits for itself"
    assert limiter.lanes(lambda estimator, waiting: (estimator.in_flight, waiting)) == [(0, 0)]


def test_a_snapshot_amid_traffic() -> None:
    """What is shown is read under the limiter's lock, so that nothing changes meanwhile."""
    capacity, over = LimiterRegistry(), threading.Event()
    limiter = capacity.limiter("url", "account", "o3", 0.0)
    flex = limiter.lane("flex", True)

    def traffic() -> None:
        while not over.is_set():
            permit = limiter.try_acquire(flex, 0.0, 1.0, 1.0)
            limiter.start(permit, 0.0)
            limiter.end(permit, "served", 1.0, timed=True)

    threads = [threading.Thread(target=traffic) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(500):
            (state,) = states(capacity, 2.0)
            assert 0 <= state.in_flight <= 2
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert states(capacity, 2.0)[0].in_flight == 0


def test_an_end_recorded_by_another_thread_is_no_error(
    limiter: Limiter, flex: LaneEstimator
) -> None:
    """Between the check for ended permits and the lock, its holder has recorded the end."""

    class Lock:
        """The limiter's, which another thread has held until now."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def acquire(self, blocking: bool = True) -> bool:
            got: bool = self.lock.acquire(blocking)
            while limiter._ended:
                limiter._record_end(*limiter._ended.popleft())
            return got

        def release(self) -> None:
            self.lock.release()

    permit = limiter.try_acquire(flex, 0.0, 300.0, 300.0)
    limiter.start(permit, 0.0)
    limiter._lock = Lock(limiter._lock)  # type: ignore[assignment]
    limiter.end(permit, "served", 1.0)
    assert permit.verdict == "served"
    assert flex.in_flight == 0
