"""Bodies of requests: no longer than allowed, and no slower."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request

SLOW = 60.0
"""Seconds in which a part of a body must arrive."""
RATE = 4096
"""Bytes a second that must arrive after them."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KINDS: dict[str, type] = {"stream": bool, "service_tier": str}
"""Fields that decide how a call is made: where an upstream reads them otherwise, attempts fail."""


class BodyTooLarge(Exception):
    """A request's body is longer than the gateway takes."""


class BodyTooSlow(Exception):
    """A request's body arrives slower than allowed."""


async def limited(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The chunks of a body.

    Raises:
        BodyTooLarge: it has more than ``max_bytes``.
        BodyTooSlow: it does not arrive.
        ClientDisconnect: the caller has left.
    """
    stated = request.headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > max_bytes:
        raise BodyTooLarge
    size, waited, chunks, loop = 0, 0.0, request.stream(), asyncio.get_running_loop()
    while True:
        began = loop.time()
        try:
            seconds = min(SLOW, SLOW + size / RATE - waited)
            data = await asyncio.wait_for(anext(chunks), seconds)
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):
            raise BodyTooSlow from None
        size, waited = size + len(data), waited + loop.time() - began
        if size > max_bytes:
            raise BodyTooLarge
        yield data


def json_object(data: bytes) -> dict[str, Any]:
    """A body that is a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        body = json.loads(data, parse_constant=_no_number, parse_float=_finite)
        if _SURROGATE.search(data):
            json.dumps(body, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it has half a surrogate pair") from None
    if not isinstance(body, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - a value of the caller's, no type
    for name, kind in _KINDS.items():
        if not isinstance(body.get(name), kind | None):
            raise ValueError(f"{name} must be a {kind.__name__}")  # noqa: TRY004 - as above
    return body


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
