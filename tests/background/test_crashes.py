"""An agent's run in the background, killed at any moment and started again: no step is lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # kills

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_killed_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small version of benchmarks/background_crashes.py: nothing is paid twice without need."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from background_crashes import crash

    outcome = crash(tmp_path, kills=4, seed=3, seconds=(0.1, 0.3), soonest=0.1)
    assert outcome.is_right, str(outcome)
    assert outcome.kills.total() >= 1
    assert outcome.paid == outcome.created == outcome.answered + outcome.twice
    sys.modules.pop("background_crashes")
