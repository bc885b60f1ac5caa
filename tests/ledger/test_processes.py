"""Many processes and one ledger: killed, forked or ended, what they had flushed is there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from flextier.costs import Ledger
from flextier.ledger.sessions import state_of
from tests.ledger.calls import environment, ids, python

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and forks are POSIX's")

PROCESSES = 16
KILLED = 5

# Children of one parent, so that the modules are imported once; the parent has no ledger open.
_WRITERS = """
import os, sys, time
from pathlib import Path
from flextier.costs import Ledger
from tests.ledger.calls import call

url, home = sys.argv[1], Path(sys.argv[2])

def write(number):
    ledger = Ledger(url, flush_every=0.01)
    flushed = os.open(home / f"flushed-{number}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    added = 0
    while not (home / "stop").exists():
        for _ in range(20):
            ledger.add(call(call_id=f"{number}/{added}"))
            added += 1
        if added % 60 == 0:
            assert ledger.flush(60)
            os.write(flushed, b"%d\\n" % added)
        time.sleep(0.02)
    assert ledger.close(60)
    os.write(flushed, b"%d\\n" % added)

children = {}
for number in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        try:
            write(number)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    children[child] = number
(home / "children").write_text(" ".join(map(str, children)))
while children:
    child, status = os.wait()
    print(children.pop(child), os.waitstatus_to_exitcode(status), child, flush=True)
"""


@pytest.mark.exhaustive
def test_processes_that_are_killed(url: str, tmp_path: Path) -> None:
    """Afterwards the ledger is whole, lacks at most the unflushed of the killed, and says so."""
    ends = _write_and_kill(url, tmp_path)
    assert sorted(end for end, _ in ends.values()) == [-9] * KILLED + [0] * (PROCESSES - KILLED)
    with Ledger(url) as ledger:
        written = ids(ledger.records())
        assert len(written) == len(set(written))
        states = {session.pid: session.state for session in ledger.sessions()}
        sessions = {session.pid: str(session) for session in ledger.sessions()}
        counts = {session.pid: session.written for session in ledger.sessions()}
        with ledger.reading() as connection:
            if connection.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    for number, (end, pid) in ends.items():
        mine = [name for name in written if name.startswith(f"{number}/")]
        assert sorted(mine, key=_place) == [f"{number}/{place}" for place in range(len(mine))]
        flushed = int((tmp_path / f"flushed-{number}").read_text().split()[-1])
        assert counts[pid] == len(mine)
        if end == 0:
            assert len(mine) == flushed
            assert states[pid] == "closed"
        else:
            assert len(mine) >= flushed
            assert states[pid] == "broken off"
            assert f"process {pid} on " in sessions[pid]
            assert "ended without closing the ledger" in sessions[pid]


def _place(name: str) -> int:
    return int(name.partition("/")[2])


def _write_and_kill(url: str, home: Path) -> dict[int, tuple[int, int]]:
    """The exit status and the id of each process."""
    command = [sys.executable, "-c", _WRITERS, url, str(home), str(PROCESSES)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as parent:
        assert parent.stdout is not None
        while not all((home / f"flushed-{n}").exists() for n in range(PROCESSES)) or not all(
            (home / f"flushed-{n}").stat().st_size for n in range(PROCESSES)
        ):
            assert parent.poll() is None
            time.sleep(0.05)
        children = [int(child) for child in (home / "children").read_text().split()]
        for child in random.Random(7).sample(children, KILLED):
            os.kill(child, signal.SIGKILL)
            time.sleep(0.07)
        (home / "stop").touch()
        ends = [line.split() for line in parent.stdout]
    return {int(number): (int(end), int(pid)) for number, end, pid in ends}


_ENDS = """
import sys
from flextier.costs import Ledger
from tests.ledger.calls import call

ledger = Ledger(sys.argv[1], flush_every=3600)
for _ in range(1500):
    ledger.add(call())
{end}
"""


@pytest.mark.parametrize("end", [pytest.param("", marks=pytest.mark.exhaustive), "raise KeyError"])
def test_the_end_of_a_process(file: Path, end: str) -> None:
    """What waits is written, however the program ends."""
    python(_ENDS.format(end=end), file)
    reader = Ledger(file, readonly=True)
    assert reader.totals().calls == 1500
    assert [session.state for session in reader.sessions()] == ["closed"]


_MULTIPROCESSING = """
import multiprocessing, sys
from flextier.costs import Ledger
from tests.ledger.calls import call

ledger = None

def work(number):
    ledger.add(call(call_id=f"child-{number}"))

def begin(url):
    global ledger
    ledger = Ledger(url, flush_every=3600)

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ledger = Ledger(sys.argv[1], flush_every=3600)
    ledger.add(call(call_id="parent"))
    children = [context.Process(target=work, args=(number,)) for number in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
"""


@pytest.mark.exhaustive
def test_children_of_multiprocessing(url: str) -> None:
    """They end without atexit, and yet what they added is written: theirs alone, once."""
    done = python(_MULTIPROCESSING, url)
    assert done.returncode == 0, done.stderr
    reader = Ledger(url, readonly=True)
    assert sorted(ids(reader.records())) == ["child-0", "child-1", "child-2", "parent"]
    assert [session.state for session in reader.sessions()] == ["closed"] * 4


_FORK = """
import os, sys
from flextier.costs import Ledger
from tests.ledger.calls import call

ledger = Ledger(sys.argv[1], flush_every=0)
for number in range(50):
    ledger.add(call(call_id=f"parent-{number}"))
    if number % 10 == 5:
        child = os.fork()
        if child == 0:
            assert (ledger.pending, ledger.lost) == (0, 0)
            ledger.add(call(call_id=f"child-{number}"))
            os._exit(0 if ledger.close() else 1)
        ledger.add(call(call_id=f"beside-{number}"))
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.exhaustive
def test_a_fork_in_the_midst_of_writing(url: str) -> None:
    """A child writes its own records, not its parent's, and harms no transaction of the parent."""
    done = python(_FORK, url)
    assert done.returncode == 0, done.stderr
    reader = Ledger(url, readonly=True)
    written = ids(reader.records())
    assert len(written) == len(set(written)) == 50 + 5 + 5
    assert [session.state for session in reader.sessions()] == ["closed"] * 6
    assert {session.lost for session in reader.sessions()} == {0}


NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("silent", "ended", "state"),
    [(10, None, "running"), (3600, None, "broken off"), (3600, 1, "closed")],
)
def test_processes_on_other_machines(silent: float, ended: int | None, state: str) -> None:
    """Processes on other machines count as running until they have been silent for long."""
    seen = (NOW - timedelta(seconds=silent)).timestamp() * 1e6
    row = SimpleNamespace(host="elsewhere", pid=1, seen_us=seen, ended_us=ended)
    assert state_of(row, NOW) == state
