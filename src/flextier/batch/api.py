"""Requests of the Batch API: upload, create, find, list, retrieve, cancel, download. Blocking."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import IO, Any, TypeVar

import openai
from openai.types import Batch, FileObject

from flextier._openai.compat import connection_errors, http, new_request, timeout_errors
from flextier.errors import MalformedAnswerError

TAG = "flextier"
"""The metadata key of the tag that identifies a batch of ours."""

WINDOW: Any = "24h"
"""The only completion window that the API accepts."""

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""The statuses of a batch that has ended. An unknown status counts as still running."""

_ERROR_URL = "https://api.openai.com/v1/batches"

_T = TypeVar("_T")

# Uploading 200 MB over a slow connection takes minutes; all other requests are quick.
_TRANSFER_TIMEOUT = openai.Timeout(900.0, connect=10.0)
_REQUEST_TIMEOUT = openai.Timeout(60.0, connect=10.0)


class BatchAPI:
    """The Batch API over one client.

    Every method raises what the SDK raises, and does not retry.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client.with_options(max_retries=0, timeout=_REQUEST_TIMEOUT)
        self._transfers = client.with_options(max_retries=0, timeout=_TRANSFER_TIMEOUT)

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Upload an input file; return its id."""
        content.seek(0)
        with _as_sdk_errors():
            file = self._transfers.files.create(file=(name, content), purpose="batch")
        return _validated(file, FileObject).id

    def create(self, file_id: str, endpoint: str, metadata: dict[str, str]) -> Batch:
        """Create a batch of an uploaded file; ``endpoint`` with ``/v1``."""
        path: Any = endpoint
        with _as_sdk_errors():
            batch = self._client.batches.create(
                input_file_id=file_id, endpoint=path, completion_window=WINDOW, metadata=metadata
            )
        return _validated(batch, Batch)

    def find(self, tag: str, since: float) -> Batch | None:
        """The batch with that tag, created after ``since`` (seconds since the epoch).

        A failed batch is returned only if no other has the tag, which may have been used again.
        """
        failed = None
        with _as_sdk_errors():
            for batch in self._client.batches.list(limit=100):
                if _validated(batch, Batch).created_at < since:
                    break
                if (batch.metadata or {}).get(TAG) == tag:
                    if batch.status != "failed":
                        return batch
                    failed = failed or batch
        return failed

    def page(self, limit: int, after: str | None) -> Any:
        """A page of batches, newest first, starting after the batch ``after``."""
        start: Any = openai.omit if after is None else after
        return self._client.batches.list(limit=limit, after=start)

    def retrieve(self, batch_id: str) -> Batch:
        """The current state of a batch."""
        with _as_sdk_errors():
            return _validated(self._client.batches.retrieve(batch_id), Batch)

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch; lines that are done by then are kept, and charged."""
        with _as_sdk_errors():
            return _validated(self._client.batches.cancel(batch_id), Batch)

    def download(self, file_id: str, out: IO[bytes]) -> None:
        """Write a file's content to ``out``, replacing what is in it."""
        out.seek(0)
        out.truncate()
        with _as_sdk_errors():
            with self._transfers.files.with_streaming_response.content(file_id) as response:
                for chunk in response.iter_bytes(1 << 18):
                    out.write(chunk)
            out.flush()
            _check_lines(out)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def _as_sdk_errors() -> Iterator[None]:
    """Raise truncated and unreadable responses as the SDK's connection errors."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise MalformedAnswerError(
            message=f"the response is truncated or not JSON: {error}",
            request=new_request(_ERROR_URL),
        ) from error
    except (*timeout_errors, *connection_errors) as error:
        raise openai.APIConnectionError(
            message=f"the response broke off: {error}", request=new_request(_ERROR_URL)
        ) from error


def _validated(answer: Any, kind: type[_T]) -> _T:
    """The response, which must be of the expected type: a proxy may return a page of its own."""
    if not isinstance(answer, kind) or not getattr(answer, "id", None):
        raise MalformedAnswerError(
            message=f"expected a {kind.__name__}, but the response begins {str(answer)[:80]!r}",
            request=new_request(_ERROR_URL),
        )
    return answer


def _check_lines(content: IO[bytes]) -> None:
    """Check the first and the last line: not JSON in a truncated file, or a page of a proxy."""
    content.seek(0)
    first = content.readline()
    for line in (first, _last_line(content)):
        if line.strip() and read_line(line) is None:
            raise MalformedAnswerError(
                message=f"the file is truncated or not JSONL: it has a line {line[:80]!r}",
                request=new_request(_ERROR_URL),
            )


def _last_line(content: IO[bytes]) -> bytes:
    size = content.seek(0, os.SEEK_END)
    tail, step = b"", 1 << 16
    while b"\n" not in tail.rstrip(b"\n") and len(tail) < size:
        start = max(0, size - len(tail) - step)
        content.seek(start)
        tail = content.read(size - start)
        step *= 4
    return tail.rstrip(b"\n").rpartition(b"\n")[2]


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
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def line_response(line: dict[str, Any]) -> tuple[int, str | None, bytes] | None:
    """Status, request id and JSON body of a line's response; None if it has no response."""
    response = line.get("response")
    if not isinstance(response, dict):
        return None
    body = json.dumps(response.get("body"), ensure_ascii=False, separators=(",", ":"))
    request_id = response.get("request_id")
    return (
        int(response.get("status_code") or 200),
        request_id if isinstance(request_id, str) else None,
        body.encode("utf-8", "surrogatepass"),
    )


def is_failed(body: Any) -> bool:
    """Whether the body of a 200 response reports a failure, as the Responses API may."""
    return isinstance(body, dict) and body.get("status") == "failed"


def http_response(status: int, request_id: str | None, body: bytes, request: Any) -> Any:
    """A line's response as the HTTP response to ``request``."""
    headers = {"content-type": "application/json"}
    if request_id:
        headers["x-request-id"] = request_id
    response = http.Response(status, headers=headers, content=body, request=request)
    response.elapsed = timedelta()  # the SDK's raw responses read it
    return response
