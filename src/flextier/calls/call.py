"""A model call, as routing sees it, whatever SDK makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Call(NamedTuple):
    """What routing needs to know of a request."""

    model: str
    endpoint: str
    """The path after the base URL, such as ``"/responses"``."""
    stream: bool
    """Whether an event stream was asked for."""
    body: Mapping[str, Any]
    """The JSON body as the caller gave it."""
    tier: str | None = None
    """The service tier that the caller chose; None: flextier chooses."""
    output_limit: int | None = None
    """The most output tokens that the caller allows; None: no limit is set."""
    usage_requested: bool | None = False
    """Whether the caller of a stream gets its usage; None: the caller leaves it open."""
    reads_body: bool = False
    """Whether the caller reads the body of the response, and not an SDK."""

    @property
    def choices(self) -> int:
        """How many answers were asked for: ``n``, which only chat completions have."""
        n = self.body.get("n")
        return n if isinstance(n, int) else 1
