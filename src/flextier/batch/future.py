"""The future of one call in a batch, and the outcomes that it can have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from flextier._utils.clock import Clock
from flextier.batch.download import DownloadedFile
from flextier.batch.line_response import http_response, line_response, read_line
from flextier.batch.spool_file import LineSpan
from flextier.journal.records import JournaledResponse, JournalEntry


class LineOutcome(Protocol):
    """The outcome of a batch line: a response or an error."""

    def response(self, request: Any) -> Any:
        """The HTTP response for the call.

        Raises:
            openai.OpenAIError: there is no response.
        """


class FutureWaiter(Protocol):
    """Wakes the thread or task of a waiting call."""

    def wake(self) -> None:
        """End the wait. Thread-safe."""


class BatchFuture:
    """A call that waits for its batch line. One call owns it; the batch thread settles it."""

    __slots__ = (
        "_attempt_ends_by", "_clock", "_lock", "_wait", "calls", "cancel_at", "custom_id", "entry",
        "next_duplicate", "outcome", "span",
    )  # fmt: skip

    def __init__(
        self,
        custom_id: str,
        entry: JournalEntry | None,
        clock: Clock,
        cancel_at: float,
        attempt_ends_by: float,
        lock: threading.Lock,
    ) -> None:
        self.custom_id = custom_id
        self.entry = entry
        self.span: LineSpan | None = None
        self.next_duplicate: BatchFuture | None = None
        """Another call that waits for the same line; None: no further one."""
        self.cancel_at = cancel_at
        """Time at which this call needs its batch cancelled, on its clock."""
        self.outcome: LineOutcome | None = None
        """None: the call still waits."""
        self._attempt_ends_by = attempt_ends_by
        self._clock = clock
        self._wait: FutureWaiter | None = None
        self._lock = lock
        self.calls: Any = None
        """The :class:`PendingCalls` of its batch; None: it is in no batch."""

    def with_duplicates(self) -> Iterator[BatchFuture]:
        """This future, and those of the other calls that wait for the same line."""
        future: BatchFuture | None = self
        while future is not None:
            yield future
            future = future.next_duplicate

    def seconds_to_wait(self, wait: FutureWaiter) -> float:
        """Seconds that the call may wait, until ``wait`` is woken; 0: settled, or out of time."""
        with self._lock:
            if self.outcome is not None:
                return 0.0
            self._wait = wait
        return max(self._attempt_ends_by - self._clock.now(), 0.0)

    def settle(self, outcome: LineOutcome) -> Callable[[], None] | None:
        """Set the outcome, with the lock held; return the function that wakes the call, to be run
        without it."""
        self.outcome = outcome
        wait, self._wait = self._wait, None
        return None if wait is None else wait.wake

    def cancel(self) -> bool:
        """Stop waiting; return whether the line may have been sent."""
        sent = self.calls is None or self.calls.remove(self)
        if isinstance(self.outcome, ResultLine):
            self.outcome.mark_read()
        return sent


class UnreadResults:
    """Counts the results that were passed to calls and are not read yet.

    The next chunk of results waits for them: it would take much memory if all calls of a batch
    parsed their responses at once.
    """

    __slots__ = ("_left", "_read")

    def __init__(self) -> None:
        self._left = 0
        self._read: SimpleQueue[None] = SimpleQueue()

    def add(self, count: int) -> None:
        """Count results that were passed to calls."""
        self._left += count

    def mark_read(self) -> None:
        """Count one as read. Thread-safe."""
        self._read.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until all are read, or none was for ``seconds``: an event loop may have ended."""
        with suppress(Empty):
            while self._left:
                self._read.get(timeout=seconds)
                self._left -= 1


class ResultLine:
    """A line of an output or error file; read on demand, as there may be many."""

    __slots__ = ("_content", "_endpoint", "_length", "_offset", "unread_results")

    def __init__(self, content: DownloadedFile, endpoint: str, offset: int, length: int) -> None:
        self._content = content
        self._endpoint = endpoint
        self._offset = offset
        self._length = length
        self.unread_results: UnreadResults | None = None

    def mark_read(self) -> None:
        """Count it as read, so that the next chunk does not wait for it."""
        if self.unread_results is not None:
            self.unread_results.mark_read()

    def response(self, request: Any) -> Any:
        self.mark_read()
        line = read_line(self._content.read(self._offset, self._length))
        found = line_response(line, self._endpoint)
        assert found is not None, "only lines with a response are passed to calls"
        return found.to_http(request)


class JournaledResult:
    """A response from the journal."""

    __slots__ = ("_stored",)

    def __init__(self, stored: JournaledResponse) -> None:
        self._stored = stored

    def response(self, request: Any) -> Any:
        stored = self._stored
        return http_response(stored.status, stored.request_id, stored.body, request)


class ErrorResult:
    """An error response in OpenAI's form; ``kind`` is its ``type``."""

    __slots__ = ("_error", "_status")

    def __init__(
        self, kind: str, code: str | None, message: str, param: str | None = None, status: int = 400
    ) -> None:
        self._error = {"type": kind, "code": code, "message": message, "param": param}
        self._status = status

    def response(self, request: Any) -> Any:
        body = json.dumps({"error": self._error}).encode()
        return http_response(self._status, None, body, request)


class RaisedError:
    """An exception; each call gets its own."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Any], Exception]) -> None:
        self._make = make

    def response(self, request: Any) -> Any:
        raise self._make(request)


class Resubmit:
    """The line was not sent, or is lost: the call must be submitted again."""

    def response(self, request: Any) -> Any:
        raise AssertionError("a call to submit again has no response")


RESUBMIT = Resubmit()
