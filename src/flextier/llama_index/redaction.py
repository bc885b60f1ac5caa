"""Values without the secrets in them, for what is logged, shown and stored."""

from __future__ import annotations

import re
from typing import Any

_SECRET = re.compile(
    r"(^|[-_])((api|subscription)[-_]?key|auth|authorization|token|secret|password|cookie)$", re.I
)


def without_secrets(value: Any) -> Any:
    """The value, less the entries of dicts in it that are named like a secret."""
    if isinstance(value, dict):
        return {
            name: without_secrets(held)
            for name, held in value.items()
            if not (isinstance(name, str) and _SECRET.search(name))
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(held) for held in value]
    return value
