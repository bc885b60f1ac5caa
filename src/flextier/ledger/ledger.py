"""Ledger: the costs of calls in a database."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import URL, Connection
from typing_extensions import Self, Unpack

from flextier._utils.suggest import check_arguments
from flextier.costs.records import CallRecord
from flextier.costs.sums import Sums
from flextier.costs.totals import CostTotals
from flextier.ledger import queries
from flextier.ledger.errors import LedgerError
from flextier.ledger.process_ledger import mark_recorded
from flextier.ledger.queries import Filter, Group
from flextier.ledger.sessions import Session
from flextier.ledger.store import LedgerStore
from flextier.ledger.url import LedgerUrl
from flextier.ledger.writer import LedgerWriter


class Ledger:
    """Stores the records of calls in SQLite or PostgreSQL: names, times, tokens, money; no text.

    Any number of threads and processes may share one. A background thread writes the records in
    order; what is left is written when the process ends. If the database cannot be written, no call
    fails: the ledger warns once (:class:`LedgerWarning`), retries, and counts lost records.

    Example::

        ledger = Ledger("sqlite:///flextier.db")
        ledger.add(record)
        print(ledger.totals(since=datetime(2026, 11, 1)))
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | URL = "sqlite:///flextier.db",
        *,
        flush_every: float = 0.5,
        queue_limit: int = 20_000,
        readonly: bool = False,
    ) -> None:
        """Open a ledger. A SQLite file that does not exist is created, readable by its owner only.

        Args:
            url: a URL of SQLAlchemy for SQLite or PostgreSQL, or the path of a SQLite file. Bare
                ``postgresql://`` uses psycopg where that is installed.
            flush_every: seconds between two writes. A killed process loses the records of that time
                at most. 0: write at once.
            queue_limit: maximum number of records that wait while the database cannot be written;
                further ones are lost and counted.
            readonly: for reports: the ledger must exist, and nothing is written to it.

        Raises:
            ValueError: the URL or a number is invalid.
            LedgerError: the ledger cannot be opened, is the database of another program, or was
                created by a later version of flextier. Nothing in it is changed.
            ImportError: the database's driver is not installed.
        """
        if not flush_every >= 0:
            raise ValueError(f"flush_every={flush_every!r}: seconds, 0 or more")
        if queue_limit < 1:
            raise ValueError(f"queue_limit={queue_limit!r}: a whole number, 1 or more")
        self._address = LedgerUrl.read(url)
        self._readonly = readonly
        self._store = LedgerStore(self._address, readonly=readonly)
        self._store.open()
        self._writer = LedgerWriter(self._store, flush_every=flush_every, queue_limit=queue_limit)
        # A ledger that is garbage collected without close() is written, too.
        weakref.finalize(self, self._writer.begin_close, 10.0).atexit = False

    def add(self, record: CallRecord) -> None:
        """Queue a record. Does not wait for the database, and raises none of its errors.

        A record whose ``call_id`` is in the ledger already is ignored.

        Raises:
            LedgerError: the ledger was opened with ``readonly=True``.
        """
        self._check_writable()
        if self._writer.add(record):
            mark_recorded(self._address.shown, record)

    __call__ = add

    def add_all(self, records: Iterable[CallRecord]) -> None:
        """Add many records and wait until they are written; meant for imports.

        Raises:
            LedgerError: they cannot be written now, or not all of them.
        """
        self._check_writable()
        self._writer.add_all(records)

    def _check_writable(self) -> None:
        if self._readonly:
            raise LedgerError(f"{self._address.shown} was opened with readonly=True")

    def flush(self, timeout: float | None = None) -> bool:
        """Write the records added so far, and wait for that.

        Args:
            timeout: seconds to wait at most, retries included. None: until the first failure.

        Returns:
            Whether all are written. If not, they still wait (see :attr:`pending`) or are lost.
        """
        return self._writer.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Write the remaining records and accept no more; the ledger can still be read.

        Args:
            timeout: seconds after which records that could not be written are dropped.

        Returns:
            Whether all records were written.
        """
        return self._writer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Number of records of this process that wait to be written."""
        return self._writer.pending

    @property
    def lost(self) -> int:
        """Number of records of this process that were dropped."""
        return self._writer.lost

    def records(self, **which: Unpack[Filter]) -> Iterator[CallRecord]:
        """The records as they were added, without metadata, oldest first; read page by page.

        Args:
            which: ``since``: calls that began then or later, UTC where it has no zone; ``until``:
                calls that began before; ``model``: the model asked for; ``lane``: the lane billed;
                ``framework``: the framework that made the call; ``tag``: one of the call's tags;
                ``run_id``: the run of the call, or its parent run.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self._prepare("records", which)
        return queries.records(self._store, which)

    def totals(self, **which: Unpack[Filter]) -> CostTotals:
        """The totals of the records: ``CostTotals(ledger.records(...))``, computed in SQL.

        The arguments and errors are those of :meth:`records`.
        """
        self._prepare("totals", which)
        return queries.totals(self._store, which)

    def sums(self, *by: Group, **which: Unpack[Filter]) -> dict[tuple[Any, ...], Sums]:
        """Sums by groups of calls, as in ``ledger.sums("hour_of_day", "lane")``.

        Args:
            by: names of groups; the keys of the result are tuples of their values. A call with two
                tags is in the sums of both, one without tags in those of None.
            which: the arguments of :meth:`records`.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self._prepare("sums", which)
        return queries.sums(self._store, which, by)

    def _prepare(self, method: str, which: Filter) -> None:
        check_arguments(f"Ledger.{method}", which, Filter.__annotations__)
        self.flush()

    def sessions(self) -> tuple[Session, ...]:
        """The processes that have written, oldest first; shows which of them lost records.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self.flush()
        return queries.all_sessions(self._store)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection for your own SQL over the tables of ``flextier.ledger.schema``.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self.flush()
        return self._store.reading()

    def __repr__(self) -> str:
        return f"<Ledger {self._address.shown}, {self.pending:,} pending, {self.lost:,} lost>"
