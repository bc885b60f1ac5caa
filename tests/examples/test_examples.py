"""Every example runs, as its reader would run it, against the simulator."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from flextier.sim import BatchOutcome, Fault, Simulator
from tests.examples import forked

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def run(
    sim: Simulator, program: Path, tmp_path: Path, folder: Path = ROOT, **environment: str
) -> str:
    """What a program prints; it has to succeed, without a warning."""
    output = tmp_path / "output.txt"
    env = {
        **os.environ,
        "OPENAI_BASE_URL": sim.base_url,
        "OPENAI_API_BASE": sim.base_url,  # LlamaIndex's name for it
        "OPENAI_API_KEY": "sk-fake-key-for-tests",
        "FLEXTIER_BACKOFF_INITIAL": "0.01",
        "FLEXTIER_BATCH_WINDOW": "0.3",
        "FLEXTIER_BATCH_POLL_INTERVAL": "0.2",
        "FLEXTIER_BACKGROUND_POLL_INTERVAL": "0.2",
        **environment,
    }
    status = forked.run(str(program), env, folder, output)
    printed = output.read_text(encoding="utf-8")
    assert status == 0, printed
    return printed


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.sampled(2)
def test_example(example: Path, flextier_sim: Simulator, tmp_path: Path) -> None:
    """An example runs through a refusal, or through a batch that expires, and ends on flex."""
    if example.stem.startswith("llama_index") and find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed: it takes openai<3")
    flextier_sim.script(Fault.refuse())
    flextier_sim.script_batches(BatchOutcome.expire(after=3))

    printed = run(flextier_sim, example, tmp_path, TMPDIR=str(tmp_path))

    assert "flex" in printed
    assert len(flextier_sim.requests) > 1


def test_the_list_names_every_example() -> None:
    """The README of the examples has a line for each."""
    listed = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if f"({path.name})" not in listed] == []


def test_the_environment_switches_flex_off(flextier_sim: Simulator, tmp_path: Path) -> None:
    """The variables of the example do what it says."""
    run(flextier_sim, FOLDER / "environment.py", tmp_path, FLEXTIER_LANES="standard")
    assert [request.tier for request in flextier_sim.requests] == ["default"]


def test_a_night_is_not_paid_for_twice(flextier_sim: Simulator, tmp_path: Path) -> None:
    """Started again, the nightly evaluation has its answers from the journal, and costs nothing."""
    flextier_sim.script_batches(BatchOutcome.expire(after=3))
    nightly = FOLDER / "nightly_evaluation.py"

    first = run(flextier_sim, nightly, tmp_path, TMPDIR=str(tmp_path))
    paid = flextier_sim.paid()["payments"]
    second = run(flextier_sim, nightly, tmp_path, TMPDIR=str(tmp_path))

    # The first batch expires after three lines; on a busy machine the calls make more than one.
    on_batch, on_flex = (int(re.findall(rf"(\d+) on {x}: \$", first)[0]) for x in ("batch", "flex"))
    assert on_batch >= 3
    assert on_flex > 0
    assert on_batch + on_flex == 40
    assert "  40 on journal: $0" in second
    assert flextier_sim.paid()["payments"] == paid == 40


def test_a_chain_waits_in_one_batch(flextier_sim: Simulator, tmp_path: Path) -> None:
    """The calls of a LangChain chain make one batch, and come back parsed."""
    printed = run(flextier_sim, FOLDER / "batch_chain.py", tmp_path)

    assert printed.count("Review(product=") == 10
    assert "billed {'batch': 10}" in printed
    assert flextier_sim.stats()["batches"]["created"] == 1


def test_the_readmes_program(flextier_sim: Simulator, tmp_path: Path) -> None:
    """The first program of the README runs, and prints what the README says it prints."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program = readme.split("```python\n", 1)[1].split("```", 1)[0]
    shown = readme.split("```text\n", 1)[1].split("```", 1)[0]
    flextier_sim.script(Fault.refuse(), Fault.refuse(), Fault.serve())

    path = tmp_path / "program.py"
    path.write_text(program, encoding="utf-8")

    printed = run(flextier_sim, path, tmp_path)

    assert printed.splitlines() == shown.splitlines()
