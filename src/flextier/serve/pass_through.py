"""Requests that are no calls of the lanes: to the upstream and back, streamed, and never held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from flextier._openai.http_library import connection_errors
from flextier.serve.bodies import BodyTooLarge, limited
from flextier.serve.error_answers import ErrorAnswer, error_answer, upstream_error
from flextier.serve.headers import encoded, passed_through, returned
from flextier.serve.upstream import Upstream


async def pass_through(
    request: Request, upstream: Upstream, path: str, *, max_bytes: int
) -> Response:
    """The upstream's response to a request.

    Raises:
        BodyTooLarge: the request's body has more than ``max_bytes``.
        ClientDisconnect: the caller has left.
    """
    headers = passed_through(request.headers.items())
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    content = limited(request, max_bytes) if has_body else None
    query = request.url.query
    try:
        response = await upstream.send(request.method, path, query, headers, content)
    except (BodyTooLarge, ClientDisconnect):
        raise
    except connection_errors as error:
        for cause in (error.__cause__, error.__context__):
            if isinstance(cause, BodyTooLarge | ClientDisconnect):
                raise cause from None
        return as_response(error_answer(error))
    if 300 <= response.status_code < 400 or response.status_code == 401:
        await response.aclose()
        return as_response(upstream_error(response.status_code, response, (), b""))
    return _Streamed(response)


async def _chunks(response: Any) -> AsyncIterator[bytes]:
    try:
        async for data in response.aiter_raw():
            yield data
    finally:
        await response.aclose()


class _Streamed(StreamingResponse):
    """An upstream's response with its own headers."""

    def __init__(self, response: Any) -> None:
        super().__init__(_chunks(response), response.status_code)
        self.raw_headers = encoded(returned(response, raw=True))


def as_response(answer: ErrorAnswer) -> Response:
    """An error as a response."""
    response = Response(answer.body, answer.status)
    length = ("content-length", str(len(answer.body)))
    response.raw_headers = encoded((*answer.headers, length))
    return response
