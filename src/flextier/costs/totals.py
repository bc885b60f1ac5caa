"""CostTotals: the costs of many calls, in total and by model, lane and tag."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from flextier.calls.report import CallReport
from flextier.costs.formatting import html, text
from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums, of_record, of_report
from flextier.pricing.price_book import prices_are_due

_GROUPS = ("by_model", "by_lane", "by_tag")
_MOST_REPORTS = 50
"""Reports are priced fifty at a time, or when the totals are read: one after another they take a
third of what one in the midst of a call takes."""

_Entry = tuple[Sums, str, str, Iterable[str]]
"""What a call adds, its model, its lane, its tags."""


class CostTotals(Sums):
    """The costs of calls, thread-safe; totals add up with ``+`` and ``sum()``.

    Example::

        totals = CostTotals(records)
        totals.saved, totals.by_lane["flex"].calls
        print(totals)
    """

    __slots__ = (
        "__weakref__", "_busy", "_by_lane", "_by_model", "_by_tag", "_lock", "_reports", "_waiting"
    )  # fmt: skip

    by_model: dict[str, Sums]
    """Sums by the requested model."""
    by_lane: dict[str, Sums]
    """Sums by the billed lane."""
    by_tag: dict[str, Sums]
    """Sums by tag; a call with two tags is in both."""

    def __init__(self, records: Iterable[CallRecord] = ()) -> None:
        self._reports: list[tuple[CallReport, tuple[str, ...]]] = []
        super().__init__()
        self._lock = threading.RLock()
        self._waiting: list[_Entry] = []
        self._busy = False
        for name in _GROUPS:
            setattr(self, name, {})
        for record in records:
            self.add(record)

    def add(self, record: CallRecord) -> None:
        """Count a call."""
        self._enter((of_record(record), record.model, record.lane, record.tags))

    def add_report(self, report: CallReport, tags: Iterable[str] = ()) -> None:
        """Count a call by its report, as :meth:`add` does by the record of it."""
        with self._lock:
            if not self._reports:
                prices_are_due(self)
            self._reports.append((report, tuple(tags)))
            if len(self._reports) >= _MOST_REPORTS:
                self._settle()

    def _settle(self) -> None:
        """Price the reports that are not counted yet, which reading any figure does, too."""
        with self._lock:
            while self._reports:
                report, tags = self._reports.pop()
                self._enter((of_report(report), report.model, report.lane, tags))

    def _enter(self, entry: _Entry) -> None:
        with self._lock:
            self._waiting.append(entry)
            if not self._busy:
                self._add_waiting()

    def _add_waiting(self) -> None:
        # The garbage collector may close a stream while this runs, which ends a call and adds its
        # record in this very thread: that one waits until the current one is counted.
        while self._waiting:
            self._busy = True
            try:
                while self._waiting:
                    self._add(*self._waiting.pop())
            finally:
                self._busy = False

    @contextmanager
    def _paused(self) -> Iterator[None]:
        """Count nothing inside: other threads wait, records of this one are added afterwards."""
        with self._lock:
            self._settle()
            was_busy, self._busy = self._busy, True
            try:
                yield
            finally:
                self._busy = was_busy
                if not was_busy:
                    self._add_waiting()

    def _add(self, call: Sums, model: str, lane: str, tags: Iterable[str]) -> None:
        self._plus(call)
        groups = [(self.by_model, model), (self.by_lane, lane)]
        if tags:
            groups += [(self.by_tag, tag) for tag in dict.fromkeys(tags)]
        for group, name in groups:
            if (sums := group.get(name)) is None:
                sums = group[name] = Sums()
            sums._plus(call)

    def __getstate__(self) -> dict[str, Any]:
        now = self.copy()
        names = (*Sums.__dataclass_fields__, *_GROUPS)
        return {name: getattr(now, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CostTotals.__init__(self)  # with a lock of its own
        for name, value in state.items():
            setattr(self, name, value)

    def copy(self) -> CostTotals:
        """A copy, which later records do not change."""
        return CostTotals() + self

    def __add__(self, other: CostTotals) -> CostTotals:
        if not isinstance(other, CostTotals):
            return NotImplemented
        both = CostTotals()
        for one in (self, other):
            with one._paused():
                both._plus(one)
                for mine, theirs in zip(both._groups(), one._groups(), strict=True):
                    for name, sums in theirs.items():
                        mine.setdefault(name, Sums())._plus(sums)
        return both

    def __radd__(self, other: int) -> CostTotals:
        """For ``sum()``, which starts with 0."""
        return self.copy() if other == 0 else NotImplemented

    def _groups(self) -> tuple[dict[str, Sums], dict[str, Sums], dict[str, Sums]]:
        return self.by_model, self.by_lane, self.by_tag

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CostTotals):
            return NotImplemented
        # Copied one after the other: two threads that compare the same two cannot deadlock.
        mine, theirs = self.copy(), other.copy()
        return Sums.__eq__(mine, theirs) and mine._groups() == theirs._groups()

    def to_dict(self) -> dict[str, Any]:
        """The totals as plain JSON types; money as strings of US$."""
        groups = zip(_GROUPS, self._groups(), strict=True)
        with self._paused():
            return super().to_dict() | {
                name: {key: sums.to_dict() for key, sums in group.items()} for name, group in groups
            }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> CostTotals:
        """The totals that :meth:`to_dict` gave.

        Raises:
            KeyError, TypeError, ArithmeticError: ``fields`` does not come from it.
        """
        totals = cls()
        totals._read(fields)
        for name, group in zip(_GROUPS, totals._groups(), strict=True):
            for key, sums in fields[name].items():
                group[key] = Sums()
                group[key]._read(sums)
        return totals

    def __str__(self) -> str:
        return text(now := self.copy(), now._groups())

    def __repr__(self) -> str:
        return f"<CostTotals {self.calls} calls, cost ${self.cost:f}, saved ${self.saved:f}>"

    def _repr_html_(self) -> str:
        return html(now := self.copy(), now._groups())


def _settled(name: str) -> Any:
    stored = Sums.__dict__.get(name) or CostTotals.__dict__[f"_{name}"]

    def read(totals: CostTotals) -> Any:
        if totals._reports:
            totals._settle()
        return stored.__get__(totals)

    return property(read, stored.__set__)


for _name in (*Sums.__dataclass_fields__, *_GROUPS):
    setattr(CostTotals, _name, _settled(_name))
