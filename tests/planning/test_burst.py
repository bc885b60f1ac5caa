"""BurstTracker: whether a call is to wait for others that would make a batch with it."""

from __future__ import annotations

from flextier.planning.burst import SKIP_WINDOW_FOR, BurstTracker

KEY, OTHER = ("account", "o3"), ("account", "gpt-5")


def test_calls_wait_at_first() -> None:
    """At first every call may wait: others may come."""
    bursts = BurstTracker()
    assert bursts.call_started(KEY, 0.0, 10)
    assert bursts.call_started(KEY, 1.0, 10)


def test_an_expired_window_is_skipped_for_a_while() -> None:
    """After an expired window no call of that account and model waits, for a while."""
    bursts = BurstTracker()
    bursts.window_expired(KEY, 100.0)
    assert not bursts.call_started(KEY, 100.0, 10)
    bursts.call_ended(KEY)
    assert not bursts.call_started(KEY, 100.0 + SKIP_WINDOW_FOR - 1, 10)
    assert bursts.call_started(OTHER, 100.0, 10)
    bursts.call_ended(KEY)
    assert bursts.call_started(KEY, 100.0 + SKIP_WINDOW_FOR, 10)


def test_a_later_burst_is_batched() -> None:
    """Once enough are under way, those after them share a file."""
    bursts = BurstTracker()
    bursts.window_expired(KEY, 0.0)
    assert [bursts.call_started(KEY, 1.0, 3) for _ in range(5)] == [False, False, True, True, True]
    for _ in range(5):
        bursts.call_ended(KEY)
    assert not bursts.call_started(KEY, 2.0, 3)


def test_after_a_fork() -> None:
    """A child knows nothing of its parent's."""
    bursts = BurstTracker()
    bursts.window_expired(KEY, 0.0)
    bursts.call_started(KEY, 1.0, 10)
    bursts.reset_after_fork()
    assert bursts.call_started(KEY, 1.0, 10)


def test_expired_windows_of_accounts_that_are_not_used_are_dropped() -> None:
    """What was learned of an account is not kept longer than it counts."""
    bursts = BurstTracker()
    for number in range(5):
        bursts.window_expired(number, number * SKIP_WINDOW_FOR)
    assert len(bursts._skip_until) == 1
