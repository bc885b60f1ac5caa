"""The calls of the last ten minutes, by their ids; and those that a caller may ask for again."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from flextier.serve.running_call import RunningCall

KEPT = 600.0
"""Seconds for which a call and its answer are kept after its end."""
MAX_BYTES = 256 * 2**20
"""Bytes of answers that are kept after their calls have ended; the oldest are dropped first."""
MAX_ENDED = 50_000
"""Calls that are kept after their end."""

ENDS = "the gateway ends: repeat the call in a moment"
_Id = tuple[str, str]
"""A call's caller, and its id."""


class IdInUse(Exception):
    """A call's id is that of another call of its caller."""


def digest(owner: str, path: str, body: bytes) -> bytes:
    """What two requests share if one is the other's repeat."""
    return hashlib.sha256(b"\0".join((owner.encode(), path.encode(), body))).digest()


class Calls:
    """The calls that run, and those of the last ten minutes. For one event loop.

    Args:
        clock: seconds, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._by_id: dict[_Id, tuple[bytes, RunningCall]] = {}
        self._by_digest: dict[bytes, list[RunningCall]] = {}
        self._ended: OrderedDict[_Id, float] = OrderedDict()
        """When each ended."""
        self._bytes = 0

    @property
    def running(self) -> int:
        """Calls that have not ended."""
        return len(self._by_id) - len(self._ended)

    @property
    def readers(self) -> int:
        """Connections that wait for answers, or have not sent all of them."""
        return sum(call.readers for _, call in self._by_id.values())

    def get(self, call_id: str, owner: str) -> RunningCall | None:
        """The call of this id, if it is this caller's."""
        self._drop_old()
        found = self._by_id.get((owner, call_id))
        return None if found is None else found[1]

    def repeated(
        self, key: bytes, call_id: str | None, *, owner: str = "", is_repeat: bool
    ) -> RunningCall | None:
        """The call that a request asks for again; None: it asks for a new one.

        Of the same calls, one that no connection reads comes first, then one whose answer has not
        arrived, then the newest. An error is no answer: the call is made again.

        Raises:
            IdInUse: the id is another call's.
        """
        self._drop_old()
        if call_id is not None:
            if (found := self._by_id.get((owner, call_id))) is None:
                return None
            if found[0] != key:
                raise IdInUse
            return found[1] if _has_answer(found[1]) else None
        same = self._by_digest.get(key, ()) if is_repeat else ()
        answered = [call for call in reversed(same) if _has_answer(call)]
        return min(answered, key=lambda call: (call.readers, call.delivered), default=None)

    def add(self, key: bytes, call: RunningCall) -> None:
        """Keep a call until ten minutes after its end."""
        if (name := _id(call)) in self._by_id:  # it had failed, and is made again
            self._drop(name)
        self._by_id[name] = key, call
        self._by_digest.setdefault(key, []).append(call)

    def ended(self, call: RunningCall) -> None:
        """Note that a call has ended."""
        name = _id(call)
        if name not in self._by_id or self._by_id[name][1] is not call:
            return
        self._ended[name] = self._clock()
        self._bytes += call.answer.size
        self._drop_old()

    def _drop_old(self) -> None:
        oldest = self._clock() - KEPT
        while self._ended:
            name, ended_at = next(iter(self._ended.items()))
            is_full = self._bytes > MAX_BYTES or len(self._ended) > MAX_ENDED
            if ended_at >= oldest and not (is_full and len(self._ended) > 1):
                return
            self._drop(name)

    def _drop(self, name: _Id) -> None:
        key, call = self._by_id.pop(name)
        if name in self._ended:
            del self._ended[name]
            self._bytes -= call.answer.size
        same = self._by_digest[key]
        same.remove(call)
        if not same:
            del self._by_digest[key]

    async def end_all(self, cancel: bool = True) -> None:
        """Cancel the calls that run, and wait until they have ended."""
        running = [call for _, call in self._by_id.values() if not call.answer.complete]
        for call in running if cancel else ():
            call.cancel(ENDS)
        for call in running:
            await call.ended()


def _id(call: RunningCall) -> _Id:
    return call.owner, call.id


def _has_answer(call: RunningCall) -> bool:
    """Whether a call has its answer, or may get one."""
    head = call.answer.head
    return not call.answer.complete or (head is not None and head.status < 400)
