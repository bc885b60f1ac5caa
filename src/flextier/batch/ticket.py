"""One call's place in a batch: what it waits for, and what came of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import IO, Any, Protocol

from flextier.batch.api import http_response, read_line, response_of
from flextier.batch.spool import Span
from flextier.clock import Clock
from flextier.journal.entry import Entry, Recorded

_LONGEST = 3600.0
"""Seconds between two looks of somebody who waits without end; not all event loops take more."""


class Outcome(Protocol):
    """What came of a line."""

    def response(self, request: Any) -> Any:
        """The HTTP response that the call would have had.

        Raises:
            openai.OpenAIError: there is none.
        """


class Ticket:
    """A call that waits for its line of a batch. Not shared, but settled by another thread."""

    __slots__ = (
        "_calls",
        "_clock",
        "_cut_by",
        "_lock",
        "_wake",
        "custom_id",
        "entry",
        "outcome",
        "span",
        "withdraw_by",
    )

    def __init__(
        self,
        custom_id: str,
        entry: Entry | None,
        clock: Clock,
        withdraw_by: float,
        cut_by: float,
        calls: Any,
        lock: threading.Lock,
    ) -> None:
        self.custom_id = custom_id
        self.entry = entry
        self.span: Span | None = None
        self.withdraw_by = withdraw_by
        """When the batch is to be cancelled, for this call's sake, on its clock."""
        self.outcome: Outcome | None = None
        """None: it is still to come."""
        self._cut_by = cut_by
        self._clock = clock
        self._wake: Callable[[], None] | None = None
        self._calls = calls
        self._lock = lock

    def look(self, wake: Callable[[], None]) -> float:
        """Seconds to wait, or until woken, before looking again; 0: it is over, or out of time."""
        with self._lock:
            if self.outcome is not None:
                return 0.0
            self._wake = wake
        return min(max(self._cut_by - self._clock.now(), 0.0), _LONGEST)

    def settle(self, outcome: Outcome) -> Callable[[], None] | None:
        """It is over, under the lock; what wakes who waits, to be called without it."""
        self.outcome = outcome
        wake, self._wake = self._wake, None
        return wake

    def move(self, calls: Any) -> None:
        """It waits among others now: under the lock, which they have in common."""
        self._calls = calls

    def leave(self) -> None:
        """Nobody waits any more."""
        if self._calls is not None:
            self._calls.left(self)


class Said:
    """A line of an output or error file; read when it is asked for, as there may be many."""

    __slots__ = ("_at", "_content", "_length", "_lock")

    def __init__(self, content: IO[bytes], lock: threading.Lock, at: int, length: int) -> None:
        self._content = content
        self._lock = lock
        self._at = at
        self._length = length

    def response(self, request: Any) -> Any:
        with self._lock:
            self._content.seek(self._at)
            line = self._content.read(self._length)
        told = response_of(read_line(line) or {})
        assert told is not None, "only lines with a response are handed over"
        return http_response(*told, request)


class Kept:
    """An answer that the journal has by now."""

    __slots__ = ("_said",)

    def __init__(self, said: Recorded) -> None:
        self._said = said

    def response(self, request: Any) -> Any:
        said = self._said
        return http_response(said.status, said.request_id, said.body, request)


class Refused:
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


class Failed:
    """An exception, made anew for each call that it ends."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[Any], Exception]) -> None:
        self._make = make

    def response(self, request: Any) -> Any:
        raise self._make(request)


class Free:
    """The line was never sent, or is gone: it is to be sent anew."""

    def response(self, request: Any) -> Any:
        raise AssertionError("a free line has no answer")


FREE = Free()
