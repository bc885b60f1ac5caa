"""One call's place in a batch: what it waits for, and what came of it."""

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
    """What came of a line."""

    def response(self, request: Any) -> Any:
        """The HTTP response that the call would have had.

        Raises:
            openai.OpenAIError: there is none.
        """


class FutureWaiter(Protocol):
    """A waiting thread or task."""

    def wake(self) -> None:
        """From any thread."""


class BatchFuture:
    """A call that waits for its line of a batch. Not shared, but settled by another thread."""

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
        """The next one that waits for the same line."""
        self.cancel_at = cancel_at
        """When the batch is to be cancelled, for this call's sake, on its clock."""
        self.outcome: LineOutcome | None = None
        """None: it is still to come."""
        self._attempt_ends_by = attempt_ends_by
        self._clock = clock
        self._wait: FutureWaiter | None = None
        self._calls = calls
        self._lock = lock

    def all(self) -> Iterator[BatchFuture]:
        """This one and those after it that wait for the same line."""
        future: BatchFuture | None = self
        while future is not None:
            yield future
            future = future.also

    def look(self, wait: FutureWaiter) -> float:
        """Seconds to wait, or until woken, before looking again; 0: it is over, or out of time."""
        with self._lock:
            if self.outcome is not None:
                return 0.0
            self._wait = wait
        return max(self._attempt_ends_by - self._clock.now(), 0.0)

    def settle(self, outcome: LineOutcome) -> Callable[[], None] | None:
        """It is over, under the lock; what wakes who waits, to be called without it."""
        self.outcome = outcome
        wait, self._wait = self._wait, None
        return None if wait is None else wait.wake

    def move(self, calls: Any) -> None:
        """It waits among others now: under the lock, which they have in common."""
        self._calls = calls

    def leave(self) -> bool:
        """Abandon it; whether the line may have been sent."""
        sent: bool = self._calls is None or self._calls.left(self)
        if isinstance(self.outcome, ResultLine):
            self.outcome.unread()
        return sent


class UnreadResults:
    """Answers that were handed over and not read yet: the collector waits for that.

    Else all calls of a batch would be busy with their answers at once, which takes memory.
    """

    __slots__ = ("_left", "_read")

    def __init__(self) -> None:
        self._left = 0
        self._read: SimpleQueue[None] = SimpleQueue()

    def more(self, count: int) -> None:
        """So many were handed over."""
        self._left += count

    def read(self) -> None:
        """One was read, in whatever thread."""
        self._read.put(None)

    def wait(self, seconds: float) -> None:
        """Until all were read, or none for so long: an event loop may have ended before."""
        with suppress(Empty):
            while self._left:
                self._read.get(timeout=seconds)
                self._left -= 1


class DownloadedFile:
    """A downloaded file, which calls read from until the last of them has."""

    __slots__ = ("file", "lock")

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.lock = threading.Lock()

    def read(self, at: int, length: int) -> bytes:
        """A line."""
        with self.lock:
            self.file.seek(at)
            return self.file.read(length)

    def __del__(self) -> None:
        self.file.close()


class ResultLine:
    """A line of an output or error file; read when it is asked for, as there may be many."""

    __slots__ = ("_at", "_content", "_length", "backlog")

    def __init__(self, content: DownloadedFile, at: int, length: int) -> None:
        self._content = content
        self._at = at
        self._length = length
        self.backlog: UnreadResults | None = None

    def unread(self) -> None:
        """It will not be read, or needs no waiting."""
        if self.backlog is not None:
            self.backlog.read()

    def response(self, request: Any) -> Any:
        self.unread()
        parsed = response_of(read_line(self._content.read(self._at, self._length)) or {})
        assert parsed is not None, "only lines with a response are handed over"
        return http_response(*parsed, request)


class JournaledResult:
    """An answer that the journal has by now."""

    __slots__ = ("_said",)

    def __init__(self, said: JournaledResponse) -> None:
        self._said = said

    def response(self, request: Any) -> Any:
        said = self._said
        return http_response(said.status, said.request_id, said.body, request)


class ErrorResult:
    """An error answer for a call, in OpenAI's form; ``kind`` is its ``type``."""

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
    """An exception, created for each call that it ends."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Any], Exception]) -> None:
        self._make = make

    def response(self, request: Any) -> Any:
        raise self._make(request)


class SendAgain:
    """The line was never sent, or is gone: it is to be sent again."""

    def response(self, request: Any) -> Any:
        raise AssertionError("a free line has no answer")


FREE = SendAgain()
