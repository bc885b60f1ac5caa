"""Bodies of requests: no longer than allowed, and no slower."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request

SLOW = 60.0
"""Seconds in which a part of a body must arrive."""


class BodyTooLarge(Exception):
    """A request's body is longer than the gateway takes."""


class BodyTooSlow(Exception):
    """No part of a request's body has arrived for a minute."""


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
    size, chunks = 0, request.stream()
    while True:
        try:
            data = await asyncio.wait_for(anext(chunks), SLOW)
        except StopAsyncIteration:
            return
        except (TimeoutError, asyncio.TimeoutError):
            raise BodyTooSlow from None
        size += len(data)
        if size > max_bytes:
            raise BodyTooLarge
        yield data


def json_object(data: bytes) -> dict[str, Any]:
    """A body that is a JSON object.

    Raises:
        ValueError: it is none.
    """
    try:
        body = json.loads(data, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(body, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - a value of the caller's, no type
    return body


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
