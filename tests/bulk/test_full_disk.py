"""``flextier run`` on a full disk: rows that were not sent stay pending, and are done later."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from flextier.sim import Simulator
from tests.batch.crowd import batches
from tests.bulk.helpers import COMMAND, read_jsonl, write_jsonl
from tests.client.callers import KEY

pytestmark = pytest.mark.sampled(2)

MODULE = """
from flextier import AsyncFlexOpenAI, FlexOpenAI

client, blocking = AsyncFlexOpenAI(), FlexOpenAI()

def prompt(row):
    return row["text"] + "x" * row.get("padding", 0)

async def ask(row):
    return await client.responses.create(model="o3", input=prompt(row))

def ask_blocking(row):
    return blocking.responses.create(model="o3", input=prompt(row))

async def ask_carefully(row):
    try:
        return await ask(row)
    except Exception:
        return "no answer"
"""
ROWS = 60
FEW = ("--concurrency", "8")
BATCH = ("--lanes", "batch", "--concurrency", "60")


@pytest.fixture
def place(target: str, tmp_path: Path) -> Path:
    """A folder with something to run."""
    (tmp_path / "full_disk_work.py").write_text(f"{MODULE}\ntarget = {target}\n")
    return tmp_path


def command(place: Path, sim: Simulator, most: int | None, *options: str) -> tuple[int, str]:
    """The exit status and errors of a run whose files may have ``most`` bytes; None: any."""
    given = ("full_disk_work:target", "in.jsonl", "out.jsonl", *(options or FEW))
    limit = resource.RLIM_INFINITY if most is None else most
    done = subprocess.run(
        [*COMMAND, "run", *given],
        cwd=place,
        env={
            **os.environ,
            "OPENAI_BASE_URL": sim.base_url,
            "OPENAI_API_KEY": KEY,
            "TMPDIR": str(place),
            "FLEXTIER_BATCH_WINDOW": "1",
            "FLEXTIER_BATCH_POLL_INTERVAL": "0.05",
            "FLEXTIER_BACKOFF_INITIAL": "0.01",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, done.stderr


def finished(place: Path, sim: Simulator, *options: str) -> int:
    """Run the rest with room on the disk, which has all rows; the calls that this took."""
    before = len(sim.requests)
    status, errors = command(place, sim, None, *options)
    assert (status, (place / "out.jsonl.errors.jsonl").exists()) == (0, False), errors
    assert len(read_jsonl(place / "out.jsonl")) == ROWS
    return len(sim.requests) - before


@pytest.mark.parametrize(
    ("target", "most"),
    [
        ("ask", 100_000),
        pytest.param("ask_blocking", 200_000, marks=pytest.mark.exhaustive),
        pytest.param("ask_carefully", 400_000, marks=pytest.mark.exhaustive),
    ],
)
def test_a_disk_that_fills_up(most: int, place: Path, flextier_sim: Simulator) -> None:
    """Journal and checkpoints cannot grow any more: the run stops, and no row has failed."""
    write_jsonl(place / "in.jsonl", ({"text": f"row {n}"} for n in range(ROWS)))
    status, errors = command(place, flextier_sim, most)
    assert status == 1
    assert "disk space is free" in errors
    assert "Traceback" not in errors
    assert not (place / "out.jsonl").exists()
    asked = len(flextier_sim.requests)
    assert 0 < asked < ROWS
    # A row whose answer could not be written, with eight at a time, is asked again.
    assert ROWS - asked <= finished(place, flextier_sim) <= ROWS - asked + 16


@pytest.mark.parametrize(
    "target", [pytest.param("ask", marks=pytest.mark.exhaustive), "ask_carefully"]
)
def test_no_room_for_the_lines_of_a_batch(place: Path, flextier_sim: Simulator) -> None:
    """Rows whose lines do not fit the folder of temporary files stay pending; others are done."""
    write_jsonl(
        place / "in.jsonl", ({"text": f"row {n}? ", "padding": 100_000} for n in range(ROWS))
    )
    status, errors = command(place, flextier_sim, 3_000_000, *BATCH)
    assert status == 1
    assert "TMPDIR" in errors
    assert "disk space is free" in errors
    assert not (place / "out.jsonl").exists()
    finished(place, flextier_sim, *BATCH)
    lines = [batch.request_counts.total for batch in batches(flextier_sim)]
    assert sum(lines) == ROWS
    assert len(lines) >= 2  # more where the lines of one take longer than its window
