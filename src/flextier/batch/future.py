"""The future of one call in a batch, and the outcomes that it can have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any, Protocol

from flextier._utils.clock import Clock
from flextier.batch.api import http_response, read_line, response_of
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
        "_attempt_ends_by", "_calls", "_clock", "_lock", "_wait", "also", "cancel_at", "custom_id",
        "entry", "outcome", "span",
    )  # fmt: skip

    def __init__(
        self,
        custom_id: str,
        entry: JournalEntry | None,
        clock: Clock,
        cancel_at: float,
        attempt_ends_by: float,
        calls: Any,
        lock: threading.Lock,
    ) -> None:
        self.custom_id = custom_id
        self.entry = entry
        self.span: LineSpan | None = None
        self.also: BatchFuture | None = None
        """The next call that waits for the same line."""
        self.cancel_at = cancel_at
        """Time at which this call needs its batch cancelled, on its clock."""
        self.outcome: LineOutcome | None = None
        """None: the call still waits."""
        self._attempt_ends_by = attempt_ends_by
        self._clock = clock
        self._wait: FutureWaiter | None = None
        self._calls = calls
        self._lock = lock

    def all(self) -> Iterator[BatchFuture]:
        """This future and the following ones of the same line."""
        future: BatchFuture | None = self
        while future is not None:
            yield future
            future = future.also

    def look(self, wait: FutureWaiter) -> float:
        """Seconds to wait, unless woken, before checking again; 0: settled, or out of time."""
        with self._lock:
            if self.outcome is not None:
                return 0.0
            self._wait = wait
        return max(self._attempt_ends_by - self._clock.now(), 0.0)

    def settle(self, outcome: LineOutcome) -> Callable[[], None] | None:
        """Set the outcome, under the lock; return what wakes the call, to be run without it."""
        self.outcome = outcome
        wait, self._wait = self._wait, None
        return None if wait is None else wait.wake

    def move(self, calls: Any) -> None:
        """Move to the calls of another batch: under the lock, which batches share."""
        self._calls = calls

    def leave(self) -> bool:
        """Stop waiting; return whether the line may have been sent."""
        sent: bool = self._calls is None or self._calls.left(self)
        if isinstance(self.outcome, ResultLine):
            self.outcome.unread()
        return sent


class UnreadResults:
    """Counts results that were passed to calls and not read yet, so that the next chunk can wait.

    Otherwise all calls of a batch would parse their responses at once, which takes memory.
    """

    __slots__ = ("_left", "_read")

    def __init__(self) -> None:
        self._left = 0
        self._read: SimpleQueue[None] = SimpleQueue()

    def more(self, count: int) -> None:
        """Count results that were passed to calls."""
        self._left += count

    def read(self) -> None:
        """Count one as read. Thread-safe."""
        self._read.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until all are read, or none for ``seconds``: an event loop may have ended."""
        with suppress(Empty):
            while self._left:
                self._read.get(timeout=seconds)
                self._left -= 1


class DownloadedFile:
    """A downloaded file, closed when the last result line of it is dropped."""

    __slots__ = ("file", "lock")

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.lock = threading.Lock()

    def read(self, at: int, length: int) -> bytes:
        """The bytes of one line."""
        with self.lock:
            self.file.seek(at)
            return self.file.read(length)

    def __del__(self) -> None:
        self.file.close()


class ResultLine:
    """A line of an output or error file; read on demand, as there may be many."""

    __slots__ = ("_at", "_content", "_length", "backlog")

    def __init__(self, content: DownloadedFile, at: int, length: int) -> None:
        self._content = content
        self._at = at
        self._length = length
        self.backlog: UnreadResults | None = None

    def unread(self) -> None:
        """Count it as read, so that the next chunk does not wait for it."""
        if self.backlog is not None:
            self.backlog.read()

    def response(self, request: Any) -> Any:
        self.unread()
        parsed = response_of(read_line(self._content.read(self._at, self._length)) or {})
        assert parsed is not None, "only lines with a response are handed over"
        return http_response(*parsed, request)


class JournaledResult:
    """A response that the journal has."""

    __slots__ = ("_said",)

    def __init__(self, said: JournaledResponse) -> None:
        self._said = said

    def response(self, request: Any) -> Any:
        said = self._said
        return http_response(said.status, said.request_id, said.body, request)


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
    """An exception, made for each call separately."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Any], Exception]) -> None:
        self._make = make

    def response(self, request: Any) -> Any:
        raise self._make(request)


class SendAgain:
    """The line was never sent, or is lost: the call is to be sent again."""

    def response(self, request: Any) -> Any:
        raise AssertionError("a line to send again has no response")


FREE = SendAgain()
