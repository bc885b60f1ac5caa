"""BurstTracker: whether a call is to wait for others that would make a batch with it."""

from __future__ import annotations

from flextier.planning.burst import LONELY, BurstTracker

KEY, OTHER = ("account", "o3"), ("account", "gpt-5")


def test_nobody_is_known_to_be_alone() -> None:
    """At first every call may wait: others may come."""
    company = BurstTracker()
    assert company.joined(KEY, 0.0, 10)
    assert company.joined(KEY, 1.0, 10)


def test_who_waited_in_vain() -> None:
    """For a while nobody waits, of that account and model; then it is tried again."""
    company = BurstTracker()
    company.missed(KEY, 100.0)
    assert not company.joined(KEY, 100.0, 10)
    company.left(KEY)
    assert not company.joined(KEY, 100.0 + LONELY - 1, 10)
    assert company.joined(OTHER, 100.0, 10)
    company.left(KEY)
    assert company.joined(KEY, 100.0 + LONELY, 10)


def test_a_crowd_that_comes_later() -> None:
    """Once enough are under way, those after them share a file."""
    company = BurstTracker()
    company.missed(KEY, 0.0)
    assert [company.joined(KEY, 1.0, 3) for _ in range(5)] == [False, False, True, True, True]
    for _ in range(5):
        company.left(KEY)
    assert not company.joined(KEY, 2.0, 3)


def test_after_a_fork() -> None:
    """A child knows nothing of its parent's."""
    company = BurstTracker()
    company.missed(KEY, 0.0)
    company.joined(KEY, 1.0, 10)
    company.begin_anew()
    assert company.joined(KEY, 1.0, 10)
