"""The account's identity: its calls share limiters, batches and poll schedules."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import NamedTuple


class AccountKey(NamedTuple):
    """An account of a server."""

    base_url: str
    account: str
    """A hash of key, organization and project."""

    def url(self, path: str) -> str:
        """The address of an endpoint, such as ``"/responses"``."""
        return self.base_url.rstrip("/") + path


class LaneKey(NamedTuple):
    """A lane of a model of an account."""

    base_url: str
    account: str
    model: str
    lane: str


@lru_cache(maxsize=64)
def account_key(
    base_url: str, api_key: str, organization: str | None, project: str | None
) -> AccountKey:
    """The account that these credentials belong to."""
    parts = "\0".join((api_key, organization or "", project or ""))
    return AccountKey(base_url, hashlib.sha256(parts.encode()).hexdigest()[:12])
