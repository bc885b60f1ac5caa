"""The requests that a batch takes: upload, create, find, look, cancel, download. All blocking."""

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
"""The key in a batch's metadata under which its tag stands."""

WINDOW: Any = "24h"
"""The only completion window there is."""

TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
"""The statuses after which nothing comes. A status that is not known is none of them."""

_SOMEWHERE = "https://api.openai.com/v1/batches"

_T = TypeVar("_T")

# A 200 MB file over a slow line takes its time; what is asked of a batch does not.
_TRANSFER = openai.Timeout(900.0, connect=10.0)
_QUICK = openai.Timeout(60.0, connect=10.0)


class BatchAPI:
    """The Batch API over one client.

    Every method raises what the SDK raises, and tries nothing twice: that is the caller's part.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client.with_options(max_retries=0, timeout=_QUICK)
        self._transfers = client.with_options(max_retries=0, timeout=_TRANSFER)

    def upload(self, name: str, content: IO[bytes]) -> str:
        """Send a file of lines; its id."""
        content.seek(0)
        with _readable():
            file = self._transfers.files.create(file=(name, content), purpose="batch")
        return _checked(file, FileObject).id

    def create(self, file_id: str, endpoint: str, metadata: dict[str, str]) -> Batch:
        """Have the lines of a file done; ``endpoint`` with ``/v1``."""
        where: Any = endpoint
        with _readable():
            batch = self._client.batches.create(
                input_file_id=file_id, endpoint=where, completion_window=WINDOW, metadata=metadata
            )
        return _checked(batch, Batch)

    def find(self, tag: str, since: float) -> Batch | None:
        """The batch with that tag, created after ``since`` (seconds since the epoch).

        One that failed counts only where there is no other: a tag may have been tried again.
        """
        failed = None
        with _readable():
            for batch in self._client.batches.list(limit=100):
                if _checked(batch, Batch).created_at < since:
                    break
                if (batch.metadata or {}).get(TAG) == tag:
                    if batch.status != "failed":
                        return batch
                    failed = failed or batch
        return failed

    def page(self, limit: int, after: str | None) -> Any:
        """Batches, the newest first, from the one after ``after`` on."""
        start: Any = openai.omit if after is None else after
        return self._client.batches.list(limit=limit, after=start)

    def retrieve(self, batch_id: str) -> Batch:
        """How a batch stands."""
        with _readable():
            return _checked(self._client.batches.retrieve(batch_id), Batch)

    def cancel(self, batch_id: str) -> Batch:
        """Stop a batch; what it has done by then is kept, and charged."""
        with _readable():
            return _checked(self._client.batches.cancel(batch_id), Batch)

    def download(self, file_id: str, out: IO[bytes]) -> None:
        """Write a file's content to ``out``, from its beginning."""
        out.seek(0)
        out.truncate()
        with _readable():
            with self._transfers.files.with_streaming_response.content(file_id) as response:
                for piece in response.iter_bytes(1 << 18):
                    out.write(piece)
            out.flush()
            _check_lines(out)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextmanager
def _readable() -> Iterator[None]:
    """What breaks off, or cannot be read, is a connection's failure: it may be asked again."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise MalformedAnswerError(
            message=f"the answer is cut or not JSON: {error}", request=new_request(_SOMEWHERE)
        ) from error
    except (*timeout_errors, *connection_errors) as error:
        raise openai.APIConnectionError(
            message=f"the answer broke off: {error}", request=new_request(_SOMEWHERE)
        ) from error


def _checked(answer: Any, kind: type[_T]) -> _T:
    """The answer, if it is what it should be, and not some proxy's page."""
    if not isinstance(answer, kind) or not getattr(answer, "id", None):
        raise MalformedAnswerError(
            message=f"the answer is no {kind.__name__}, but begins {str(answer)[:80]!r}",
            request=new_request(_SOMEWHERE),
        )
    return answer


def _check_lines(content: IO[bytes]) -> None:
    """A file of answers begins and ends with one; else it is a page, or was cut."""
    content.seek(0)
    first = content.readline()
    for line in (first, _last_line(content)):
        if line.strip() and read_line(line) is None:
            raise MalformedAnswerError(
                message=f"the file is not JSONL, or was cut: there is a line {line[:80]!r}",
                request=new_request(_SOMEWHERE),
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


def lines_of(
    content: IO[bytes], lock: AbstractContextManager[Any] | None = None
) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """The lines of an output or error file: where each begins, how long it is, what it says.

    None for a line that is no JSON object. ``lock`` is for a file that others read meanwhile.
    """
    at = 0
    while True:
        with lock or nullcontext():
            content.seek(at)
            line = content.readline()
        if not line:
            return
        if line.strip():
            yield at, len(line), read_line(line)
        at += len(line)


def read_line(line: bytes) -> dict[str, Any] | None:
    """One line; None if it is no JSON object."""
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def response_of(line: dict[str, Any]) -> tuple[int, str | None, bytes] | None:
    """Status, request id and JSON body of a line's response; None: there is none."""
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
    """Whether the body of a 2xx response reports a failure, as Responses may."""
    return isinstance(body, dict) and body.get("status") == "failed"


def http_response(status: int, request_id: str | None, body: bytes, request: Any) -> Any:
    """A line's response as the one to a request of its own."""
    headers = {"content-type": "application/json"}
    if request_id:
        headers["x-request-id"] = request_id
    response = http.Response(status, headers=headers, content=body, request=request)
    response.elapsed = timedelta()  # raw responses are asked for it
    return response
