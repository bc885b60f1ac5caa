"""Opening where nothing can be written: an error of the ledger's own, now and for the writer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flextier.costs import Ledger
from flextier.ledger import LedgerError, store
from tests.ledger.calls import python
from tests.ledger.test_writing import locked

_FULL = """
import resource, signal, sys
from flextier.costs import Ledger
from flextier.ledger import LedgerError

sys.dont_write_bytecode = True
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    Ledger(sys.argv[1])
except LedgerError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")
@pytest.mark.parametrize("size", [0, 1_000, 5_000, 20_000])
def test_a_new_ledger_on_a_full_disk(file: Path, size: int) -> None:
    """The error names the ledger, wherever in the making the room ends."""
    done = python(_FULL, file, size)
    assert done.returncode == 0, done.stderr
    assert f"sqlite:///{file} cannot be opened: " in done.stdout


@pytest.mark.parametrize("device", ["/dev/full", "/dev/null"])
def test_a_device_is_no_file(device: str, file: Path) -> None:
    """It is refused by name, and nothing is made beside it."""
    if not Path(device).exists():
        pytest.skip(f"there is no {device}")
    file.symlink_to(device)
    before = set(Path(device).parent.iterdir())
    for path in (file, Path(device)):
        with pytest.raises(LedgerError, match=f"{path} cannot be opened: it is not a file"):
            Ledger(path)
    assert set(Path(device).parent.iterdir()) == before


_FULL_LATER = """
import os, resource, signal, sys, warnings
from flextier.costs import Ledger
from tests.ledger.calls import call

sys.dont_write_bytecode = True
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
ledger = Ledger(sys.argv[1], flush_every=0)
os.rename(sys.argv[1], sys.argv[1] + ".moved")
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ledger.add(call())
    assert not ledger.flush()
assert (ledger.pending, ledger.lost) == (1, 0), ledger
assert "cannot be opened" in str(caught[0].message), caught
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert ledger.flush(60)
assert ledger.totals().calls == 1
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX's")
def test_a_ledger_on_a_disk_that_fills_up(file: Path) -> None:
    """The writer's thread survives, goes on trying, and catches up."""
    done = python(_FULL_LATER, file)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_new_ledger_that_is_locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening waits for a while, and then says why it cannot be."""
    monkeypatch.setattr(store, "_BUSY_TIMEOUT", 0.05)
    monkeypatch.setattr(store, "_OPEN_TIMEOUT", 0.2)
    file.touch()
    with locked(file), pytest.raises(LedgerError, match="cannot be opened: database is locked"):
        Ledger(file)
    Ledger(file).close()
