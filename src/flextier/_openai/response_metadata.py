"""Metadata of the SDK's responses, of either endpoint: tier, request id, model, usage, failure."""

from __future__ import annotations

import json
from typing import Any

from flextier.lanes.failures import Failure
from flextier.pricing.usage import Usage


def service_tier_of(response: Any) -> str | None:
    """The service tier that was served; None: not stated."""
    tier = getattr(response, "service_tier", None)
    return tier if isinstance(tier, str) else None


def request_id_of(response: Any) -> str | None:
    """OpenAI's ``x-request-id``; None: there is none."""
    return getattr(response, "_request_id", None) or getattr(response, "request_id", None)


def model_of(response: Any) -> str | None:
    """The model that the response names; None: it names none."""
    model = getattr(response, "model", None)
    return model if isinstance(model, str) else None


def usage_of(response: Any) -> Usage | None:
    """The tokens; None: not stated, or malformed."""
    return Usage.from_openai(getattr(response, "usage", None))


def is_well_formed(response: Any) -> bool:
    """Whether all fields of a response have the types that the SDK states; it checks none."""
    try:
        type(response).model_validate(response.model_dump(warnings=False))
    except (ValueError, TypeError):  # pydantic's errors are ValueErrors
        return False
    return True


def reported_failure(response: Any) -> Failure | None:
    """The failure that a response with HTTP 200 reports; None: it reports none."""
    if getattr(response, "object", None) != "response":
        return None
    error = getattr(response, "error", None)
    if error is None or getattr(response, "status", None) != "failed":
        return None
    return Failure(code=getattr(error, "code", None), message=getattr(error, "message", "") or "")


def json_of(response: Any) -> bytes:
    """A response as JSON, with the fields that it came with."""
    return json_bytes(fields_of(response))


def fields_of(response: Any) -> dict[str, Any]:
    """The fields that a response, or a chunk of one, came with."""
    fields: dict[str, Any] = response.model_dump(
        mode="json", by_alias=True, exclude_unset=True, warnings=False
    )
    return fields


def json_bytes(value: Any) -> bytes:
    """A value as JSON; text may hold half a surrogate pair, as a truncated response does."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
