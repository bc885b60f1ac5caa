"""The limit of enqueued tokens of a model, learnt from the API's refusals."""

from __future__ import annotations

import math
import re
from typing import Any

_LIMIT = re.compile(r"limit:?\s*([\d,]+)\s*enqueued tokens", re.IGNORECASE)

_BYTES_A_TOKEN = 4
"""Estimate for English text in JSON; OpenAI counts the tokens of the limit by itself."""


def tokens_of(size: int) -> int:
    """Estimated tokens of ``size`` bytes of lines."""
    return max(1, size // _BYTES_A_TOKEN)


class EnqueueLimit:
    """The enqueued batches of one model, and the limit of their tokens. Not locked."""

    def __init__(self) -> None:
        self._flying: dict[Any, int] = {}
        self.limit = math.inf
        """Tokens; infinite until a refusal is seen."""

    def may_go(self, batch: Any, tokens: int) -> bool:
        """Whether a batch may be created now; if so, it counts as enqueued."""
        flying = sum(self._flying.values())
        if batch not in self._flying and self._flying and flying + tokens > self.limit:
            return False
        self._flying[batch] = tokens
        return True

    def over(self, batch: Any) -> None:
        """Remove a batch: it is not enqueued any more."""
        self._flying.pop(batch, None)

    def refused(self, batch: Any, message: str) -> bool:
        """Learn from a refusal; return whether no other batch of ours is enqueued."""
        tokens = self._flying.pop(batch, 0)
        flying = sum(self._flying.values())
        match = _LIMIT.search(message)
        if match is not None:
            self.limit = float(match[1].replace(",", ""))
        elif flying:
            self.limit = min(self.limit, flying + tokens - 1)
        return not self._flying
