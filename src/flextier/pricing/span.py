"""A number that is not known exactly: its range, and what is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

N = TypeVar("N")


@dataclass(frozen=True, slots=True)
class Span(Generic[N]):
    """A range, and what is expected."""

    low: N | None
    """The least; None: unknown."""
    expected: N | None
    """What is expected; None: unknown."""
    high: N | None
    """The most; None: unknown."""

    def to_dict(self, plain: Callable[[N | None], Any] = lambda value: value) -> dict[str, Any]:
        """The three by name, each as ``plain`` returns it."""
        return {name: plain(getattr(self, name)) for name in self.__slots__}

    def text(self, shown: Callable[[N], str]) -> str:
        """``low to high``, each as ``shown`` returns it."""
        low, high = ("?" if x is None else shown(x) for x in (self.low, self.high))
        return low if low == high else f"{low} to {high}"
