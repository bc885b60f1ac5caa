"""The bodies of calls in memory: together no more than allowed."""

from __future__ import annotations

import anyio
from starlette.requests import Request

from flextier.serve.bodies import limited

_ELEMENT = 64
"""Bytes that an element of a list or of an object takes at least, once it is read."""


class BodiesFull(Exception):
    """There is no memory left for a request's body."""


class _Arriving:
    """A body that has not arrived."""

    def __init__(self) -> None:
        self.size = 0
        self.scope = anyio.CancelScope()


class HeldBodies:
    """Bounds the memory of the bodies of calls that arrive, wait or run.

    Where there is no room, the largest of those that have not arrived is refused: so bodies that
    do not end cannot lock others out.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        """Bytes of all bodies: as sent, and more for those with many elements."""
        self._arriving: dict[_Arriving, None] = {}

    async def read(self, request: Request, max_bytes: int) -> tuple[bytes, int]:
        """A body, and the bytes that are held for it until they are released.

        Raises:
            BodiesFull: there is no room for it.
            BodyTooLarge: it has more than ``max_bytes``.
            BodyTooSlow: it does not arrive.
            ClientDisconnect: the caller has left.
        """
        body = _Arriving()
        self._arriving[body] = None
        parts = []
        try:
            with body.scope:
                async for part in limited(request, max_bytes):
                    self._hold(body, len(part))
                    parts.append(part)
                data = b"".join(parts)
                self._hold(body, _ELEMENT * sum(map(data.count, (b",", b"[", b"{"))))
                size, body.size = body.size, 0
                return data, size
        finally:
            del self._arriving[body]
            self.size -= body.size
        raise BodiesFull

    def _hold(self, body: _Arriving, size: int) -> None:
        while self.size + size > self.most:
            largest = max(self._arriving, key=lambda one: one.size)
            if largest.size <= body.size + size:
                raise BodiesFull
            self._refuse(largest)
        body.size += size
        self.size += size

    def _refuse(self, body: _Arriving) -> None:
        body.scope.cancel()
        self.size -= body.size
        body.size = 0

    def release(self, size: int) -> None:
        """Hold no more the bytes of a body."""
        self.size -= size

    def refuse_arriving(self) -> None:
        """Refuse the bodies that have not arrived."""
        for body in self._arriving:
            self._refuse(body)
