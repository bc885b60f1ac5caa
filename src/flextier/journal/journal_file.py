"""The SQLite file of a journal: the runs of programs, transactions, writes that wait."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

from flextier._utils.sqlite_file import CONTENT_ERRORS, until_unlocked
from flextier.journal.errors import JournalError, JournalLocked, journal_error
from flextier.journal.process_locks import process_locks_at
from flextier.journal.schema import connect

LOCK_WAIT: ContextVar[float] = ContextVar("flextier_journal_lock_wait", default=60.0)
"""Seconds that an operation waits for another process that writes."""

SHORT_WAIT = 0.1
"""Seconds of it in an event loop: other processes write for a few milliseconds."""


@contextmanager
def lock_wait(seconds: float) -> Iterator[None]:
    """Have the operations inside wait for other processes for ``seconds`` at most."""
    token = LOCK_WAIT.set(seconds)
    try:
        yield
    finally:
        LOCK_WAIT.reset(token)


class JournalFile:
    """A journal's file, which threads and processes may share."""

    def __init__(self, path: str | os.PathLike[str], wall: Callable[[], float]) -> None:
        self.path = os.fspath(path)
        self._wall = wall
        self._lock = threading.RLock()
        self._unwritten: deque[tuple[Callable[[], None], Callable[[Exception], None]]] = deque()
        self._connection = connect(self.path, LOCK_WAIT.get())
        self._is_durable: bool | None = None
        try:
            self._owners = process_locks_at(self.path)
            self.run = self._begin_run()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, OSError):
                raise JournalError(f"{self.path}-owners cannot be locked: {error}") from error
            raise

    def _begin_run(self) -> int:
        with self._transaction() as sql:
            facts = (os.getpid(), socket.gethostname(), self._wall())
            cursor = sql("INSERT INTO runs (pid, host, started) VALUES (?, ?, ?)", facts)
            run: int = cursor.lastrowid
            self._owners.begin(run)
            for (other,) in sql("SELECT id FROM runs").fetchall():
                if not self._owners.alive(other):
                    self._end_run(sql, other)
        return run

    @staticmethod
    def _end_run(sql: Any, run: int) -> None:
        """Release the claims of a run; its batches stay."""
        sql("DELETE FROM taken WHERE run = ?", (run,))
        sql("DELETE FROM calls WHERE owner = ? AND state = 'asked'", (run,))
        sql("DELETE FROM runs WHERE id = ?", (run,))

    @contextmanager
    def _transaction(
        self, *, durable: bool = False, mode: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE"
    ) -> Iterator[Callable[..., Any]]:
        """Commit all statements inside or none, waiting for other processes that write.

        A ``durable`` commit survives a power cut, not only the process. ``DEFERRED`` is for
        statements that only read: they do not wait. A JournalLocked: another process has written
        for longer than :data:`LOCK_WAIT`.
        """
        try:
            begun = until_unlocked(lambda: self._begin(durable, mode), LOCK_WAIT.get())
            connection = self._connection
            try:
                yield connection.execute
                if begun:
                    connection.execute("COMMIT")
            finally:
                if begun and connection.in_transaction:  # on a full disk SQLite has ended it itself
                    connection.execute("ROLLBACK")
                self._lock.release()
        except CONTENT_ERRORS as error:
            raise journal_error(self.path, error) from error

    def _begin(self, durable: bool, mode: str) -> bool:
        """Acquire the lock; whether a transaction was begun: not inside of another one, where the
        garbage collector has closed another call's stream."""
        self._lock.acquire()
        try:
            begins = not self._connection.in_transaction
            if begins:
                if self._is_durable is not durable:
                    self._connection.execute(
                        f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}"
                    )
                    self._is_durable = durable
                self._connection.execute(f"BEGIN {mode}")
        except BaseException:
            self._lock.release()
            raise
        return begins

    def write_soon(self, write: Callable[[], None], failed: Callable[[Exception], None]) -> None:
        """Write now; while another process writes, in a thread: the caller does not wait for it.

        ``failed`` is called with the error, if it cannot be written within a minute. The process
        does not end before all is written.
        """
        with self._lock:
            if not self._unwritten:
                try:
                    with lock_wait(SHORT_WAIT):
                        write()
                    return
                except JournalLocked:
                    pass
                except JournalError as error:
                    failed(error)
                    return
            self._unwritten.append((write, failed))
            if len(self._unwritten) == 1:
                threading.Thread(target=self._write_rest, name="flextier-journal").start()

    def _write_rest(self) -> None:
        wait = LOCK_WAIT.get()
        while True:
            write, failed = self._unwritten[0]
            try:
                with lock_wait(wait):
                    write()
            except Exception as error:  # noqa: BLE001 - reported, whatever it is: the rest goes on
                failed(error)
                wait = 0.0 if isinstance(error, JournalLocked) else wait
            with self._lock:
                self._unwritten.popleft()
                if not self._unwritten:
                    return

    def _shrink(self) -> None:
        """Rewrite the file and its log, so that no deleted data is left in them."""
        with self._lock:
            try:
                until_unlocked(lambda: self._connection.execute("VACUUM"), LOCK_WAIT.get())
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                raise JournalError(
                    f"the responses are deleted, but the journal {self.path} keeps its size until "
                    f"it can be rewritten: {error}"
                ) from error

    def close(self) -> None:
        """Close the file; calls in flight are free to be sent again."""
        with self._transaction() as sql:
            self._end_run(sql, self.run)
        with self._lock:
            self._connection.close()
            self._owners.end(self.run)
