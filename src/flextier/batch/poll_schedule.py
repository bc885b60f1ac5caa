"""How often a batch is polled: soon after its creation, then less and less often."""

from __future__ import annotations


def lane_poll_interval(
    polls: int, max_interval: float, jitter: float, *, cancelling: bool
) -> float:
    """Seconds to the batch lane's next poll; shorter while the batch is being cancelled.

    A tenth of ``max_interval`` is the first interval; ``jitter`` is a random number in [0, 1).
    """
    longest = max_interval / 4 if cancelling else max_interval
    return _growing(max_interval / 10, polls, longest) * (0.8 + 0.4 * jitter)


def wait_poll_interval(polls: int, max_interval: float, jitter: float) -> float:
    """Seconds to the next poll of :func:`flextier.batch.wait`: about a second at first.

    A file of a few lines is often done within a minute.
    """
    return _growing(1.0, polls, max_interval) * (0.75 + 0.25 * jitter)


def _growing(first: float, polls: int, longest: float) -> float:
    return min(longest, first * 1.5 ** min(polls, 60))
