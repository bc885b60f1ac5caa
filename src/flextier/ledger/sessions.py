"""Sessions: which processes have written to a ledger, and whether they ended as they should."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

HEARTBEAT = 60.0
"""Seconds after which a process that has nothing to write says that it is still there."""
_SILENT = timedelta(seconds=5 * HEARTBEAT)

State = Literal["closed", "running", "broken off"]


@dataclass(frozen=True, slots=True)
class Session:
    """One process's writing to a ledger, from its first record on."""

    id: str
    host: str
    pid: int
    started: datetime
    """UTC."""
    seen: datetime
    """Its last commit, UTC."""
    ended: datetime | None
    """When it closed the ledger, UTC. None: it has not."""
    written: int
    """Records that it committed; those that the ledger had already count, too."""
    lost: int
    """Records that it could not write, as of its last commit."""
    state: State
    """``"closed"``: everything that it was given is here, or in ``lost``. ``"running"``: the last
    moments may still come. ``"broken off"``: killed, or cut off from the database; what it had not
    committed by ``seen`` is missing."""

    def __str__(self) -> str:
        who = f"process {self.pid} on {self.host}"
        lost = f"; it lost {self.lost:,} records" if self.lost else ""
        if self.state == "broken off":
            return (
                f"{who} ended without closing the ledger: what it had not written by "
                f"{self.seen:%Y-%m-%d %H:%M:%S} UTC is missing{lost}"
            )
        return f"{who}: {self.state}, {self.written:,} records written{lost}"


def state_of(row: Any, now: datetime | None = None) -> State:
    """How a session stands; a silent process is taken to be gone after five heartbeats."""
    if row.ended_us is not None:
        return "closed"
    if row.host == socket.gethostname() and _is_gone(row.pid):
        return "broken off"
    now = now or datetime.now(timezone.utc)
    silent = now - datetime.fromtimestamp(row.seen_us / 1e6, timezone.utc)
    return "broken off" if silent > _SILENT else "running"


def _is_gone(pid: int) -> bool:
    if os.name != "posix":
        return False  # there, signal 0 does not work: heartbeats decide
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False
