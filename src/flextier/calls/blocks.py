"""Blocks that see no call: a log line says so if calls ran that they do not reach."""

from __future__ import annotations

import logging
import sys

from flextier._utils.safe_warn import callers_level

_log = logging.getLogger("flextier")

# A dict, as its operations are atomic: a lock could be held by another thread at a fork.
open_blocks: dict[Block, None] = {}
_logged: set[tuple[str, int]] = set()


class Block:
    """A ``with`` block of the user's: ``track``, ``record_calls``, ``budget`` or ``override``.

    Its context reaches the calls inside, and none of a plain thread or pool.
    """

    __slots__ = ("_missed", "_name", "_seen")

    def __init__(self, name: str) -> None:
        self._name = name
        self._seen = False
        self._missed = 0
        open_blocks[self] = None

    @property
    def has_seen_call(self) -> bool:
        """Whether a call has begun inside."""
        return self._seen

    def close(self, outer: tuple[Block, ...]) -> None:
        """End the block; log it if it saw no call while calls ran inside no block at all.

        At most once for each line of code, and not again for the blocks around it.
        """
        del open_blocks[self]
        if self._seen or not self._missed:
            return
        for block in outer:
            block._seen = True
        place = _line_of_caller()
        if place in _logged:
            return
        _logged.add(place)
        _log.warning(
            "%s() saw no call, but %d ran meanwhile in threads or tasks that it does not reach "
            "(%s:%d). Pass flextier.wrap(function) to the thread or pool; or, for all threads, use "
            'track(scope="process"), record_calls(scope="process") or FlexPolicy(budget=...)',
            self._name,
            self._missed,
            *place,
        )


def call_begins(blocks: tuple[Block, ...]) -> None:
    """Note a call that begins inside ``blocks``; inside none, all open blocks miss it."""
    for block in blocks:
        block._seen = True
    if not blocks:
        for block in list(open_blocks):
            block._missed += 1


def _line_of_caller() -> tuple[str, int]:
    """The file and line of the code that ends a block."""
    frame = sys._getframe(callers_level() - 1)
    return frame.f_code.co_filename, frame.f_lineno
