"""``FLEXTIER_LEDGER``: every call of a process and of its children."""

from __future__ import annotations

import logging
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flextier.calls import hooks
from flextier.client import ledger_setting
from flextier.costs import CallRecord, Ledger
from flextier.ledger.process_ledger import ProcessLedger
from flextier.sim import Simulator
from tests.ledger.asking import ask
from tests.ledger.calls import python


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process, the next call reads the variable."""
    monkeypatch.setattr(ledger_setting, "is_read", False)
    monkeypatch.setattr(ledger_setting, "_url", "")
    yield
    ledger = hooks.recorder
    if isinstance(ledger, ProcessLedger):
        ledger._writer.close(10)
    hooks.record_every_call(None)


def ledger_of_a_call(sim: Simulator) -> ProcessLedger:
    """The process's ledger, after a call."""
    assert ask(sim.base_url)
    ledger = hooks.recorder
    assert isinstance(ledger, ProcessLedger)
    return ledger


def run(
    code: str, sim: Simulator, url: object, monkeypatch: pytest.MonkeyPatch
) -> subprocess.CompletedProcess[str]:
    """Run a program under the variable; its arguments are the simulator's URL and the ledger's."""
    monkeypatch.setenv("FLEXTIER_LEDGER", str(url))
    return python(code, sim.base_url, url)


def rows(url: object) -> list[CallRecord]:
    """The calls that the ledger has."""
    return list(Ledger(str(url), readonly=True).records())


# --- every call -------------------------------------------------------------------------------

_POOL = """
import sys
from concurrent.futures import ThreadPoolExecutor
from tests.ledger.asking import ask

with ThreadPoolExecutor(4) as pool:
    list(pool.map(ask, [sys.argv[1]] * 20))
"""


def test_all_threads(url: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain pool's calls, without a line of code for it."""
    done = run(_POOL, sim, url, monkeypatch)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({row.call_id for row in rows(url)}) == 20
    assert {row.cost.basis for row in rows(url)} == {"exact"}
    sessions = Ledger(url, readonly=True).sessions()
    assert [session.state for session in sessions] == ["closed"]


_CHILDREN = {
    "forked": """
import multiprocessing
from tests.ledger.asking import ask

ask(sys.argv[1])
context = multiprocessing.get_context("fork")
children = [context.Process(target=ask, args=(sys.argv[1],)) for _ in range(3)]
for child in children:
    child.start()
for child in children:
    child.join()
""",
    "forked before the first call": """
import os
from tests.ledger.asking import ask

for _ in range(3):
    child = os.fork()
    if child == 0:
        ask(sys.argv[1])
        sys.exit()
    os.waitpid(child, 0)
ask(sys.argv[1])
""",
    "spawned": """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from tests.ledger.asking import ask

ask(sys.argv[1])
with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
    list(pool.map(ask, [sys.argv[1]] * 3))
""",
    "killed by their pool": """
import multiprocessing
from tests.ledger.asking import ask

ask(sys.argv[1])
with multiprocessing.get_context("spawn").Pool(2) as pool:
    pool.map(ask, [sys.argv[1]] * 3)
""",
    "programs": """
import subprocess
from tests.ledger.asking import ask

ask(sys.argv[1])
code = "import sys; from tests.ledger.asking import ask; ask(sys.argv[1])"
for _ in range(3):
    subprocess.run([sys.executable, "-c", code, sys.argv[1]], check=True)
""",
}


@pytest.mark.parametrize(
    "kind",
    [
        "killed by their pool",
        *(
            pytest.param(kind, marks=pytest.mark.exhaustive)
            for kind in ("forked", "forked before the first call", "spawned", "programs")
        ),
    ],
)
def test_children(kind: str, file: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child's calls are its own and are kept, however it began and however it ends."""
    lines = _CHILDREN[kind].replace("\n", "\n    ")
    done = run(f"import sys\nif __name__ == '__main__':{lines}", sim, file, monkeypatch)
    assert (done.returncode, done.stderr) == (0, "")
    assert len({row.call_id for row in rows(file)}) == len(rows(file)) == 4
    assert len(sim.requests) == 4


_TWICE = """
import sys
from flextier.costs import Ledger, record_calls
from flextier.langchain import FlexCostCallbackHandler
from tests.ledger.asking import ask, ask_langchain

base_url, url = sys.argv[1:]
with Ledger(url, flush_every=3600) as ledger:
    with record_calls(ledger.add, tags=["nightly"]), record_calls(ledger.add, scope="process"):
        ask(base_url)
    ask_langchain(base_url, FlexCostCallbackHandler(on_record=ledger.add))
    ask_langchain(base_url)
"""


def test_one_row_a_call(file: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many record it: the row with the tags is kept, although it is written later."""
    done = run(_TWICE, sim, file, monkeypatch)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(row.framework, row.tags) for row in rows(file)] == [
        ("openai", ("nightly",)),
        ("langchain", ("nightly",)),
        ("langchain", ()),
    ]


_UNSET = """
import sys
from tests.ledger.asking import ask

ask(sys.argv[1])
assert "flextier.ledger" not in sys.modules
assert "sqlalchemy" not in sys.modules
"""


def test_without_the_variable(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty variable counts as not set: no database is imported."""
    done = run(_UNSET, sim, "", monkeypatch)
    assert (done.returncode, done.stderr) == (0, "")


# --- a ledger that cannot be used -------------------------------------------------------------


@pytest.mark.usefixtures("new_process")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("mysql://somewhere/calls", "sqlite or postgresql, not in mysql"),
        ("postgresql://user:secret@@:x/", "the ledger's URL cannot be read"),
        ("sqlite://", "a ledger outlives its process"),
        ("postgresql+nothing://user:secret@somewhere/calls", "postgresql.nothing"),
    ],
)
def test_a_url_that_cannot_be(
    url: str, why: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call warns and names the variable; every call is answered."""
    monkeypatch.setenv("FLEXTIER_LEDGER", url)
    with pytest.warns(RuntimeWarning, match=f"FLEXTIER_LEDGER.*{why}") as warned:
        assert ask(sim.base_url)
    assert ask(sim.base_url)  # where a warning is an error, a second one would be raised
    assert len(warned) == 1
    assert "secret" not in str(warned[0].message)


@pytest.mark.usefixtures("new_process")
def test_warnings_that_are_errors(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are logged, and the call is answered."""
    monkeypatch.setenv("FLEXTIER_LEDGER", "mysql://somewhere/calls")
    with caplog.at_level(logging.ERROR, "flextier"):
        assert ask(sim.base_url)
    assert "FLEXTIER_LEDGER" in caplog.text


@pytest.mark.usefixtures("new_process")
@pytest.mark.parametrize(
    ("name", "why"),
    [("missing/flextier.db", "there is no directory"), ("foreign.db", "SQLite database")],
)
@pytest.mark.filterwarnings("default::flextier.ledger.LedgerWarning")
def test_a_file_that_cannot_be_opened(
    name: str,
    why: str,
    tmp_path: Path,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """The ledger's thread warns; the end of the process does not wait for it."""
    foreign = tmp_path / "foreign.db"
    foreign.write_bytes(b"not a database, but longer than one page" * 200)
    monkeypatch.setenv("FLEXTIER_LEDGER", f"sqlite:///{tmp_path / name}")
    ledger = ledger_of_a_call(sim)
    began = time.monotonic()
    assert not ledger._writer.close(600)
    assert time.monotonic() - began < 100
    (line,) = [str(warning.message) for warning in recwarn]
    assert re.search(rf"\(FLEXTIER_LEDGER\).*{why}", line)
    assert foreign.read_bytes().startswith(b"not a database")


@pytest.mark.usefixtures("new_process")
@pytest.mark.filterwarnings("default::flextier.ledger.LedgerWarning")
def test_a_ledger_that_can_be_opened_later(
    file: Path,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """Calls wait until the database is there, as they do while an open one cannot be written."""
    folder = file.parent / "later"
    monkeypatch.setenv("FLEXTIER_LEDGER", f"sqlite:///{folder / 'flextier.db'}")
    ledger = ledger_of_a_call(sim)
    assert not ledger._writer.flush()
    folder.mkdir()
    assert ledger._writer.flush(60)
    assert len(rows(folder / "flextier.db")) == 1
    assert len(recwarn) == 1
