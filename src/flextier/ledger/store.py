"""LedgerStore: the database of a ledger. It is opened, checked, written and read here."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from flextier.ledger import fork_safety, migrations, readonly_sqlite
from flextier.ledger.errors import ForeignDatabaseError, LedgerError
from flextier.ledger.rows import Row
from flextier.ledger.schema import calls, sessions
from flextier.ledger.url import LedgerUrl

_T = TypeVar("_T")

_BUSY = 5.0  # seconds that one statement waits for another process's transaction
_OPENING = 30.0  # seconds that opening goes on trying while others migrate
_BEGIN = "flextier_begin"  # what a transaction of SQLite begins with, where not with BEGIN
_WRITES, _NO_TRANSACTION = "BEGIN IMMEDIATE", ""
# What every transaction of SQLite that reads is by itself.
_ONE_MOMENT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class LedgerStore:
    """The database of a ledger. Any thread may read; one at a time writes."""

    def __init__(self, address: LedgerUrl, *, readonly: bool) -> None:
        """Name the database; :meth:`open` connects to it.

        Raises:
            ImportError: the database's driver is not installed.
        """
        self.address = address
        self._readonly = readonly
        self._engine = _engine(address.readonly() if readonly else address)
        self._still = _engine(address.readonly(still=True)) if readonly else self._engine
        self._in_use = fork_safety.ActiveUsers()
        self._writing: Connection | None = None
        self._file: tuple[int, int] | None = None
        self._inherited: Connection | None = None
        dialect = sqlite if address.path is not None else postgresql
        self._insert = dialect.insert(calls).on_conflict_do_nothing(index_elements=["call_id"])

    def open(self) -> None:
        """Make the ledger if there is none, bring it to this version if it is older.

        Raises:
            LedgerError: that cannot be done, or the database is something else's.
        """
        if self._readonly:
            self._check()
            return
        with self._in_use():
            self._make()

    def write(self, rows: Sequence[Row], session: Mapping[str, Any]) -> None:
        """Add rows, and say so in the session, in one transaction. Calls that are there stay.

        Raises:
            SQLAlchemyError, OSError, LedgerError: nothing was written.
        """
        with self._in_use():
            try:
                connection = self._connected()
                with connection.begin():
                    if rows:
                        connection.execute(self._insert, rows)
                    self._save_session(connection, session)
            except BaseException:
                self._disconnect()
                raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees the ledger as it is now, for a moment.

        Raises:
            LedgerError: it cannot be read.
        """
        with self._in_use(), self._reporting("read"), self._to_read() as connection:
            if self.address.path is None:
                connection.execution_options(**_ONE_MOMENT)
            yield connection

    @contextmanager
    def _to_read(self) -> Iterator[Connection]:
        path = self.address.path
        if self._readonly and path is not None and readonly_sqlite.is_still(path):
            with (
                readonly_sqlite.unchanged(path, self.address.shown),
                self._still.connect() as connection,
            ):
                yield connection
        else:
            with self._engine.connect() as connection:
                yield connection

    def let_go(self) -> None:
        """Close the connection that writes; the next write makes another."""
        with self._in_use():
            self._disconnect()

    def before_fork(self) -> None:
        """Leave no connection open."""
        if self._in_use.hold():
            self._disconnect()

    def after_fork(self, child: bool) -> None:
        """Let those who wait go on; in a child, there are none."""
        if child:
            self._in_use.reset()
            # Not to be closed here, which the parent would notice.
            self._inherited, self._writing = self._writing, None
        else:
            self._in_use.go_on()

    def _check(self) -> None:
        try:
            if self._identity() is None and self.address.path is not None:
                raise LedgerError(f"{self.address.shown} does not exist")
        except OSError as error:
            raise LedgerError(f"{self.address.shown} cannot be read: {error.strerror}") from error
        with self.reading() as connection:
            version = migrations.found_version(connection, self.address.shown)
        if version == 0:
            raise LedgerError(f"{self.address.shown} is empty: it is no ledger yet")
        if version < len(migrations.STEPS):
            raise LedgerError(
                f"{self.address.shown} is a ledger of version {version}, and this flextier reads "
                f"version {len(migrations.STEPS)}: open it once for writing, which upgrades it"
            )

    def _make(self) -> None:
        self.address.make_file()
        with self._reporting("opened"):
            _patiently(self._prepare)
        self._file = self._identity()

    def _prepare(self) -> None:
        shown = self.address.shown
        with self._engine.connect() as connection:
            version = migrations.found_version(connection, shown)
        if self.address.path is not None:
            self._write_ahead()
        if version < len(migrations.STEPS):
            with self._connect(_WRITES) as connection, connection.begin():
                migrations.upgrade(connection, shown)

    def _write_ahead(self) -> None:
        """Have readers and writers not wait for each other; the file remembers it."""
        with self._connect(_NO_TRANSACTION) as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
        if mode != "wal":
            raise LedgerError(
                f"{self.address.shown} is on a file system without shared memory: SQLite cannot "
                "use a write-ahead log there, so several processes cannot write to it"
            )

    def _connected(self) -> Connection:
        if self._inherited is not None and self.address.path is not None:
            raise LedgerError(f"{self.address.shown}: this process was forked in a transaction")
        if self._file != self._identity():
            # The file was moved or deleted: records written to it now would be lost.
            self._disconnect()
            self._make()
        if self._writing is None:
            self._writing = self._connect(_WRITES)
        return self._writing

    def _connect(self, begin: str) -> Connection:
        return self._engine.connect().execution_options(**{_BEGIN: begin})

    def _disconnect(self) -> None:
        connection, self._writing = self._writing, None
        if connection is not None:
            connection.close()

    def _identity(self) -> tuple[int, int] | None:
        """The device and inode of the SQLite file; None: there is no file."""
        if self.address.path is None:
            return None
        try:
            found = self.address.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _save_session(self, connection: Connection, session: Mapping[str, Any]) -> None:
        same = sessions.c.id == session["id"]
        if connection.execute(update(sessions).where(same).values(**session)).rowcount == 0:
            connection.execute(sessions.insert().values(**session))

    @contextmanager
    def _reporting(self, done: str) -> Iterator[None]:
        """Turn what the driver raises inside into an error that names the ledger."""
        try:
            yield
        except SQLAlchemyError as error:
            why = self.address.redacted(reason(error))
            if _is_no_database(error):
                raise ForeignDatabaseError(
                    f"{self.address.shown} is no SQLite database, or a damaged one: {why}"
                ) from error
            cause = error if why == reason(error) else None  # which would show the password
            if self._readonly and self.address.path is not None:
                why += readonly_sqlite.lack(self.address.path, why)
            raise LedgerError(f"{self.address.shown} cannot be {done}: {why}") from cause


def reason(error: BaseException) -> str:
    """What the driver said, on one line, without SQL."""
    said = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(said).split()) or type(said).__name__


def _is_no_database(error: SQLAlchemyError) -> bool:
    said = error.orig if isinstance(error, DBAPIError) else None
    return type(said) is sqlite3.DatabaseError


def _patiently(work: Callable[[], _T]) -> _T:
    """Do work again while the database is locked: SQLite does not always wait by itself."""
    until = time.monotonic() + _OPENING
    while True:
        try:
            return work()
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > until:
                raise
        time.sleep(0.05)


def _engine(address: LedgerUrl) -> Engine:
    options: dict[str, Any]
    if address.path is not None:
        options = {"check_same_thread": False, "timeout": _BUSY}
    else:
        options = {} if "connect_timeout" in address.url.query else {"connect_timeout": 10}
    engine = create_engine(
        address.url, poolclass=NullPool, hide_parameters=True, connect_args=options
    )
    if engine.dialect.is_async:
        raise ValueError(f"{address.url.drivername}: the ledger needs a driver that is not async")
    if address.path is not None:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # transactions begin where we say so
    # With a write-ahead log, this loses nothing when a process dies; at most the last moments
    # when the machine does.
    connection.execute("PRAGMA synchronous = NORMAL")


def _on_begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin != _NO_TRANSACTION:
        connection.exec_driver_sql(begin)
