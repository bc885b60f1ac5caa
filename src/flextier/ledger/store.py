"""LedgerStore: opens, checks, writes and reads the database of a ledger."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from flextier._utils.sqlite_file import open_read_only, until_unlocked
from flextier.ledger import version
from flextier.ledger.errors import ForeignDatabaseError, LedgerError
from flextier.ledger.rows import Row
from flextier.ledger.schema import calls, sessions
from flextier.ledger.url import LedgerUrl

_BUSY_TIMEOUT = 5.0  # seconds that one statement waits for another process's transaction
_OPEN_TIMEOUT = 30.0  # seconds of retries while another process creates the ledger
_FORK_TIMEOUT = 10.0  # seconds that a fork waits for open transactions
_BEGIN = "flextier_begin"  # execution option: the statement that begins a SQLite transaction
_BEGIN_WRITE, _AUTOCOMMIT = "BEGIN IMMEDIATE", ""
# A consistent snapshot; on SQLite every read transaction is one.
_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class LedgerStore:
    """The database of a ledger. Any number of threads may read; only one may write."""

    def __init__(self, address: LedgerUrl, *, readonly: bool) -> None:
        """Configure the database; :meth:`open` connects to it.

        Raises:
            ImportError: the database's driver is not installed.
        """
        self.address = address
        self._readonly = readonly
        self._engine = _engine(address, readonly)
        self._fork_lock = _ForkLock()
        self._connection: Connection | None = None  # of the thread that writes
        self._file_id: tuple[int, int] | None = None  # device and inode
        self.is_open = False
        """Whether the ledger has been opened for writing once."""
        self._inherited: Connection | None = None
        dialect = sqlite if address.path is not None else postgresql
        self._insert = dialect.insert(calls).on_conflict_do_nothing(index_elements=["call_id"])

    def open(self) -> None:
        """Create the ledger if it does not exist.

        Raises:
            LedgerError: it cannot be created, or the database is not a ledger of this version.
        """
        if self._readonly:
            self._check()
            return
        with self._fork_lock.shared():
            self._create()

    def write(self, rows: Sequence[Row], session: Mapping[str, Any]) -> None:
        """Insert rows and save the session, in one transaction. Known calls are ignored.

        Raises:
            SQLAlchemyError, OSError, LedgerError: nothing was written.
        """
        with self._fork_lock.shared():
            try:
                connection = self._write_connection()
                with connection.begin():
                    if rows:
                        connection.execute(self._insert, rows)
                    self._save_session(connection, session)
            except BaseException:
                self._disconnect()
                raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection with a consistent snapshot of the ledger.

        Raises:
            LedgerError: it cannot be read.
        """
        with (
            self._fork_lock.shared(),
            self._translate_errors("read"),
            self._read_connection() as connection,
        ):
            if self.address.path is None:
                connection.execution_options(**_SNAPSHOT)
            yield connection

    @contextmanager
    def _read_connection(self) -> Iterator[Connection]:
        before = self._version()
        with self._engine.connect() as connection:
            # SQLite creates a log even to read, unless it opens the file without locks.
            is_unlocked = self._readonly and self.address.log_size() is None
            try:
                yield connection
            finally:
                if is_unlocked and self._version() != before:
                    raise LedgerError(
                        f"{self.address.shown} was written while it was read without locks, as "
                        "this user may not write to its directory: read it again"
                    )

    def close(self) -> None:
        """Close the connection that writes; the next write opens another."""
        with self._fork_lock.shared():
            self._disconnect()

    def before_fork(self) -> None:
        """Wait for open transactions, block new ones, and close the connection."""
        if self._fork_lock.acquire():
            self._disconnect()

    def after_fork(self, child: bool) -> None:
        """Allow transactions again."""
        if child:
            self._fork_lock.reset()
            # Left open: closing it here would close it for the parent, too.
            self._inherited, self._connection = self._connection, None
        else:
            self._fork_lock.release()

    def _check(self) -> None:
        try:
            if self.address.file_state() is None and self.address.path is not None:
                raise LedgerError(f"{self.address.shown} does not exist")
        except OSError as error:
            raise LedgerError(f"{self.address.shown} cannot be read: {error.strerror}") from error
        with self.reading() as connection:
            if not version.is_ledger(connection, self.address.shown):
                raise LedgerError(f"{self.address.shown} is empty: it is not a ledger yet")

    def _create(self) -> None:
        self.address.create_file()
        with self._translate_errors("opened"):
            until_unlocked(self._create_tables, _OPEN_TIMEOUT)
        self._file_id = self._current_file_id()
        self.is_open = True

    def _create_tables(self) -> None:
        shown = self.address.shown
        with self._engine.connect() as connection:
            is_ledger = version.is_ledger(connection, shown)
        if self.address.path is not None:
            self._enable_wal()
        if not is_ledger:
            with self._connect(_BEGIN_WRITE) as connection, connection.begin():
                version.create(connection, shown)

    def _enable_wal(self) -> None:
        """Use a write-ahead log, so that readers and writers do not wait for each other."""
        with self._connect(_AUTOCOMMIT) as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode = WAL").scalar()
        if mode != "wal":
            raise LedgerError(
                f"{self.address.shown} is on a file system without shared memory: SQLite cannot "
                "use a write-ahead log there, so several processes cannot write to it"
            )

    def _write_connection(self) -> Connection:
        if self._inherited is not None and self.address.path is not None:
            raise LedgerError(f"{self.address.shown}: this process was forked in a transaction")
        if not self.is_open or self._file_id != self._current_file_id():
            # Not opened yet; or the file was moved or deleted, and what is written to it is lost.
            self._disconnect()
            self._create()
        if self._connection is None:
            self._connection = self._connect(_BEGIN_WRITE)
        return self._connection

    def _connect(self, begin: str) -> Connection:
        return self._engine.connect().execution_options(**{_BEGIN: begin})

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _current_file_id(self) -> tuple[int, int] | None:
        state = self.address.file_state()
        return None if state is None else (state.st_dev, state.st_ino)

    def _version(self) -> tuple[int, int, int] | None:
        """What changes with the SQLite file's content."""
        state = self.address.file_state()
        return None if state is None else (state.st_ino, state.st_size, state.st_mtime_ns)

    def _save_session(self, connection: Connection, session: Mapping[str, Any]) -> None:
        same = sessions.c.id == session["id"]
        if connection.execute(update(sessions).where(same).values(**session)).rowcount == 0:
            connection.execute(sessions.insert().values(**session))

    @contextmanager
    def _translate_errors(self, action: str) -> Iterator[None]:
        """Raise errors of the driver as LedgerError, which names the ledger."""
        try:
            yield
        except SQLAlchemyError as error:
            original = driver_message(error)
            message = self.address.redacted(original)
            if isinstance(error, DBAPIError) and type(error.orig) is sqlite3.DatabaseError:
                raise ForeignDatabaseError(
                    f"{self.address.shown} is not a SQLite database, or is damaged: {message}"
                ) from error
            cause = error if message == original else None  # the cause would show the password
            if self._readonly:
                message += self.address.permission_hint(message)
            raise LedgerError(f"{self.address.shown} cannot be {action}: {message}") from cause


class _ForkLock:
    """Shared by the threads that use the database, exclusive while the process forks.

    In a child, SQLite does not know the locks of its parent: a connection that was open at the fork
    can corrupt the file, even one that the child opens itself.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all holders, as in a forked child."""
        self._changed = threading.Condition()
        self._holders = 0
        self._forking = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Use the database inside; waits while the process forks."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking)
            self._holders += 1
        try:
            yield
        finally:
            with self._changed:
                self._holders -= 1
                self._changed.notify_all()

    def acquire(self) -> bool:
        """Block new holders, and wait for the present ones; False: they have not finished."""
        with self._changed:
            self._forking = True
            return self._changed.wait_for(lambda: not self._holders, _FORK_TIMEOUT)

    def release(self) -> None:
        """Allow new holders."""
        with self._changed:
            self._forking = False
            self._changed.notify_all()


def driver_message(error: BaseException) -> str:
    """The driver's message on one line, without SQL."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return " ".join(str(original).split()) or type(original).__name__


def _engine(address: LedgerUrl, readonly: bool) -> Engine:
    options: dict[str, Any]
    path = address.path
    creator = partial(open_read_only, path, _BUSY_TIMEOUT) if readonly and path else None
    if path is not None:
        options = {"check_same_thread": False, "timeout": _BUSY_TIMEOUT}
    else:
        options = {} if "connect_timeout" in address.url.query else {"connect_timeout": 10}
    engine = create_engine(
        address.url,
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=options,
        **({} if creator is None else {"creator": creator}),
    )
    if engine.dialect.is_async:
        raise ValueError(f"{address.url.drivername}: the ledger needs a driver that is not async")
    if path is not None:
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: sqlite3.Connection, _: object) -> None:
    connection.isolation_level = None  # _on_begin begins transactions
    # With a write-ahead log, a killed process loses no commit; a power failure may lose the latest.
    connection.execute("PRAGMA synchronous = NORMAL")


def _on_begin(connection: Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN")
    if begin != _AUTOCOMMIT:
        connection.exec_driver_sql(begin)
