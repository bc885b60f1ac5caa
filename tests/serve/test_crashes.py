"""A gateway that is killed again and again: every call is answered, and paid for once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.exhaustive  # kills

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize(
    ("lanes", "calls", "kills"), [("flex,standard", 500, 10), ("batch", 200, 3)]
)
def test_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: str, calls: int, kills: int
) -> None:
    """A small version of benchmarks/gateway_crashes.py: 20 processes with the stock SDK."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from gateway_crashes import crash

    outcome = crash(tmp_path, calls, kills, lanes=lanes, at_once=4, seed=3, retry_after=0.5)
    assert outcome.is_right, str(outcome)
    assert outcome.kills >= 1
    sys.modules.pop("gateway_crashes")
