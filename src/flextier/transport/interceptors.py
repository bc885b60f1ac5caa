"""Whether a tool replaces httpx's own methods: vcrpy, respx, pytest-httpx. It sees no aiohttp."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from flextier._openai.http_library import http, httpcore


def is_intercepted() -> bool:
    """Whether such a tool is active now: a method is not from the source of its package."""
    for kind, folder in _originals():
        code = getattr(kind.handle_async_request, "__code__", None)
        if code is None or not code.co_filename.startswith(folder):
            return True
    return False


@cache
def _originals() -> tuple[tuple[Any, str], ...]:
    core = httpcore()
    kinds = ((http, http.AsyncHTTPTransport), (core, core.AsyncConnectionPool))
    return tuple((kind, os.path.dirname(str(module.__file__))) for module, kind in kinds)
