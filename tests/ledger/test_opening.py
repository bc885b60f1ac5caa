"""Opening a ledger: created for its owner alone, or refused and left as it was."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from sqlalchemy import URL, create_engine

from flextier.costs import Ledger
from flextier.ledger import ForeignDatabaseError, LedgerError, NewerLedgerError
from tests.ledger.calls import WHOLE, call, python


@pytest.fixture
def loose_umask() -> Iterator[None]:
    """A process whose files are for all to read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("loose_umask")
@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_only_the_owner_can_read_it(file: Path) -> None:
    """The file and those beside it, whatever the umask."""
    with Ledger(file) as ledger:
        ledger.add(call())
        ledger.flush()
        names = [file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")]
        assert [stat.S_IMODE(name.stat().st_mode) for name in names] == [0o600] * 3


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_mode_of_the_users_choice_stays(file: Path) -> None:
    """A ledger that was opened to a group is left so."""
    Ledger(file).close()
    file.chmod(0o640)
    Ledger(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("write", ["sqlite:///{}", "{}", None], ids=["url", "path", "Path"])
def test_ways_to_name_a_file(tmp_path: Path, write: str | None) -> None:
    """A URL, a path, a Path; with characters that mean something in a URI."""
    path = tmp_path / "a ?b#%20ü.db"
    place: Any = path if write is None else write.format(path)
    if write is not None and "://" in write:
        place = URL.create("sqlite", database=str(path))
    with Ledger(place) as ledger:
        ledger.add(WHOLE)
    assert list(Ledger(path).records()) == [WHOLE]
    assert sorted(other.name for other in tmp_path.iterdir())[0] == path.name


def test_a_relative_path_is_that_of_the_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that changes its directory goes on with the same file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with Ledger("sqlite:///my.db") as ledger:
        monkeypatch.chdir(tmp_path / "elsewhere")
        ledger.add(WHOLE)
        assert list(ledger.records()) == [WHOLE]
    assert (tmp_path / "my.db").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "mysql://localhost/x",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x.db?mode=ro&uri=true",
        "postgresql://user:se%cret@host:port/x",
        "sqlite+aiosqlite:///x.db",
    ],
)
def test_urls_that_cannot_be(url: str) -> None:
    """What is no ledger's place is a ValueError, or a driver that is missing."""
    with pytest.raises((ValueError, ImportError)) as error:
        Ledger(url)
    assert "se%cret" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"flush_every": -1}, {"queue_limit": 0}])
def test_numbers_that_cannot_be(file: Path, wrong: dict[str, Any]) -> None:
    """The message names the argument."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Ledger(file, **wrong)
    assert not file.exists()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    """It is not made by the way: a typing error is no place for figures."""
    with pytest.raises(LedgerError, match=f"there is no directory {tmp_path / 'no'}$"):
        Ledger(tmp_path / "no" / "x.db")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    """The message names it."""
    with pytest.raises(LedgerError, match=str(tmp_path)):
        Ledger(tmp_path)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a workbook", b"\0" * 5000, b"x" * 100_000])
def test_a_file_that_is_no_database(file: Path, content: bytes) -> None:
    """It is refused by name, and not a byte of it changes."""
    file.write_bytes(content)
    with pytest.raises(ForeignDatabaseError, match=str(file)):
        Ledger(file)
    assert file.read_bytes() == content
    assert list(file.parent.iterdir()) == [file]


def test_another_programs_database(file: Path) -> None:
    """It is refused, and not a byte of it changes."""
    _execute(file, "CREATE TABLE bookmarks (url TEXT)")
    before = file.read_bytes()
    with pytest.raises(ForeignDatabaseError, match="another program, with the tables bookmarks"):
        Ledger(file)
    assert file.read_bytes() == before


def test_another_programs_mark(file: Path) -> None:
    """An empty database with an application_id is spoken for."""
    _execute(file, "PRAGMA application_id = 7")
    with pytest.raises(ForeignDatabaseError, match="another program"):
        Ledger(file)


def test_a_database_with_tables_like_ours(postgres_url: str) -> None:
    """In PostgreSQL other tables are welcome, but not ours without a version."""
    engine = create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE bookmarks (url TEXT)")
    Ledger(postgres_url).close()
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE flextier_ledger")
    with pytest.raises(ForeignDatabaseError, match="flextier_calls"):
        Ledger(postgres_url)
    engine.dispose()


def test_a_damaged_ledger(file: Path) -> None:
    """A file that was overwritten in part says so, and is left for repair."""
    with Ledger(file) as ledger:
        ledger.add_all(call() for _ in range(200))
    damaged = bytearray(file.read_bytes())
    damaged[100:8192] = b"\xff" * 8092
    file.write_bytes(damaged)
    with pytest.raises(ForeignDatabaseError, match="damaged"):
        Ledger(file)
    assert file.read_bytes() == damaged


def test_a_ledger_of_a_later_version(url: str) -> None:
    """An old flextier says what to do, and keeps its hands off."""
    Ledger(url).close()
    with _writing(url) as run:
        run("UPDATE flextier_ledger SET version = 999")
    with pytest.raises(NewerLedgerError, match="version 999, and this flextier reads"):
        Ledger(url)
    with pytest.raises(NewerLedgerError):
        Ledger(url, readonly=True)


def test_a_ledger_without_a_version(file: Path) -> None:
    """A version table without a row is damage, not a new ledger."""
    Ledger(file).close()
    _execute(file, "DELETE FROM flextier_ledger")
    with pytest.raises(ForeignDatabaseError, match="no version"):
        Ledger(file)


def test_many_threads_open_it_at_once(url: str) -> None:
    """One makes it, the others find it made."""
    barrier = Barrier(8)
    failures: list[BaseException] = []

    def work() -> None:
        barrier.wait()
        try:
            with Ledger(url) as ledger:
                ledger.add(call())
        except BaseException as error:
            failures.append(error)
            raise

    threads = [Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Ledger(url).totals().calls == 8


def test_reading_makes_nothing(file: Path) -> None:
    """A report about a ledger that is not there is an error, and leaves none behind."""
    with pytest.raises(LedgerError, match="does not exist"):
        Ledger(file, readonly=True)
    assert not file.exists()
    file.touch()
    with pytest.raises(LedgerError, match="not a ledger yet"):
        Ledger(file, readonly=True)
    assert file.stat().st_size == 0


def test_readonly_does_not_write(url: str) -> None:
    """Nor does its connection, with SQL of one's own."""
    with Ledger(url) as ledger:
        ledger.add(WHOLE)
    reader = Ledger(url, readonly=True)
    with pytest.raises(LedgerError, match="readonly=True"):
        reader.add(call())
    with pytest.raises(LedgerError, match="readonly=True"):
        reader.add_all([call()])
    with pytest.raises(LedgerError, match="read"), reader.reading() as connection:
        connection.exec_driver_sql("DELETE FROM flextier_calls")
    assert list(reader.records()) == [WHOLE]


def test_a_server_that_is_not_there() -> None:
    """The error names the database, and not its password."""
    url = "postgresql://someone:hush%40hush@127.0.0.1:1/money?application_name=x"
    with pytest.raises(LedgerError, match="1/money cannot be opened") as error:
        Ledger(url)
    assert "hush" not in str(error.value)


def test_a_password_is_not_shown(postgres_url: str) -> None:
    """Not by repr, and not by the errors of a ledger that was fine once."""
    ledger = Ledger(postgres_url.replace("tester@", "tester:hush@"))
    assert "hush" not in repr(ledger)
    with _writing(postgres_url) as run:
        run("DROP TABLE flextier_calls")
    with pytest.raises(LedgerError, match="cannot be read") as error:
        ledger.totals()
    assert "hush" not in str(error.value)
    ledger.close()


def test_without_sqlalchemy() -> None:
    """The error names the extra to install."""
    hidden = "import sys; sys.modules['sqlalchemy'] = None; from flextier.costs import Ledger"
    done = python(hidden)
    assert done.returncode == 1
    assert 'pip install "flextier[ledger]"' in done.stderr


def test_costs_alone_load_no_database() -> None:
    """The ledger is loaded when it is first used."""
    done = python(
        "import sys, flextier.costs as c; c.CostTotals; print('sqlalchemy' in sys.modules)"
    )
    assert done.stdout.strip() == "False", done.stderr


def _execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement)


@contextmanager
def _writing(url: str) -> Iterator[Callable[[str], None]]:
    """What runs SQL in the database of a ledger, behind its back."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))

    def run(statement: str) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)

    try:
        yield run
    finally:
        engine.dispose()
