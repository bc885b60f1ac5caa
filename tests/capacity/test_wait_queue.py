"""Who waits, the most urgent first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.permit import Permit
from flextier.capacity.wait_queue import WaitQueue

FLEX = LaneEstimator("flex", scarce=True)


def waiting(queue: WaitQueue, until: float, turn: int = 0) -> Permit:
    """One more that waits."""
    permit = Permit(FLEX, until, until, turn, lambda lost: None)
    permit.waiting = True
    queue.push(permit)
    return permit


def leave(queue: WaitQueue, permit: Permit) -> None:
    """It waits no more."""
    permit.waiting = False
    queue.leave(permit)


def drained(queue: WaitQueue) -> list[Permit]:
    """All of them, in the order in which they are let in."""
    order = []
    while (head := queue.head()) is not None:
        order.append(head)
        leave(queue, head)
    return order


def test_a_new_queue_is_empty() -> None:
    """There is no head then, and nothing to go through."""
    queue = WaitQueue()
    assert (len(queue), queue.head(), list(queue)) == (0, None, [])


def test_the_earliest_deadline_comes_first() -> None:
    """Whenever it lined up."""
    queue = WaitQueue()
    late, soon, later = waiting(queue, 20), waiting(queue, 10), waiting(queue, 30)
    assert drained(queue) == [soon, late, later]


def test_turns_decide_where_deadlines_are_the_same() -> None:
    """At equal deadlines the earlier turn comes first, also after a refusal."""
    queue = WaitQueue()
    second, third, first = (waiting(queue, 10, turn) for turn in (2, 3, 1))
    assert drained(queue) == [first, second, third]


def test_the_same_turn_is_no_error() -> None:
    """Calls without a deadline have all the time: the order of lining up is left."""
    queue = WaitQueue()
    permits = [waiting(queue, float("inf"), 1) for _ in range(5)]
    assert drained(queue) == permits


def test_the_head_stays_in_line() -> None:
    """Asking for the head does not remove it."""
    queue = WaitQueue()
    permit = waiting(queue, 10)
    assert queue.head() is queue.head() is permit
    assert len(queue) == 1


def test_cancelled_permits_are_skipped() -> None:
    """From the middle and from the front."""
    queue = WaitQueue()
    first, second, third = (waiting(queue, until) for until in (1, 2, 3))
    leave(queue, second)
    assert (len(queue), queue.head()) == (2, first)
    leave(queue, first)
    assert queue.head() is third
    assert list(queue) == [third]


def test_cancelled_permits_are_freed() -> None:
    """A head that waits for hours does not keep thousands that were cancelled in memory."""
    queue = WaitQueue()
    head = waiting(queue, 0)
    permits = [waiting(queue, 10) for _ in range(10_000)]
    for permit in permits:
        leave(queue, permit)
    assert queue.head() is head
    assert len(queue) == 1
    assert len(queue._heap) <= 64


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), st.integers(0, 5)), max_size=300))
def test_a_queue_is_a_sorted_list(steps: list[tuple[int, int, int]]) -> None:
    """The queue holds exactly the waiting permits, the most urgent first."""
    queue, model = WaitQueue(), list[Permit]()
    for what, until, turn in steps:
        if what or not model:
            model.append(waiting(queue, until, turn))
        else:
            leave(queue, model.pop(until % len(model)))
        model.sort(key=lambda permit: (permit.until, permit.turn))
        assert len(queue) == len(model) == len(list(queue))
        assert set(map(id, queue)) == set(map(id, model))
        assert queue.head() is (model[0] if model else None)
    assert drained(queue) == model
