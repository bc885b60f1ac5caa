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
    """A ``with`` block of the user's, such as ``track``.

    Its context reaches the calls inside, and none of a plain thread or pool.
    """

    __slots__ = ("_missed", "_name", "has_seen_call")

    def __init__(self, name: str) -> None:
        self._name = name
        self.has_seen_call = False
        """Whether a call has begun inside."""
        self._missed = 0
        open_blocks[self] = None

    def close(self, outer: tuple[Block, ...]) -> None:
        """End the block; log it if it saw no call while calls ran inside no block at all.

        At most once for each line of code, and not again for the blocks around it.
        """
        del open_blocks[self]
        if self.has_seen_call or not self._missed:
            return
        for block in outer:
            block.has_seen_call = True
        frame = sys._getframe(callers_level() - 1)
        place = frame.f_code.co_filename, frame.f_lineno
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
        block.has_seen_call = True
    if not blocks:
        for block in list(open_blocks):
            block._missed += 1
