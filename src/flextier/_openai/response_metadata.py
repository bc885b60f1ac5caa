"""What an answer of the SDK says of itself, whichever endpoint it is of."""

from __future__ import annotations

from typing import Any

from flextier.lanes.failures import Failure
from flextier.pricing.usage import Usage


def service_tier_of(answer: Any) -> str | None:
    """The tier that was served; None: it does not say."""
    tier = getattr(answer, "service_tier", None)
    return tier if isinstance(tier, str) else None


def request_id_of(answer: Any) -> str | None:
    """OpenAI's ``x-request-id``; None: it has none."""
    return getattr(answer, "_request_id", None) or getattr(answer, "request_id", None)


def model_of(answer: Any) -> str | None:
    """The model as the answer names it; None: it does not."""
    model = getattr(answer, "model", None)
    return model if isinstance(model, str) else None


def usage_of(answer: Any) -> Usage | None:
    """The tokens; None: it does not say, or not in a way that can be read."""
    return Usage.from_openai(getattr(answer, "usage", None))


def reported_failure(answer: Any) -> Failure | None:
    """The failure that a response tells of with HTTP 200; None: it is an answer."""
    if getattr(answer, "object", None) != "response":
        return None
    error = getattr(answer, "error", None)
    if error is None or getattr(answer, "status", None) != "failed":
        return None
    return Failure(code=getattr(error, "code", None), message=getattr(error, "message", "") or "")
