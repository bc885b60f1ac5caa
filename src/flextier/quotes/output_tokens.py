"""How long the answers are going to be: as stated, as earlier ones were, or as the limit allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from flextier._utils.formatting import count
from flextier.pricing.span import Span

_STATED = 0.25
_LEAST, _MOST = 0.1, 0.9
"""How far the mean of the answers to come may be from that of earlier ones. Between these: two
standard errors of the difference, for lengths whose standard deviation is their mean."""


@dataclass(frozen=True)
class OutputTokens:
    """What is known of the output tokens of a call."""

    stated: int | None = None
    """Those that the caller expects of each call; None: no expectation was stated."""
    earlier: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """The number of earlier calls that were billed, and their output tokens, by model."""
    source: str = ""
    """Where these were recorded, in words."""
    rows: int = 1
    """Rows to come: the mean of a few answers is less certain than that of many."""

    def expected(self, model: str) -> int | None:
        """The tokens of an answer of a model, on average; None: unknown."""
        if self.stated is not None:
            return self.stated
        calls, tokens = self.earlier.get(model, (0, 0))
        return -(-tokens // calls) if calls else None

    def of(self, model: str, limit: int | None) -> Span[int]:
        """The tokens of an answer under a limit; without one, the most may be unknown."""
        expected = self.expected(model)
        if expected is None:
            return Span(1, None, limit)
        low, high = expected * (1 - self._margin(model)), expected * (1 + self._margin(model))
        most = math.inf if limit is None else limit
        return Span(int(min(low, most)), int(min(expected, most)), math.ceil(min(high, most)))

    def _margin(self, model: str) -> float:
        if self.stated is not None:
            return _STATED
        calls, _ = self.earlier[model]
        return min(_MOST, max(_LEAST, 2 * math.sqrt(1 / calls + 1 / max(1, self.rows))))

    def why(self, model: str, limit: int | None) -> str:
        """Where the number comes from, in words."""
        if (expected := self.expected(model)) is None:
            if limit is None:
                return "unknown: the calls set no limit; state them (--output-tokens)"
            return f"at most {limit:,} a call, their limit"
        margin = f"±{100 * self._margin(model):.0f} %"
        if self.stated is not None:
            return f"{expected:,} a call, as stated, {margin}"
        calls = count(self.earlier[model][0], "call")
        return f"{expected:,} a call, as {calls} {self.source}, {margin}"
