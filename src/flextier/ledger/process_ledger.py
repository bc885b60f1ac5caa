"""The ledger of every call of a process, which ``FLEXTIER_LEDGER`` names."""

from __future__ import annotations

import sys
from dataclasses import replace

from flextier._utils.fork import after_fork_in_child
from flextier.calls.report import CallReport
from flextier.costs.dedupe import Seen
from flextier.costs.records import record_of
from flextier.ledger.store import LedgerStore
from flextier.ledger.url import LedgerUrl
from flextier.ledger.writer import LedgerWriter
from flextier.pricing.price_book import load_price_list

_KILLABLE_PATIENCE = 2.0  # seconds that a call of a process which may be killed waits for its row

_current: ProcessLedger | None = None


class ProcessLedger:
    """Keeps every call that it is given the report of; opened by its own thread, with retries.

    A call that a :class:`flextier.costs.Ledger` of the same URL has taken in this process, with
    tags or a framework's ids, is left to it.
    """

    def __init__(self, url: str) -> None:
        """Name the ledger; the first call opens it.

        Raises:
            ValueError: the URL cannot be.
            ImportError: the database's driver is not installed.
        """
        address = LedgerUrl.read(url)
        self.name = address.shown
        store = LedgerStore(
            replace(address, shown=f"{address.shown} (FLEXTIER_LEDGER)"), readonly=False
        )
        self._writer = LedgerWriter(store, flush_every=0.5, queue_limit=20_000)
        self._waits = True
        self.taken = Seen()
        """The calls that it has, or that another ledger of its URL has taken."""
        load_price_list()

    def use(self) -> None:
        """Make it the ledger of this process."""
        global _current
        _current = self

    def __call__(self, report: CallReport) -> None:
        """Keep a call; raises nothing that has to do with the database, and rarely waits for it."""
        if self.taken.is_new(report.id):
            self._writer.add(record_of(report))
            if self._waits and _may_be_killed():
                self._waits = self._writer.flush(_KILLABLE_PATIENCE)


def taken_by_a_ledger(name: str, call_id: str) -> None:
    """Note that a ledger has taken a call; ``name`` is what messages call it."""
    ledger = _current
    if ledger is not None and ledger.name == name:
        ledger.taken.is_new(call_id)


def _may_be_killed() -> bool:
    """Whether this is a worker of ``multiprocessing.Pool``, or another process that its parent
    kills, rather than waits for, at its own end."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and bool(process.current_process().daemon)


def _forget_calls() -> None:
    if _current is not None:
        _current.taken = Seen()  # another thread may have held the lock of the old one


after_fork_in_child(_forget_calls)
