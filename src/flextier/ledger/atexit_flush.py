"""The end of a process: what its ledgers have in hand is written first."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Protocol
from weakref import WeakSet

_PATIENCE = 5.0  # seconds that the end of a process waits for its ledgers


class Closable(Protocol):
    """What is to be closed before its process ends."""

    def close_soon(self, timeout: float) -> None:
        """Begin to close, and give up after some seconds."""

    def close(self, timeout: float) -> object:
        """Close, and wait for that."""


_OPEN: WeakSet[Closable] = WeakSet()
_registered: set[int] = set()


def close_at_exit(one: Closable) -> None:
    """Have ``one`` closed when this process ends, if it lives until then."""
    _OPEN.add(one)
    # A forked child of multiprocessing ends without atexit, and forgets what was set up before.
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _registered:
        _registered.add(os.getpid())
        util.Finalize(None, _close_all, exitpriority=100)


def _close_all() -> None:
    ledgers = list(_OPEN)
    for one in ledgers:
        one.close_soon(_PATIENCE)
    for one in ledgers:
        one.close(_PATIENCE)


atexit.register(_close_all)
