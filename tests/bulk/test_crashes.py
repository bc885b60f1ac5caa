"""Killed at any moment, started again: every row is in the output once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # kills

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("lanes", ["flex,standard", "batch"])
def test_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: str
) -> None:
    """A small version of benchmarks/bulk_crashes.py: every row once, in batches paid once, too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from bulk_crashes import crash

    concurrency = 100 if lanes == "batch" else 16
    outcome = crash(tmp_path, rows=300, kills=4, lanes=lanes, concurrency=concurrency, seed=3)
    assert outcome.is_right, str(outcome)
    assert outcome.kills >= 1
    assert outcome.failed == 0
    assert outcome.paid == 300 + outcome.twice
    sys.modules.pop("bulk_crashes")
