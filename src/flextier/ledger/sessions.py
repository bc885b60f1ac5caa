"""Sessions: the processes that have written to a ledger, and whether they closed it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

HEARTBEAT = 60.0
"""Seconds between the writes by which an idle process shows that it is alive."""
_SILENCE_LIMIT = timedelta(seconds=5 * HEARTBEAT)

State = Literal["closed", "running", "broken off"]


@dataclass(frozen=True, slots=True)
class Session:
    """One process that has written to a ledger."""

    id: str
    host: str
    pid: int
    started: datetime
    """UTC."""
    seen: datetime
    """The time of its last commit, UTC."""
    ended: datetime | None
    """The time when it closed the ledger, UTC. None: it has not."""
    written: int
    """Records that it committed, duplicates included."""
    lost: int
    """Records that it could not write, as of its last commit."""
    state: State
    """``"closed"``: all its records are in the ledger, or in ``lost``. ``"running"``: its latest
    records may not be committed yet. ``"broken off"``: it was killed or lost its connection;
    records that it had not committed by ``seen`` are missing."""

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}"
        seen = f"{self.seen:%Y-%m-%d %H:%M:%S} UTC"
        match self.state:
            case "broken off":
                what = f" ended without closing the ledger: calls not written by {seen} are missing"
            case "running":
                what = f" is still writing: calls after {seen} may be missing"
            case _:
                what = f": closed, {self.written:,} records written"
        return who + what + (f"; it lost {self.lost:,} records" if self.lost else "")


def state_of(row: Any, now: datetime | None = None) -> State:
    """The state of a session; without a commit for five heartbeats it is broken off."""
    if row.ended_us is not None:
        return "closed"
    if row.host == socket.gethostname() and _is_gone(row.pid):
        return "broken off"
    now = now or datetime.now(timezone.utc)
    silence = now - datetime.fromtimestamp(row.seen_us / 1e6, timezone.utc)
    return "broken off" if silence > _SILENCE_LIMIT else "running"


def _is_gone(pid: int) -> bool:
    if os.name != "posix":
        return False  # Windows has no signal 0: heartbeats decide
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
