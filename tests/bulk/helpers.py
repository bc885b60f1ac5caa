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
    """``flextier run`` in a directory, in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, "run", *arguments],
        cwd=place,
        env={**os.environ, "HEARS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


HEARS = """
import os, pathlib, signal

install, heard = signal.signal, []

def hearing(number, handler):
    def handle(*told):
        handler(*told)
        heard.append(number)
        pathlib.Path(f"heard-{len(heard)}").touch()
    return install(number, handle if callable(handler) else handler)

if "HEARS" in os.environ:
    signal.signal = hearing
"""
"""The beginning of a module that, in a process that was started for it, makes a file once a signal
was handled: two that are sent at once would be one.
"""


def interrupted(child: subprocess.Popen[str], place: Path, number: int = signal.SIGINT) -> None:
    """Send a signal to a process whose module begins with ``HEARS``; wait until it was handled."""
    before = len(list(place.glob("heard-*")))
    child.send_signal(number)
    while not (place / f"heard-{before + 1}").exists():
        assert child.poll() is None, child.communicate()
        time.sleep(0.002)


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """A process's exit status, and what it printed."""
    out, err = child.communicate()
    return child.returncode, out, err


async def upper(row: dict[str, Any]) -> str:
    """The row's text in capitals."""
    return str(row["text"]).upper()
