"""Exponential backoff: seconds to wait after the first failure, the second, and so on."""

from __future__ import annotations


def exponential_backoff(
    failures: int, *, initial: float, multiplier: float, longest: float
) -> float:
    """Seconds of backoff after ``failures`` failures (1, 2, ...), before any jitter."""
    try:
        seconds = initial * multiplier ** (failures - 1)
    except OverflowError:
        return longest if initial else 0.0
    return min(seconds, longest)
