"""Which lines were paid for, how often and on which lanes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from threading import Lock
from typing import Any

from flextier.lanes import tier_lane

#: What does not change the work that a request asks for: how it is served, sent and kept.
NOT_THE_WORK = frozenset(
    {"background", "background_options", "service_tier", "store", "stream", "stream_options"}
)

Lanes = tuple[tuple[str, int], ...]


def digest(endpoint: str, body: Mapping[str, Any]) -> str:
    """What a line is known by in ``GET /sim/paid``: 32 hexadecimal digits.

    The first half of the sha256 of the endpoint, a line break, and the body as JSON with sorted
    keys, without spaces and without ``NOT_THE_WORK``: tier, streaming, background and storing.
    """
    work = {key: value for key, value in body.items() if key not in NOT_THE_WORK}
    text = json.dumps(work, sort_keys=True, separators=(",", ":"))
    return sha256(f"{endpoint}\n{text}".encode()).hexdigest()[:32]


class PaidLines:
    """Payments by line and lane, compact: about 100 bytes a line. Usable from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._paid: dict[bytes, Lanes] = {}
        self._possibly: dict[bytes, Lanes] = {}
        self._payments = 0
        # Most lines were paid once, on one of few lanes: they share one tuple that says so.
        self._known: dict[Lanes, Lanes] = {}

    def pay(self, line: str, tier: str) -> None:
        """A line's answer was delivered whole, by this tier, by ``batch`` or in the background."""
        with self._lock:
            self._payments += 1
            self._count(self._paid, line, tier)

    def perhaps(self, line: str, tier: str) -> None:
        """A line's answer was begun and did not arrive."""
        with self._lock:
            self._count(self._possibly, line, tier)

    def _count(self, table: dict[bytes, Lanes], line: str, tier: str) -> None:
        key = bytes.fromhex(line)
        lanes = Counter(dict(table.get(key, ())))
        lanes[tier_lane(tier).name] += 1
        counted = tuple(sorted(lanes.items()))
        table[key] = self._known.setdefault(counted, counted)

    def report(self) -> dict[str, Any]:
        """What ``GET /sim/paid`` shows."""
        with self._lock:
            return {
                "lines": len(self._paid),
                "payments": self._payments,
                "twice": [
                    _entry(key, lanes) for key, lanes in self._paid.items() if _times(lanes) > 1
                ],
                "possibly": [
                    {**_entry(key, lanes), "paid": _times(self._paid.get(key, ()))}
                    for key, lanes in self._possibly.items()
                ],
            }


def _times(lanes: Lanes) -> int:
    return sum(times for _, times in lanes)


def _entry(key: bytes, lanes: Lanes) -> dict[str, Any]:
    return {"digest": key.hex(), "times": _times(lanes), "lanes": dict(lanes)}
