"""Ledger: what calls cost, kept in a database."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Any

from sqlalchemy import URL, Connection
from typing_extensions import Self

from flextier.costs.records import CallRecord
from flextier.costs.totals import CostTotals, Sums
from flextier.ledger import fork_safety, queries
from flextier.ledger.errors import LedgerError
from flextier.ledger.filters import CallFilter, Group
from flextier.ledger.sessions import Session
from flextier.ledger.store import LedgerStore
from flextier.ledger.url import LedgerUrl
from flextier.ledger.writer import LedgerWriter


class Ledger:
    """Keeps the records of calls in SQLite or PostgreSQL: names, times, tokens, money; no text.

    Any number of threads and processes may share one. Records are written in order, on a thread of
    the ledger's own, and at the end of the process; a ledger that cannot be written fails no call:
    it warns once (:class:`LedgerWarning`), tries again, and counts.

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
        """Open a ledger; make it, if there is none, with a file that only its owner can read.

        Args:
            url: a URL of SQLAlchemy for SQLite or PostgreSQL, or the path of a SQLite file. Bare
                ``postgresql://`` takes psycopg where that is installed.
            flush_every: seconds that a record waits for others before they are written together: a
                process that is killed loses at most those. 0: none.
            queue_limit: records that wait at most while the database cannot be written; what comes
                on top is lost, and counted.
            readonly: for reports: the ledger has to exist, and nothing is written to it.

        Raises:
            ValueError: the URL or a number cannot be.
            LedgerError: the ledger cannot be opened, is something else's database, or was made by
                a later flextier. What is there is left as it was.
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
        fork_safety.take_part(self._writer)
        # Forgotten without being closed, it is still written.
        weakref.finalize(self, self._writer.close_soon, 10.0).atexit = False

    def add(self, record: CallRecord) -> None:
        """Keep a record. Does not wait, and raises nothing that has to do with the database.

        A call that the ledger has already, by its ``call_id``, stays as it is.

        Raises:
            LedgerError: the ledger was opened to be read only.
        """
        if self._readonly:
            raise LedgerError(f"{self._address.shown} was opened with readonly=True")
        self._writer.add(record)

    __call__ = add

    def add_all(self, records: Iterable[CallRecord]) -> None:
        """Keep many records, and wait until they are written: for imports, not beside calls.

        Raises:
            LedgerError: they cannot be written now, or not all of them.
        """
        if self._readonly:
            raise LedgerError(f"{self._address.shown} was opened with readonly=True")
        self._writer.add_all(records)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until everything added before is written.

        Args:
            timeout: seconds to wait at most, through failures. None: until the first failure.

        Returns:
            Whether it is. If not, it still waits to be written (see :attr:`pending`) or is lost.
        """
        return self._writer.flush(timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """Write what is left and take no more; the ledger can still be read.

        Args:
            timeout: seconds after which what could not be written is given up.

        Returns:
            Whether everything was written.
        """
        return self._writer.close(timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pending(self) -> int:
        """Records of this process that wait to be written."""
        return self._writer.pending

    @property
    def lost(self) -> int:
        """Records of this process that were not written and will not be."""
        return self._writer.lost

    def records(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        model: str | None = None,
        lane: str | None = None,
        framework: str | None = None,
        tag: str | None = None,
        run_id: str | None = None,
    ) -> Iterator[CallRecord]:
        """The records, oldest first, this process's own included; read as they are asked for.

        They are as they were added, without their metadata.

        Args:
            since: calls that began then or later; UTC where it has no zone.
            until: calls that began before.
            model: the model asked for.
            lane: the lane billed.
            framework: who made the call.
            tag: one of the call's tags.
            run_id: the run of the call, or the run around it.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        which = CallFilter(since, until, model, lane, framework, tag, run_id)
        self.flush()
        return queries.records(self._store, which)

    def totals(self, **which: Any) -> CostTotals:
        """What the records come to: ``CostTotals(ledger.records(...))``, worked out in SQL.

        The arguments and errors are those of :meth:`records`.
        """
        self.flush()
        return queries.totals(self._store, CallFilter(**which))

    def sums(self, *by: Group, **which: Any) -> dict[tuple[Any, ...], Sums]:
        """Sums by what calls have in common, as in ``ledger.sums("hour_of_day", "lane")``.

        Args:
            by: names of groups; the keys of the answer are tuples of their values. A call with two
                tags is in the sums of both, one without tags in those of None.
            which: the arguments of :meth:`records`.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self.flush()
        return queries.sums(self._store, CallFilter(**which), by)

    def sessions(self) -> tuple[Session, ...]:
        """The processes that have written, oldest first: see which broke off, and what is missing.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self.flush()
        return queries.all_sessions(self._store)

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection for SQL of your own, over the tables of ``flextier.ledger.schema``.

        Raises:
            LedgerError: the ledger cannot be read.
        """
        self.flush()
        return self._store.reading()

    def __repr__(self) -> str:
        return f"<Ledger {self._address.shown}, {self.pending:,} pending, {self.lost:,} lost>"
