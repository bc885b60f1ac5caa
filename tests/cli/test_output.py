"""Standard output that cannot be written: a reader that has gone, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-c", "import sys; from flextier.cli import main; sys.exit(main())")

COMMANDS = [
    ("--help",),
    ("--version",),
    ("prices", "o3"),
    ("explain", "--model", "o3"),
    ("rehearse", "--list"),
    pytest.param(("demo", "--topics", "2"), marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_reader_that_has_gone(arguments: tuple[str, ...]) -> None:
    """The command ends, and says nothing of it."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(
            [*COMMAND, *arguments], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    assert ended.returncode in (0, 1)  # rich ends the demo with 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_full_disk(arguments: tuple[str, ...]) -> None:
    """The error is one line; argparse itself ignores it for its help."""
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
    if not arguments[0].startswith("--"):
        assert ended.stderr.startswith(f"flextier {arguments[0]}: ")
        assert ended.returncode == 2


def test_an_error_that_cannot_be_printed() -> None:
    """The status says it all the same."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        ended = subprocess.run(
            [*COMMAND, "prices", "no-such-model"],
            stdout=subprocess.PIPE,
            stderr=pipe,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (1, b"")
