"""Ledgers that may be read and not written: of another user, or on a read-only disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from flextier._utils import sqlite_file
from flextier.costs import Ledger
from flextier.ledger import LedgerError
from tests.ledger.calls import call, ids, python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")

_READ = """
import os
from flextier.cli import main
from flextier.costs import Ledger
from flextier.ledger import LedgerError
from tests.ledger.calls import call, leave

with Ledger("warm-up.db") as ledger:  # imports all modules before the user id changes
    ledger.add(call())
main(["report", "--ledger", "warm-up.db"])
if os.geteuid() == 0:
    os.seteuid(65534)
assert not os.access(".", os.W_OK, effective_ids=True)
try:
    with Ledger("flextier.db", readonly=True) as ledger:
        print(ledger.totals().calls, "calls", len(list(ledger.records())))
except LedgerError as error:
    print(error)
leave(main(["report", "--ledger", "flextier.db", "--since", "all"]))
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that others can find: pytest keeps its own to itself."""
    with TemporaryDirectory(prefix="flextier-") as made:
        home = Path(made)
        home.chmod(0o755)
        monkeypatch.chdir(home)
        yield home
        home.chmod(0o755)


def read_by_another(home: Path, mode: int = 0o444) -> subprocess.CompletedProcess[str]:
    """What a user gets who may not write, with a report after it."""
    for path in home.iterdir():
        path.chmod(mode)
    for name in ("warm-up.db", "warm-up.db-wal", "warm-up.db-shm"):
        (home / name).unlink(missing_ok=True)
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    home.chmod(0o555)
    try:
        return python(_READ)
    finally:
        home.chmod(0o755)


def test_a_closed_ledger(home: Path) -> None:
    """It is read without locks, with or without an empty log beside it."""
    with Ledger(home / "flextier.db") as ledger:
        ledger.add_all([call(), call()])
    for make in (lambda: None, (home / "flextier.db-wal").touch):
        make()
        done = read_by_another(home)
        assert done.returncode == 0, done.stderr + done.stdout
        assert "\n2 calls 2\n" in f"\n{done.stdout}"


def test_a_ledger_in_use(home: Path) -> None:
    """The newest records, which are in its log, are read too."""
    with Ledger(home / "flextier.db") as ledger:
        ledger.add(call())
        assert ledger.flush()
        done = read_by_another(home)
        assert (home / "flextier.db-wal").stat().st_size
    assert done.returncode == 0, done.stderr + done.stdout
    assert "\n1 calls 1\n" in f"\n{done.stdout}"


def test_a_log_that_cannot_be_read(home: Path) -> None:
    """Records would be missing: the error says what is needed."""
    with Ledger(home / "flextier.db") as ledger:
        ledger.add(call())
        assert ledger.flush()
        (home / "flextier.db").chmod(0o444)
        beside = [home / "flextier.db-wal", home / "flextier.db-shm"]
        if os.geteuid() != 0:
            pytest.skip("only root can become another user")
        home.chmod(0o555)
        assert all(one.stat().st_mode & 0o077 == 0 for one in beside)
        done = python(_READ)
        home.chmod(0o755)
    assert done.returncode == 2
    assert "its newest records are in flextier.db-wal" in done.stdout
    assert "close the ledger" in done.stderr


def test_a_file_that_may_not_be_read(home: Path) -> None:
    """The error says so."""
    Ledger(home / "flextier.db").close()
    done = read_by_another(home, 0o600)
    assert done.returncode == 2
    assert "this user may not read the file" in done.stdout


def test_a_directory_that_may_not_be_searched(home: Path) -> None:
    """It is an error of the ledger, not of the file system."""
    Ledger(home / "flextier.db").close()
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    home.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(LedgerError, match="cannot be read: Permission denied"):
            Ledger(home / "flextier.db", readonly=True)
    finally:
        os.seteuid(0)


def test_a_ledger_that_is_written_meanwhile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks what was read may be half of one state and half of another: it is refused."""
    file = home / "flextier.db"
    Ledger(file).close()
    opened = sqlite_file._checked

    def only_without_locks(uri: str, timeout: float) -> sqlite3.Connection:
        if "immutable" not in uri:
            raise sqlite3.OperationalError("unable to open database file")
        return opened(uri, timeout)

    monkeypatch.setattr(sqlite_file, "_checked", only_without_locks)
    reader = Ledger(file, readonly=True)
    one = call()
    with (
        pytest.raises(LedgerError, match="written while it was read"),
        reader.reading(),
        Ledger(file) as ledger,
    ):
        ledger.add(one)
    assert ids(reader.records()) == [one.call_id]
