"""The journal's cache key: calls with the same key get the same response."""

from __future__ import annotations

import json
from hashlib import blake2b


def cache_key(base_url: str, endpoint: str, body: bytes, namespace: str) -> bytes:
    """The key of a call: the same for the same base URL, endpoint, JSON body and namespace."""
    parts = [base_url, endpoint, json.loads(body), namespace]
    words = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=16).digest()
