"""CostTotals while it is at work: a call may end in the midst of counting another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Thread
from typing import Any

import pytest

from flextier.calls.report import Attempt
from flextier.costs import CallRecord, CostTotals, record_of
from tests.costs.records import report


class Sneaky:
    """Attempts that add another call when they are looked at, as the garbage collector can."""

    def __init__(self, totals: CostTotals, another: CallRecord) -> None:
        self._left = [(totals, another)]

    def __iter__(self) -> Iterator[Attempt]:
        if self._left:
            totals, another = self._left.pop()
            totals.add(another)
        return iter(())


def test_a_call_that_ends_while_another_is_counted() -> None:
    """Both records count, without a deadlock."""
    totals = CostTotals()
    record = record_of(report())
    attempts: Any = Sneaky(totals, record)
    totals.add(replace(record, attempts=attempts))
    assert totals == CostTotals([record, record])


def test_totals_still_count_after_they_were_added_up() -> None:
    """A sum leaves its parts as they were, and open."""
    record = record_of(report())
    totals = CostTotals([record])
    assert totals + totals == CostTotals([record, record])
    totals.add(record)
    assert totals == CostTotals([record, record])


class Nudge(str):
    """A tag that has another call counted when it is looked up, in the midst of reading totals."""

    __slots__ = ("act",)
    act: Callable[[], None]

    def __new__(cls, name: str, act: Callable[[], None]) -> Nudge:
        made = super().__new__(cls, name)
        made.act = act
        return made

    def __hash__(self) -> int:
        self.act()
        return super().__hash__()


READERS: dict[str, Callable[[CostTotals], object]] = {
    "to_dict": CostTotals.to_dict,
    "==": lambda totals: totals == CostTotals(),
    "str": str,
    "html": CostTotals._repr_html_,
    "copy": CostTotals.copy,
}


@pytest.mark.parametrize("by", ["this thread", "another thread"])
@pytest.mark.parametrize("read", READERS)
def test_a_call_of_a_new_tag_while_totals_are_read(read: str, by: str) -> None:
    """It is counted afterwards; the reader has the figures of one moment."""
    totals, others, record = CostTotals(), list[Thread](), record_of(report())
    quiet = [True]

    def count_another() -> None:
        if quiet[0]:
            return
        new = replace(record, tags=(f"new {len(others)}",))
        others.append(Thread(target=totals.add, args=(new,)))
        if by == "this thread":
            totals.add(new)
        else:
            others[-1].start()
            others[-1].join(0.01)

    for name in ("a", "b", "c"):
        totals.add(replace(record, tags=(Nudge(name, count_another),)))
    quiet[0] = False
    READERS[read](totals)
    quiet[0] = True
    for other in others:
        if by == "another thread":
            other.join()
    assert others
    assert totals.calls == 3 + len(others)
    assert totals.to_dict()["calls"] == len(totals.by_tag)
