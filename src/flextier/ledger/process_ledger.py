"""The ledger named by ``FLEXTIER_LEDGER``, which records every call of a process."""

from __future__ import annotations

import sys
from dataclasses import replace

from flextier._utils.fork import after_fork_in_child
from flextier.calls.report import CallReport
from flextier.costs.records import CallRecord, RecentIds, record_of
from flextier.ledger.store import LedgerStore
from flextier.ledger.url import LedgerUrl
from flextier.ledger.writer import LedgerWriter
from flextier.pricing.price_book import load_price_list

_DAEMON_FLUSH_TIMEOUT = 2.0  # seconds that a call of a daemon process waits for its row

_current: ProcessLedger | None = None


class ProcessLedger:
    """Records the reports of all calls; the writer's thread opens the database, with retries.

    A call that a :class:`flextier.costs.Ledger` of the same URL has recorded in this process, with
    tags or a framework's ids, is ignored.
    """

    def __init__(self, url: str) -> None:
        """Configure the ledger; the first call opens it.

        Raises:
            ValueError: the URL is invalid.
            ImportError: the database's driver is not installed.
        """
        address = LedgerUrl.read(url)
        self.name = address.shown
        store = LedgerStore(
            replace(address, shown=f"{address.shown} (FLEXTIER_LEDGER)"), readonly=False
        )
        self._writer = LedgerWriter(store, flush_every=0.5, queue_limit=20_000)
        self._flushes = True
        self.recorded = RecentIds()
        """The calls recorded by this ledger, or by another one of its URL."""
        load_price_list()

    def use(self) -> None:
        """Make it the ledger of this process."""
        global _current
        _current = self

    def __call__(self, framework: str, report: CallReport) -> None:
        """Record a call. Raises no database errors; waits for the row only in a daemon process."""
        if self.recorded.is_new(report.id):
            self._writer.add(record_of(report, framework=framework))
            # Not while the database cannot be written: then earlier records are pending, too.
            if _is_daemon() and (self._flushes or self._writer.pending == 1):
                self._flushes = self._writer.flush(_DAEMON_FLUSH_TIMEOUT)


def mark_recorded(name: str, record: CallRecord) -> None:
    """Ignore a call that another ledger of the same name has recorded."""
    ledger = _current
    if ledger is not None and ledger.name == name and isinstance(record, CallRecord):
        ledger.recorded.is_new(record.call_id)


def _is_daemon() -> bool:
    """Whether the parent kills this process when it ends, as it does a worker of a ``Pool``."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and bool(process.current_process().daemon)


def _forget_calls() -> None:
    if _current is not None:
        _current.recorded = RecentIds()  # another thread may have held the lock of the old one


after_fork_in_child(_forget_calls)
