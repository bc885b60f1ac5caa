"""One warmed-up call can be followed: how often it passes from one file of flextier to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from flextier.sim import Simulator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("kind", "hops", "files"), [("sdk", 46, 13), ("langchain", 60, 18), ("llama_index", 60, 18)]
)
def test_a_call_passes_through_few_files(
    kind: str, hops: int, files: int, flextier_sim: Simulator
) -> None:
    """The changes of the file that is run, and the files, are bounded, in a process of its own."""
    if kind == "llama_index" and find_spec(kind) is None:
        pytest.skip("LlamaIndex is not installed")
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.routing.hops", kind, flextier_sim.base_url],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    seen = json.loads(done.stdout)
    changes = [file for last, file in zip(["", *seen], seen, strict=False) if file != last]
    assert len(set(seen)) <= files, set(seen)
    assert len(changes) <= hops, changes
