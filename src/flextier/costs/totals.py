"""CostTotals: what many calls came to, in all and by model, lane and tag."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from flextier.costs.records import CallRecord
from flextier.pricing.decimals import added, difference, plain_digits

_COUNTS = (
    "calls",
    "failed_calls",
    "fallback_calls",
    "refusals",
    "possibly_billed_attempts",
    "unpriced_calls",
    "estimated_calls",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_AMOUNTS = ("cost", "standard_cost", "saved", "fallback_premium", "possibly_billed")

_Counts = list[tuple[str, int]]
_Amounts = list[tuple[str, Decimal]]


class Sums:
    """Counts, tokens and US$ of some calls."""

    __slots__ = (*_COUNTS, *_AMOUNTS)

    calls: int
    """Calls that were answered."""
    failed_calls: int
    """Calls that were not."""
    fallback_calls: int
    """Answered calls that were not billed on their first lane."""
    refusals: int
    """Attempts that were refused for want of capacity; they are not billed."""
    possibly_billed_attempts: int
    """Attempts that may have been billed although no answer came of them."""
    unpriced_calls: int
    """Answered calls whose cost is unknown; they are not included in any amount."""
    estimated_calls: int
    """Answered calls whose cost is an estimate."""
    input_tokens: int
    cached_input_tokens: int
    """Part of ``input_tokens``."""
    cache_write_tokens: int
    """Part of ``input_tokens``."""
    output_tokens: int
    reasoning_tokens: int
    """Part of ``output_tokens``."""
    cost: Decimal
    """What the priced calls cost."""
    standard_cost: Decimal
    """What they would have cost on the standard lane, where that has a price."""
    saved: Decimal
    """``standard_cost`` less ``cost``, of the calls for which both are known."""
    fallback_premium: Decimal
    """What the calls that fell back cost above the lanes that they were meant for."""
    possibly_billed: Decimal
    """At most so much more was billed for attempts that brought no answer, where it is known."""

    def __init__(self) -> None:
        for name in _COUNTS:
            setattr(self, name, 0)
        for name in _AMOUNTS:
            setattr(self, name, Decimal(0))

    def _count(self, counts: _Counts, amounts: _Amounts) -> None:
        for name, count in counts:
            setattr(self, name, getattr(self, name) + count)
        for name, amount in amounts:
            setattr(self, name, added(getattr(self, name), amount))

    def _plus(self, other: Sums) -> None:
        self._count(
            [(name, getattr(other, name)) for name in _COUNTS],
            [(name, getattr(other, name)) for name in _AMOUNTS],
        )

    def _read(self, fields: dict[str, Any]) -> None:
        for name in _COUNTS:
            setattr(self, name, fields[name])
        for name in _AMOUNTS:
            setattr(self, name, Decimal(fields[name]))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sums):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in (*_COUNTS, *_AMOUNTS))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; money as strings of US$."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return counts | {name: plain_digits(getattr(self, name)) for name in _AMOUNTS}


def _counts(record: CallRecord) -> _Counts:
    """What a record adds to counts and tokens, where that is more than nothing."""
    counts = [
        ("refusals", record.refusals),
        ("possibly_billed_attempts", record.possibly_billed_attempts),
    ]
    if record.usage is not None:
        counts += record.usage.to_dict().items()
    counts = [(name, count) for name, count in counts if count]
    if not record.answered:
        return [("failed_calls", 1), *counts]
    counts.append(("calls", 1))
    if record.fallback is not None:
        counts.append(("fallback_calls", 1))
    if record.cost.basis != "exact":
        counts.append((f"{record.cost.basis}_calls", 1))
    return counts


def _amounts(record: CallRecord) -> _Amounts:
    """What a record adds to amounts, where that is known and more than nothing."""
    cost = record.cost.total
    standard = record.cost.standard
    amounts = (
        ("cost", cost),
        ("standard_cost", standard),
        ("saved", None if cost is None or standard is None else difference(standard, cost)),
        ("fallback_premium", record.premium),
        ("possibly_billed", record.possibly_billed),
    )
    return [(name, amount) for name, amount in amounts if amount]


class CostTotals(Sums):
    """What calls came to. Safe to add to from many threads; two of them add up to a third.

    Example::

        totals = CostTotals(records)
        totals.saved, totals.by_lane["flex"].calls
        print(totals)
    """

    __slots__ = ("_busy", "_late", "_lock", "by_lane", "by_model", "by_tag")

    by_model: dict[str, Sums]
    """The same by the model asked for."""
    by_lane: dict[str, Sums]
    """The same by the lane billed."""
    by_tag: dict[str, Sums]
    """The same by tag; a call with two tags is in both."""

    def __init__(self, records: Iterable[CallRecord] = ()) -> None:
        super().__init__()
        self._lock = threading.RLock()
        self._late: list[CallRecord] = []
        self._busy = False
        self.by_model, self.by_lane, self.by_tag = {}, {}, {}
        for record in records:
            self.add(record)

    def add(self, record: CallRecord) -> None:
        """Count a call."""
        with self._lock:
            self._late.append(record)
            if not self._busy:
                self._catch_up()

    def _catch_up(self) -> None:
        # The garbage collector may close a stream in the midst of this, which ends a call, which is
        # added: by the thread that is at work here. Its record waits until this one is counted.
        while self._late:
            self._busy = True
            try:
                while self._late:
                    self._add(self._late.pop())
            finally:
                self._busy = False

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Nothing is counted meanwhile: not by other threads, and by this one only afterwards."""
        with self._lock:
            was_busy, self._busy = self._busy, True
            try:
                yield
            finally:
                self._busy = was_busy
                if not was_busy:
                    self._catch_up()

    def _add(self, record: CallRecord) -> None:
        counts, amounts = _counts(record), _amounts(record)
        self._count(counts, amounts)
        for group, name in self._groups(record):
            sums = group.get(name)
            if sums is None:
                sums = group[name] = Sums()
            sums._count(counts, amounts)

    def _groups(self, record: CallRecord) -> Iterator[tuple[dict[str, Sums], str]]:
        yield self.by_model, record.model
        yield self.by_lane, record.lane
        for tag in dict.fromkeys(record.tags):
            yield self.by_tag, tag

    def __getstate__(self) -> dict[str, Any]:
        now = self.copy()
        names = (*_COUNTS, *_AMOUNTS, "by_model", "by_lane", "by_tag")
        return {name: getattr(now, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CostTotals.__init__(self)  # with a lock of its own
        for name, value in state.items():
            setattr(self, name, value)

    def copy(self) -> CostTotals:
        """The totals as they are now."""
        return CostTotals() + self

    def __add__(self, other: CostTotals) -> CostTotals:
        if not isinstance(other, CostTotals):
            return NotImplemented
        both = CostTotals()
        for one in (self, other):
            with one._still():
                both._plus(one)
                for mine, theirs in zip(both._all(), one._all(), strict=True):
                    for name, sums in theirs.items():
                        mine.setdefault(name, Sums())._plus(sums)
        return both

    def _all(self) -> tuple[dict[str, Sums], dict[str, Sums], dict[str, Sums]]:
        return self.by_model, self.by_lane, self.by_tag

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CostTotals):
            return NotImplemented
        # One after the other: two threads that compare the same two must not wait for each other.
        mine, theirs = self.copy(), other.copy()
        return Sums.__eq__(mine, theirs) and mine._all() == theirs._all()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; money as strings of US$."""
        groups = zip(("by_model", "by_lane", "by_tag"), self._all(), strict=True)
        with self._still():
            return super().to_dict() | {
                name: {key: sums.to_dict() for key, sums in group.items()} for name, group in groups
            }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CostTotals:
        """The totals that :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ArithmeticError: they are none.
        """
        totals = cls()
        totals._read(fields)
        for name, group in zip(("by_model", "by_lane", "by_tag"), totals._all(), strict=True):
            for key, sums in fields[name].items():
                group[key] = Sums()
                group[key]._read(sums)
        return totals

    def __str__(self) -> str:
        from flextier.costs.formatting import text

        return text(self.copy())

    def __repr__(self) -> str:
        return f"<CostTotals {self.calls} calls, cost ${self.cost:f}, saved ${self.saved:f}>"

    def _repr_html_(self) -> str:
        from flextier.costs.formatting import html

        return html(self.copy())
