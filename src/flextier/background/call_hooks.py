"""Callbacks that pass the events of a background response to the call's journal and report."""

from __future__ import annotations

from collections.abc import Callable

from flextier._utils.clock import Clock
from flextier._utils.formatting import seconds
from flextier.background.api import PolledResponse
from flextier.calls.log import CallLog
from flextier.journal.call_entry import CallEntry
from flextier.planning.admission import Admission


class CallHooks:
    """Callbacks of the response's lifecycle; none of them blocks."""

    __slots__ = ("_admission", "_clock", "_entry", "_lane", "_lines", "_model", "_on_finished")

    def __init__(
        self,
        entry: CallEntry | None,
        admission: Admission,
        clock: Clock,
        lane: str,
        model: str,
        on_finished: Callable[[PolledResponse], None],
        lines: CallLog | None = None,
    ) -> None:
        self._entry = entry
        self._admission = admission
        self._clock = clock
        self._lane = lane
        self._model = model
        self._on_finished = on_finished
        self._lines = lines

    @property
    def is_resumable(self) -> bool:
        """Whether a journal has the call, so that a later process can resume its response."""
        return self._entry is not None

    def accepted(self, response_id: str) -> None:
        """The response was created: record it in the journal first, then notify the limiter."""
        if self._entry is not None:
            self._entry.accepted(response_id, self._lane, self._model)
        self._admission.served(self._clock.now())
        self._log("created", f"background response {response_id} created on {self._lane}")

    def polled(self, last: PolledResponse, next_in: float) -> None:
        """The response was created or polled, and is polled again in ``next_in`` seconds."""
        if self._lines is not None:
            line = (
                f"background response {last.id} is {last.status}, next poll in {seconds(next_in)}"
            )
            self._log("polled", line)

    def ended(self, last: PolledResponse) -> None:
        """The response has ended."""
        self._log(last.status, f"background response {last.id} is {last.status}")

    def _log(self, status: str, line: str) -> None:
        if self._lines is not None:
            self._lines.background(status, line, f"on {self._lane}")

    def abandoned(self) -> None:
        """The response will not be resumed: the same call is sent again."""
        self._log("abandoned", f"a background response on {self._lane} is abandoned")
        if self._entry is not None:
            self._entry.discard_background()

    def finished_after_call(self, polled: PolledResponse) -> None:
        """The response has finished after its call ended: it is billed, and journaled."""
        self._on_finished(polled)
