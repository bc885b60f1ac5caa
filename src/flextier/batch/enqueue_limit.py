"""How much may be enqueued at once: the limit is learnt from what was refused."""

from __future__ import annotations

import math
import re
from typing import Any

_LIMIT = re.compile(r"limit:?\s*([\d,]+)\s*enqueued tokens", re.IGNORECASE)

_BYTES_A_TOKEN = 4
"""Of a line, which is English text in JSON: an estimate, as the limit is OpenAI's to count."""


def tokens_of(size: int) -> int:
    """Estimated tokens in the given bytes of lines."""
    return max(1, size // _BYTES_A_TOKEN)


class EnqueueLimit:
    """The batches of one model that are on their way, and how many may be. Not locked."""

    def __init__(self) -> None:
        self._flying: dict[Any, int] = {}
        self.limit = math.inf
        """Tokens, as far as it is known."""

    def may_go(self, batch: Any, tokens: int) -> bool:
        """Whether a batch may be created now; it then counts as on its way."""
        flying = sum(self._flying.values())
        if batch not in self._flying and self._flying and flying + tokens > self.limit:
            return False
        self._flying[batch] = tokens
        return True

    def over(self, batch: Any) -> None:
        """A batch is not on its way, or no more."""
        self._flying.pop(batch, None)

    def refused(self, batch: Any, message: str) -> bool:
        """There was no room for a batch; whether that was with none of ours on its way."""
        tokens = self._flying.pop(batch, 0)
        flying = sum(self._flying.values())
        match = _LIMIT.search(message)
        if match is not None:
            self.limit = float(match[1].replace(",", ""))
        elif flying:
            self.limit = min(self.limit, flying + tokens - 1)
        return not self._flying
