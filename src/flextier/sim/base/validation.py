"""Checks of settings: each raises a ValueError that names the field and shows the value."""

from __future__ import annotations

from itertools import pairwise
from math import inf
from typing import Any


def probability(name: str, value: Any) -> None:
    """A number from 0 to 1."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability, 0 to 1, not {value!r}")


def given(name: str, value: Any) -> None:
    """Anything but None."""
    if value is None:
        raise ValueError(f"{name} must not be None")


def not_negative(name: str, value: Any) -> None:
    """A number from 0 on, or None."""
    if value is not None and (not _is_number(value) or not 0 <= value < inf):
        raise ValueError(f"{name} must be 0 or more, not {value!r}")


def whole(name: str, value: Any) -> None:
    """A whole number above 0, or None."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name} must be a whole number above 0, not {value!r}")


def flag(name: str, value: Any) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, not {value!r}")  # noqa: TRY004


def positive(name: str, value: Any) -> None:
    """A number above 0."""
    if not _is_number(value) or not 0 < value < inf:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def names(name: str, value: Any) -> None:
    """A tuple of texts."""
    if not isinstance(value, tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} must be a tuple of names, not {value!r}")


def latency(name: str, value: Any) -> None:
    """Seconds, a pair of them in order, or None."""
    low, high = value if _is_pair(value) else (value, value)
    if value is not None and not (_is_number(low) and _is_number(high) and 0 <= low <= high < inf):
        raise ValueError(f"{name} must be seconds, or (low, high) seconds, not {value!r}")


def header(name: str, value: Any) -> None:
    """A number or a text that HTTP can carry as a header, or None."""
    if value is not None and not (str(value).isascii() and str(value).isprintable()):
        raise ValueError(f"{name} must be printable ASCII, not {value!r}")


def windows(name: str, value: Any) -> None:
    """Pairs (start, end) in order that do not overlap."""
    bounds = [0.0, *(bound for pair in _pairs(name, value) for bound in pair)]
    empty = any(start >= end for start, end in value)
    if empty or any(here > there for here, there in pairwise(bounds)):
        raise ValueError(f"{name} must be windows in order that do not overlap, not {value!r}")


def spells(name: str, value: Any, last: str, most: float = inf) -> None:
    """Triples (start, end, number) in order that do not overlap; ``last`` names the number."""
    shape = f"windows (start, end, {last}) in order that do not overlap"
    triples = isinstance(value, tuple) and all(_are_numbers(item, 3) for item in value)
    if not triples or not all(0 <= item[2] <= most and item[2] < inf for item in value):
        raise ValueError(f"{name} must be {shape}, not {value!r}")
    bounds = [0.0, *(bound for item in value for bound in item[:2])]
    empty = any(item[0] >= item[1] for item in value)
    if empty or any(here > there for here, there in pairwise(bounds)):
        raise ValueError(f"{name} must be {shape}, not {value!r}")


def schedule(name: str, value: Any) -> None:
    """Pairs (start, whole number) in order of their start."""
    pairs = _pairs(name, value)
    numbers = all(isinstance(number, int) and start >= 0 <= number for start, number in pairs)
    if not numbers or any(here[0] >= there[0] for here, there in pairwise(pairs)):
        raise ValueError(f"{name} must be (start, slots) in order of their start, not {value!r}")


def bucket(name: str, value: Any) -> None:
    """A rate above 0 and a burst of 1 or more, or None."""
    if value is not None and not (_is_pair(value) and 0 < value[0] < inf and 1 <= value[1] < inf):
        raise ValueError(f"{name} must be (rate above 0, burst of 1 or more), not {value!r}")


def _pairs(name: str, value: Any) -> tuple[tuple[Any, Any], ...]:
    if not isinstance(value, tuple) or not all(map(_is_pair, value)):
        raise ValueError(f"{name} must be a tuple of pairs of numbers, not {value!r}")
    return value


def _is_pair(value: Any) -> bool:
    return _are_numbers(value, 2)


def _are_numbers(value: Any, count: int) -> bool:
    return isinstance(value, tuple) and len(value) == count and all(map(_is_number, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
