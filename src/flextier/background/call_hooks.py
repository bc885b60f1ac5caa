"""Passes events of a background response to the call's journal, limiter and report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from openai.types.responses import Response

from flextier._utils.clock import Clock
from flextier.background.api import PolledResponse
from flextier.journal.call_entry import CallEntry
from flextier.planning.admission import Admission


class CallHooks:
    """Callbacks of the response's lifecycle; none of them blocks."""

    __slots__ = ("_clock", "_lane", "_memory", "_model", "_read", "_turn")

    def __init__(
        self,
        memory: CallEntry | None,
        turn: Admission,
        clock: Clock,
        lane: str,
        model: str,
        read: Callable[[PolledResponse, Any], None],
    ) -> None:
        self._memory = memory
        self._turn = turn
        self._clock = clock
        self._lane = lane
        self._model = model
        self._read = read

    @property
    def is_known(self) -> bool:
        """Whether a journal has an entry of the call."""
        return self._memory is not None

    def accepted(self, response_id: str) -> None:
        """The response was created: write it to the journal first, then notify the limiter."""
        if self._memory is not None:
            self._memory.accepted(response_id, self._lane, self._model)
        self._turn.served(self._clock.now())

    def called_off(self) -> None:
        """The response is abandoned: the same call will be sent again."""
        if self._memory is not None:
            self._memory.called_off()

    def finished_unwatched(self, polled: PolledResponse) -> None:
        """The response has finished after its call ended: billed, and in the journal."""
        self._read(polled, Response.construct(**polled.body))
