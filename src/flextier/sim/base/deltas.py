"""The pieces in which a stream brings a text or a tool's arguments."""

from __future__ import annotations

import re

# A call's arguments come in pieces of this many characters, so clients have to join them.
ARGUMENT_DELTA = 12

_WORD = re.compile(r"\s*\S+\s*|\s+")


def text_deltas(text: str) -> list[str]:
    """A piece for every word, with the space around it; none for an empty text."""
    return _WORD.findall(text)


def argument_deltas(arguments: str) -> list[str]:
    """Pieces of ``ARGUMENT_DELTA`` characters; for an empty text one empty piece."""
    starts = range(0, max(1, len(arguments)), ARGUMENT_DELTA)
    return [arguments[start : start + ARGUMENT_DELTA] for start in starts]
