"""What is said of skipped tests, and when they fail a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import skips

_TESTS = """
import pytest

@pytest.mark.parametrize("reason", {reasons})
def test_skipped(reason):
    pytest.skip(reason)
"""


def run(place: Path, *reasons: str, check: bool) -> tuple[int, list[str]]:
    """The exit status of a run of tests that are skipped, and what is below pytest's last line."""
    (place / "test_skipped.py").write_text(_TESTS.format(reasons=reasons))
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-p", "no:cacheprovider"]
    command += [f"--rootdir={place}", "-c", "/dev/null", str(place)]
    command += ["--check-skips"] if check else []
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    end = next(n for n, line in enumerate(lines) if " skipped in " in line)
    return done.returncode, lines[end + 1 :]


def test_programs_that_are_missing_are_named(tmp_path: Path) -> None:
    """The last lines say how many tests need each of them; the run succeeds."""
    reasons = (skips.NO_CHROMIUM, skips.NO_CHROMIUM, skips.NO_POSTGRESQL, "another reason")
    assert run(tmp_path, *reasons, check=False) == (
        0,
        [
            "2 tests were skipped because chromium is not installed; "
            "on Debian: apt-get install chromium",
            "1 test was skipped because PostgreSQL is not installed; "
            "on Debian: apt-get install postgresql",
        ],
    )


def test_reasons_are_checked(tmp_path: Path) -> None:
    """One that is not listed fails the run, and is reported."""
    listed = ("LlamaIndex is installed", "Model does not support PDF tool message.")
    assert run(tmp_path, *listed, check=True) == (0, [])
    status, output = run(tmp_path, *listed, "no reason", check=True)
    assert status == 1
    assert output == [
        "1 test was skipped for a reason that tests/skips.txt does not list: no reason"
    ]
