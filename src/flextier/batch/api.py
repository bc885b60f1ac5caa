"""Requests of the Batch API: upload, create, find, list, retrieve, cancel, download. Blocking."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from flextier._openai import public_names as openai
from flextier._openai.http_library import connection_errors, new_request, timeout_errors
from flextier._openai.public_names import Batch, FileObject
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
    """The Batch API over one client. Methods raise what the SDK raises, and do not retry."""

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

        A failed batch is returned only if no other has the tag, which may have been used again. A
        ``MalformedAnswerError``: it may be among entries of the list that cannot be read.
        """
        failed, after = None, None
        while True:
            page = self.page(100, after)
            for batch in page.batches:
                if tag_of(batch) == tag:
                    if batch.status != "failed":
                        return batch
                    failed = failed or batch
            if page.unreadable or any(created_at(batch) is None for batch in page.batches):
                raise _malformed("the list of batches has entries that cannot be read")
            after = page.next_after
            if after is None or any((created_at(x) or math.inf) < since for x in page.batches):
                return failed

    def page(self, limit: int, after: str | None) -> BatchPage:
        """A page of batches, newest first, starting after the batch ``after``."""
        query = {"limit": limit, **({} if after is None else {"after": after})}
        with _as_sdk_errors():
            # Not ``batches.list``: it fails on what is no list, and takes null for an empty one.
            listed: Any = self._client.get("/batches", cast_to=object, options={"params": query})
        entries = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise _unexpected("list of batches", listed)
        named = [x for x in entries if isinstance(x, dict) and _is_name(x.get("id"))]
        batches = [Batch.construct(**entry) for entry in named if _is_name(entry.get("status"))]
        last = named[-1]["id"] if named and listed.get("has_more") is not False else None
        # A server that ignores ``after`` sends the same page again.
        return BatchPage(batches, len(entries) - len(batches), None if last == after else last)

    def retrieve(self, batch_id: str) -> Batch:
        """The current state of a batch."""
        with _as_sdk_errors():
            return _validated(self._client.batches.retrieve(batch_id), Batch)

    def cancel(self, batch_id: str) -> Batch:
        """Cancel a batch; lines that are done by then are kept, and charged."""
        with _as_sdk_errors():
            return _validated(self._client.batches.cancel(batch_id), Batch)

    def download(self, file_id: str, out: IO[bytes]) -> None:
        """Write a file's content to ``out``, replacing what is in it; may raise an OSError."""
        out.seek(0)
        out.truncate()
        with _as_sdk_errors():
            with self._transfers.files.with_streaming_response.content(file_id) as response:
                for chunk in response.iter_bytes(1 << 18):
                    out.write(chunk)
            out.flush()


@contextmanager
def _as_sdk_errors() -> Iterator[None]:
    """Raise truncated and unreadable responses as the SDK's connection errors."""
    try:
        yield
    except (ValueError, RecursionError) as error:  # also bad UTF-8, huge numbers, deep nesting
        raise _malformed(f"the response is truncated or not JSON: {error}") from error
    except (*timeout_errors, *connection_errors) as error:
        raise openai.APIConnectionError(
            message=f"the response broke off: {error}", request=new_request(_ERROR_URL)
        ) from error


def _validated(answer: Any, kind: type[_T]) -> _T:
    """The response, which must be of the expected type: a proxy may return a page of its own."""
    valid = _is_name(getattr(answer, "id", None)) and _is_name(getattr(answer, "status", None))
    if not isinstance(answer, kind) or not valid:
        raise _unexpected(kind.__name__, answer)
    return answer


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _unexpected(kind: str, answer: Any) -> MalformedAnswerError:
    return _malformed(f"expected a {kind}, but the response begins {str(answer)[:80]!r}")


def _malformed(message: str) -> MalformedAnswerError:
    return MalformedAnswerError(message=message, request=new_request(_ERROR_URL))


@dataclass(frozen=True, slots=True)
class BatchPage:
    """A page of the list of batches."""

    batches: list[Batch]
    unreadable: int
    """The number of entries that are no batch."""
    next_after: str | None
    """Where the next page starts; None: this is the last one."""


def created_at(batch: Batch) -> float | None:
    """When the batch was created, in seconds since the epoch; None: it does not say."""
    at: Any = batch.created_at
    return at if isinstance(at, (int, float)) else None


def tag_of(batch: Batch) -> str | None:
    """The tag of a batch made by flextier; None: it has none."""
    return batch.metadata.get(TAG) if isinstance(batch.metadata, dict) else None


def files_are_missing(batch: Batch) -> bool:
    """Whether an ended batch does not name a file yet that its counts say it has: it may be
    ``completed`` a moment before."""
    if batch.status == "failed":
        return False
    if batch.request_counts is None:
        return batch.status == "completed" and not (batch.output_file_id or batch.error_file_id)
    done, failed = (getattr(batch.request_counts, x, None) for x in ("completed", "failed"))
    return bool((done and not batch.output_file_id) or (failed and not batch.error_file_id))
