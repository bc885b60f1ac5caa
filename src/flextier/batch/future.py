"""The future of one call in a batch, and the outcomes that it can have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeAlias

from flextier._utils.clock import Clock
from flextier._utils.wakeup import TaskWait, ThreadWait
from flextier.batch.download import DownloadedFile
from flextier.batch.line_response import http_response, line_response, read_line
from flextier.batch.spool_file import LineSpan
from flextier.journal.records import JournalEntry

LineOutcome: TypeAlias = Callable[[Any], Any]
"""The outcome of a batch line: given the call's request, its HTTP response, or an error raised."""


@dataclass(eq=False, slots=True)
class BatchFuture:
    """A call that waits for its batch line. One call owns it; the batch thread settles it."""

    custom_id: str
    entry: JournalEntry | None
    clock: Clock
    cancel_at: float
    """Time at which this call needs its batch cancelled, on its clock."""
    attempt_ends_by: float
    lock: threading.Lock
    span: LineSpan | None = None
    outcome: LineOutcome | None = None
    """None: the call still waits."""
    calls: Any = None
    """The :class:`PendingCalls` of its batch; None: it is in no batch."""
    _wait: ThreadWait | TaskWait | None = None

    def seconds_to_wait(self, wait: ThreadWait | TaskWait) -> float:
        """Seconds that the call may wait, until ``wait`` is woken; 0: settled, or out of time."""
        with self.lock:
            if self.outcome is not None:
                return 0.0
            self._wait = wait
        return max(self.attempt_ends_by - self.clock.now(), 0.0)

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


@dataclass(slots=True)
class ResultLine:
    """A line of an output or error file; read on demand, as there may be many."""

    content: DownloadedFile
    endpoint: str
    offset: int
    length: int
    read: SimpleQueue[None] | None = None
    """Gets an item when the line is read, or not needed; None: nothing waits for that."""

    def mark_read(self) -> None:
        """Count it as read, so that the next chunk does not wait for it."""
        if self.read is not None:
            self.read.put(None)

    def __call__(self, request: Any) -> Any:
        self.mark_read()
        line = read_line(self.content.read(self.offset, self.length))
        found = line_response(line, self.endpoint)
        assert found is not None, "only lines with a response are passed to calls"
        return found.to_http(request)


def error_response(
    kind: str, code: str | None, message: str, param: str | None = None, status: int = 400
) -> LineOutcome:
    """The outcome that is an error response in OpenAI's form; ``kind`` is its ``type``."""
    error = {"type": kind, "code": code, "message": message, "param": param}
    return partial(http_response, status, None, json.dumps({"error": error}).encode())


def raised(make: Callable[[Any], Exception]) -> LineOutcome:
    """The outcome that is an exception; each call gets its own, made for its request."""

    def outcome(request: Any) -> Any:
        raise make(request)

    return outcome


def resubmit(request: Any) -> Any:
    """The outcome of a line that was not sent, or is lost: the call must be submitted again."""
    raise AssertionError("a call to submit again has no response")
