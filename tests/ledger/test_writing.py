"""Writing: in order, off the call's path; what goes wrong fails no call, warns once and counts."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from flextier.costs import CostTotals, Ledger
from flextier.ledger import LedgerError, LedgerWarning, store
from tests.ledger.calls import call, ids, python


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that waits for a lock no longer than a moment."""
    monkeypatch.setattr(store, "_BUSY_TIMEOUT", 0.05)


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another program in the midst of a transaction."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def warned(match: str = "cannot be written") -> Iterator[pytest.WarningsRecorder]:
    """What is done inside has a ledger warn."""
    with pytest.warns(LedgerWarning, match=match) as caught:
        yield caught


def until(true: Callable[[], object]) -> None:
    """Wait for something that other threads bring about."""
    for _ in range(3000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come about")


def in_order_of_writing(ledger: Ledger) -> list[str]:
    """The names of calls, as they were written."""
    with ledger.reading() as connection:
        asked = "SELECT call_id FROM flextier_calls ORDER BY id"
        return list(connection.exec_driver_sql(asked).scalars())


def test_many_threads_write_in_their_order(url: str) -> None:
    """Nothing is missing, and what a thread added first is written first."""
    work = [[call(call_id=f"{number}-{n}") for n in range(150)] for number in range(8)]
    with Ledger(url, flush_every=0) as ledger:
        threads = [Thread(target=lambda some=some: [*map(ledger.add, some)]) for some in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ledger.flush()
        written = in_order_of_writing(ledger)
        for number, some in enumerate(work):
            assert [name for name in written if name.startswith(f"{number}-")] == ids(some)
        assert len(written) == 8 * 150
        assert ledger.totals() == CostTotals(record for some in work for record in some)


def test_records_are_written_without_being_asked(file: Path) -> None:
    """After flush_every seconds, in one transaction."""
    with Ledger(file, flush_every=0.01) as ledger:
        for _ in range(3):
            ledger.add(call())
        until(lambda: ledger.pending == 0)
        assert Ledger(file, readonly=True).totals().calls == 3


def test_records_wait_in_memory(file: Path) -> None:
    """Until it is time; but the first, with which its process is known, does not wait."""
    with Ledger(file, flush_every=3600) as ledger:
        ledger.add(call())
        until(lambda: ledger.pending == 0)
        ledger.add(call())
        time.sleep(0.05)
        assert ledger.pending == 1
        reader = Ledger(file, readonly=True)
        assert reader.totals().calls == 1
        assert [session.state for session in reader.sessions()] == ["running"]
    assert ledger.pending == 0
    assert reader.totals().calls == 2


def test_flushing_nothing(file: Path) -> None:
    """There is nothing to wait for, and no thread is started for it."""
    before = threading.active_count()
    ledger = Ledger(file)
    assert ledger.flush()
    assert threading.active_count() == before
    assert ledger.close()
    assert ledger.sessions() == ()


def test_closing_twice(file: Path) -> None:
    """The second time there is nothing left to do."""
    ledger = Ledger(file)
    ledger.add(call())
    assert ledger.close()
    assert ledger.close()
    assert [session.state for session in ledger.sessions()] == ["closed"]
    assert ledger.totals().calls == 1


def test_adding_to_a_closed_ledger(file: Path) -> None:
    """It warns and counts; the call that it was about is not to fail."""
    ledger = Ledger(file)
    ledger.close()
    with warned("it is closed"):
        ledger.add(call())
    ledger.add(call())
    assert (ledger.lost, ledger.pending) == (2, 0)


def test_a_forgotten_ledger_is_written(file: Path) -> None:
    """Collected without being closed, it closes itself, and its thread ends."""
    Ledger(file, flush_every=3600).add(call())
    gc.collect()
    until(lambda: "flextier-ledger" not in {thread.name for thread in threading.enumerate()})
    reader = Ledger(file, readonly=True)
    assert reader.totals().calls == 1
    assert [session.state for session in reader.sessions()] == ["closed"]


@pytest.mark.usefixtures("hasty")
def test_a_locked_database(file: Path) -> None:
    """It warns once, goes on trying, and writes everything when the lock is gone."""
    with Ledger(file, flush_every=0) as ledger:
        with locked(file), warned("database is locked") as caught:
            many = [call() for _ in range(5)]
            for record in many:
                ledger.add(record)
                assert not ledger.flush()
        assert ledger.flush(30)
        assert in_order_of_writing(ledger) == ids(many)
        assert (ledger.pending, ledger.lost, len(caught)) == (0, 0, 1)
        assert str(file) in str(caught[0].message)


@pytest.mark.usefixtures("hasty")
def test_flush_waits_through_failures(file: Path) -> None:
    """Flush waits up to its timeout, and returns whether everything was written."""
    with Ledger(file, flush_every=0) as ledger:
        with locked(file), warned():
            ledger.add(call())
            assert not ledger.flush(0.3)
            assert ledger.pending == 1
        assert ledger.flush(30)


@pytest.mark.usefixtures("hasty")
def test_a_queue_that_is_full(file: Path) -> None:
    """What comes on top is lost and counted; what waited is written."""
    with Ledger(file, queue_limit=3) as ledger:
        with locked(file), warned() as caught:
            many = [call() for _ in range(5)]
            for record in many:
                ledger.add(record)
            assert (ledger.pending, ledger.lost) == (3, 2)
            assert not ledger.flush()
        assert len(caught) == 1
        assert ledger.flush(30)
        assert in_order_of_writing(ledger) == ids(many[:3])
        (session,) = ledger.sessions()
        assert (session.written, session.lost) == (3, 2)
        assert "lost 2 records" in str(session)


@pytest.mark.usefixtures("hasty")
def test_importing_does_not_lose_silently(file: Path) -> None:
    """add_all waits for room, and raises where there will be none."""
    many = [call() for _ in range(10)]
    with Ledger(file, queue_limit=3) as ledger:
        ledger.add_all(many)
        assert in_order_of_writing(ledger) == ids(many)
        with locked(file), warned(), pytest.raises(LedgerError, match="wait"):
            ledger.add_all(call() for _ in range(10))
        assert ledger.lost == 0


@pytest.mark.usefixtures("hasty")
def test_closing_what_cannot_be_written(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It gives up in time; what is lost is counted and logged."""
    ledger = Ledger(file)
    with locked(file), warned():
        ledger.add(call())
        assert not ledger.close(0.2)
    assert (ledger.pending, ledger.lost) == (0, 1)
    assert "1 records were lost" in caplog.text


@pytest.mark.usefixtures("hasty")
def test_where_warnings_are_errors(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a call fails nor the writing: it is logged instead."""
    with Ledger(file, queue_limit=1) as ledger, locked(file), warnings.catch_warnings():
        warnings.simplefilter("error")
        ledger.add(call())
        ledger.add(call())
        assert ledger.lost == 1
    assert "cannot be written" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


BAD: list[tuple[str, Any]] = [
    ("no record", "call"),
    ("no number", replace(call(), premium=Decimal("NaN"))),
    ("waited forever", replace(call(), waited=float("nan"))),
    ("no name", replace(call(), model=None)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("bad", [bad for _, bad in BAD], ids=[name for name, _ in BAD])
def test_a_record_that_does_not_fit(file: Path, bad: Any) -> None:
    """It is left out and counted; those around it are written."""
    many = [call(), call()]
    with Ledger(file) as ledger, warned("a record is invalid"):
        ledger.add(many[0])
        ledger.add(bad)
        ledger.add(many[1])
        assert not ledger.flush()
        assert in_order_of_writing(ledger) == ids(many)
        assert ledger.lost == 1


def test_a_file_that_is_moved_away(file: Path) -> None:
    """Rotated by its user, the next records go to a new one."""
    with Ledger(file) as ledger:
        ledger.add(call(call_id="old"))
        ledger.flush()
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.rename(file.with_name("2026-10.db"))
        ledger.add(call(call_id="new"))
        assert ids(ledger.records()) == ["new"]
    assert ids(Ledger(file.with_name("2026-10.db"), readonly=True).records()) == ["old"]


def test_a_directory_that_goes(tmp_path: Path) -> None:
    """The records wait until it is back."""
    home = tmp_path / "home"
    home.mkdir()
    with Ledger(home / "x.db") as ledger:
        ledger.add(call(call_id="before"))
        ledger.flush()
        home.rename(tmp_path / "away")
        with warned("no directory"):
            ledger.add(call(call_id="after"))
            assert not ledger.flush()
        (tmp_path / "away").rename(home)
        assert ledger.flush(30)
        assert ids(ledger.records()) == ["before", "after"]


def test_a_server_that_cuts_the_connection(postgres_url: str) -> None:
    """The next try makes another one, and no record is lost or there twice."""
    import psycopg

    with Ledger(postgres_url) as ledger:
        ledger.add(call(call_id="before"))
        ledger.flush()
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        with warned("terminat"):
            ledger.add(call(call_id="after"))
            assert ledger.flush(30)
        assert in_order_of_writing(ledger) == ["before", "after"]


_FULL = """
import os, resource, signal, sys, warnings
from flextier.costs import Ledger
from flextier.ledger import LedgerWarning
from tests.ledger.calls import call

sys.dont_write_bytecode = True
ledger = Ledger(sys.argv[1], flush_every=0)
ledger.add(call())
assert ledger.flush()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = max(os.path.getsize(sys.argv[1] + end) for end in ("", "-wal"))
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(300):
        ledger.add(call())
    assert not ledger.flush()
    assert ledger.pending and not ledger.lost
    assert [warning.category for warning in caught] == [LedgerWarning], caught
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ledger.flush(60)
print(caught[0].message)
assert ledger.totals().calls == 301
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")
def test_a_disk_that_is_full(file: Path) -> None:
    """Calls go on; when there is room again, everything is written."""
    done = python(_FULL, file)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout


_READ_ONLY = """
import os, sys, warnings
from flextier.costs import Ledger
from tests.ledger.calls import call, leave

for path in ("warm-up.db", "flextier.db"):  # imports all modules before the user id changes
    with Ledger(path) as ledger:
        ledger.add(call())
ledger = Ledger("flextier.db")
os.chmod("flextier.db", 0o444)
os.chmod(".", 0o555)
if os.geteuid() == 0:
    os.chmod("flextier.db", 0o644)
    os.chmod(".", 0o755)
    os.seteuid(65534)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ledger.add(call())
    assert not ledger.flush()
    assert (ledger.pending, ledger.lost, len(caught)) == (1, 0, 1), (ledger, caught)
    assert not ledger.close(0.1)
    assert ledger.lost == 1
print(caught[0].message)
leave(0)
"""


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_file_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls succeed; the lost records are counted and warned about."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    done = python(_READ_ONLY)
    home.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout


def test_a_generator_that_ends_while_a_record_is_added(file: Path) -> None:
    """Adding from within adding, as the garbage collector may have it, does not hang."""
    with Ledger(file) as ledger:
        ledger.add(call())
        with ledger._writer._changed:
            ledger.add(call())
        assert ledger.flush()
        assert ledger.totals().calls == 2
