"""Lines of a batch's output and error file, and the responses in them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any

from flextier._openai.http_library import http
from flextier.calls.answer import why_unreadable
from flextier.errors import MalformedAnswerError


@dataclass(frozen=True, slots=True)
class LineResponse:
    """The response in a line."""

    status: int
    request_id: str | None
    body: bytes
    """JSON."""
    is_answer: bool
    """Whether it is a successful response, which is charged."""
    problem: str
    """Why it is neither a response nor an error that can be read; empty: it is."""

    def to_http(self, request: Any) -> Any:
        """The HTTP response to ``request``; a ``MalformedAnswerError`` if it cannot be read."""
        if self.problem:
            raise MalformedAnswerError(
                message=f"the batch line is no response: {self.problem}", request=request
            )
        return http_response(self.status, self.request_id, self.body, request)


def line_response(line: dict[str, Any] | None, endpoint: str) -> LineResponse | None:
    """The response in a line; None if it has none.

    Lines may have the status 0 or none, and bodies that are no answer (tidyverse/ellmer#830).
    """
    response = None if line is None else line.get("response")
    if not isinstance(response, dict):
        return None
    status, body = response.get("status_code"), response.get("body")
    request_id = response.get("request_id")
    error = status if isinstance(status, int) and 400 <= status < 600 else None
    problem = why_unreadable(endpoint, body) if error is None else ""
    if problem and status != 200:
        problem = f"its status is {status!r}, and {problem}"
    try:
        encoded = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    except RecursionError:
        encoded, problem = "null", "it is nested too deeply"
    # A readable answer of the Responses API may be a failure.
    is_failed = isinstance(body, dict) and body.get("status") == "failed"
    return LineResponse(
        error or 200,
        request_id if isinstance(request_id, str) else None,
        encoded.encode("utf-8", "surrogatepass"),
        error is None and not problem and not is_failed,
        problem,
    )


def read_lines(
    content: IO[bytes], lock: AbstractContextManager[Any] | None = None
) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """The lines of an output or error file: offset, length and parsed content of each.

    The content is None if the line is no JSON object. ``lock`` guards a file that is shared.
    """
    offset = 0
    while True:
        with lock or nullcontext():
            content.seek(offset)
            line = content.readline()
        if not line:
            return
        if line.strip():
            yield offset, len(line), read_line(line)
        offset += len(line)


def read_line(line: bytes) -> dict[str, Any] | None:
    """The line parsed; None if it is no JSON object."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def http_response(status: int, request_id: str | None, body: bytes, request: Any) -> Any:
    """A line's response as the HTTP response to ``request``."""
    headers = {"content-type": "application/json"}
    if request_id:
        headers["x-request-id"] = request_id
    response = http.Response(status, headers=headers, content=body, request=request)
    response.elapsed = timedelta()  # the SDK's raw responses read it
    return response
