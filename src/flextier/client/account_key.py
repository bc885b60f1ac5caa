"""The account's identity: calls of the same account share limiters, batches and journal entries."""

from __future__ import annotations

import hashlib
from functools import lru_cache


@lru_cache(maxsize=64)
def account_key(
    base_url: str, api_key: str, organization: str | None, project: str | None
) -> tuple[str, str]:
    """The account's identity: the base URL, and a hash of key, organization and project."""
    parts = "\0".join((api_key, organization or "", project or ""))
    return base_url, hashlib.sha256(parts.encode()).hexdigest()[:12]
