"""Full disks: what is paid is read all the same, and what cannot be sent is not paid."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flextier.batch.spool_file import SpoolFile
from flextier.sim import BatchOutcome, Simulator
from tests.batch.batch_files import line, written
from tests.batch.crowd import PATIENT, Crowd, files, options, questions
from tests.bulk.helpers import COMMAND

pytestmark = pytest.mark.sampled(2)

FIELDS = {
    "lanes": ["batch"],
    "batch_window": 1.0,
    "batch_poll_interval": 0.04,
    "backoff_initial": 0.01,
    "backoff_max": 0.02,
}


def run(sim: Simulator, folder: Path, most: int, *, is_async: bool, **fields: Any) -> Any:
    """What a process got whose files may have that many bytes."""
    given = json.dumps({**FIELDS, **fields, "is_async": is_async})
    done = subprocess.run(
        [sys.executable, "-m", "tests.batch.full_disk", sim.base_url, str(most), given],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "tasks"])
def test_no_room_for_the_output(is_async: bool, sim: Simulator, tmp_path: Path) -> None:
    """The output is read into memory, and a warning names the folder and TMPDIR."""
    found = run(sim, tmp_path, 6_000, is_async=is_async, calls=20)  # lines take 3 KB, answers 15
    assert (found["right"], found["errors"]) == (20, [])
    assert {tuple(lanes) for lanes in found["lanes"]} == {("batch:served",)}
    assert (sim.paid()["payments"], sim.paid()["twice"]) == (20, [])
    (warning,) = found["warnings"]
    assert str(tmp_path) in warning
    assert "TMPDIR" in warning


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "tasks"])
def test_no_room_for_the_lines(is_async: bool, sim: Simulator, tmp_path: Path) -> None:
    """With batch alone, the error names the folder and TMPDIR, and nothing is paid."""
    found = run(sim, tmp_path, 10, is_async=is_async, calls=3, max_retries=0)
    assert found["lanes"] == [["batch:transient"]] * 3
    assert not any(found["billed"])
    (error,) = found["errors"]
    assert str(tmp_path) in error
    assert "TMPDIR" in error
    assert files(sim) == 0


def test_no_room_for_the_lines_of_a_second_file(
    crowd: Crowd, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that cannot be copied to the file of the next batch go to the next lane; none hangs."""
    write, written = SpoolFile.add, []

    def add(self: SpoolFile, line: bytes) -> Any:
        written.append(line)
        if len(written) > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, line)

    monkeypatch.setattr(SpoolFile, "add", add)
    sim.script_batches(BatchOutcome.fail({"code": "invalid_request", "line": 1}))
    said = crowd(options(sim, PATIENT), questions(4))  # the fifth line is in the next file
    assert all(one.is_right for one in said)
    assert sorted(one.lanes for one in said) == [
        ["batch:lane_unsupported", "standard:served"],
        ["batch:served"],
        ["batch:transient", "standard:served"],
        ["batch:transient", "standard:served"],
    ]
    assert not any(a.possibly_billed for one in said for a in one.report.attempts)
    assert sim.paid()["twice"] == []


def test_no_room_for_the_lines_of_the_command(sim: Simulator, tmp_path: Path) -> None:
    """``flextier batch create`` names the folder and TMPDIR, not the file that it reads."""
    source = written(tmp_path / "in.jsonl", [line(1)])
    done = subprocess.run(
        [*COMMAND, "batch", "create", str(source)],
        env={
            **os.environ,
            "OPENAI_BASE_URL": sim.base_url,
            "OPENAI_API_KEY": "k",
            "TMPDIR": str(tmp_path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert f"batch: No space left on device, {tmp_path}: set TMPDIR" in done.stderr
    assert files(sim) == 0
