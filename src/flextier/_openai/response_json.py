"""The SDK's responses as JSON."""

from __future__ import annotations

import json
from typing import Any


def is_well_formed(response: Any) -> bool:
    """Whether all fields of a response have the types that the SDK states; it checks none."""
    try:
        type(response).model_validate(response.model_dump(warnings=False))
    except (ValueError, TypeError):  # pydantic's errors are ValueErrors
        return False
    return True


def fields_of(response: Any) -> dict[str, Any]:
    """The fields that a response, or a chunk of one, came with."""
    fields: dict[str, Any] = response.model_dump(
        mode="json", by_alias=True, exclude_unset=True, warnings=False
    )
    return fields


def json_bytes(value: Any) -> bytes:
    """A value as JSON; text may hold half a surrogate pair, as a truncated response does."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
