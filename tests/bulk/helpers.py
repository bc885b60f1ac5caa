"""Datasets to run something over, and the command as users start it."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-c", "import sys; from flextier.cli import main; sys.exit(main())")


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """A file of JSON lines; what is a text already is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[Any]:
    """What such a file holds."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_csv(path: Path) -> list[dict[str, str]]:
    """The records of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def started(place: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start ``flextier run`` in a directory, in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, "run", *arguments],
        cwd=place,
        env={**os.environ, "RECORDS_SIGNALS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


RECORDS_SIGNALS = """
import os, pathlib, signal

install, handled = signal.signal, []

def recording(number, handler):
    def handle(*arguments):
        handler(*arguments)
        handled.append(number)
        pathlib.Path(f"handled-{len(handled)}").touch()
    return install(number, handle if callable(handler) else handler)

if "RECORDS_SIGNALS" in os.environ:
    signal.signal = recording
"""
"""First lines of a module: in a process started by ``started``, a file appears after each handled
signal. Two signals sent at once would be merged into one.
"""


def interrupted(child: subprocess.Popen[str], place: Path, number: int = signal.SIGINT) -> None:
    """Send a signal and wait until it was handled, by a module that begins with RECORDS_SIGNALS."""
    before = len(list(place.glob("handled-*")))
    child.send_signal(number)
    while not (place / f"handled-{before + 1}").exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """A process's exit status, and what it printed."""
    out, err = child.communicate()
    return child.returncode, out, err


async def upper(row: dict[str, Any]) -> str:
    """The row's text in capitals."""
    return str(row["text"]).upper()
