"""The stream that is a call's response: its limits, and the end of the call with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flextier.calls.report import CANCELLED, SERVED
from flextier.pricing.usage import estimated_usage
from flextier.routing.call import CallState
from flextier.routing.final_errors import deadline_error
from flextier.routing.reporting import NOTHING_BILLED

if TYPE_CHECKING:
    from flextier.routing.stream_journal import StreamJournal
    from flextier.transport.streams import StreamProgress


class OpenStream:
    """The call that a stream belongs to: a :class:`flextier.transport.streams.StreamOwner`."""

    __slots__ = ("_state",)

    def __init__(self, state: CallState) -> None:
        self._state = state

    @property
    def is_whole(self) -> bool:
        return self._state.whole is not None

    def stream_journal(self) -> StreamJournal | None:
        state = self._state
        if state.setting.entry is None or state.journaled is not None:
            return None
        from flextier.routing.stream_journal import StreamJournal

        return StreamJournal(state.journal, state.whole, state.call)

    @property
    def withholds_usage(self) -> bool:
        return not self._state.call.usage_requested

    @property
    def choices(self) -> int:
        """How many choices the stream will have."""
        return self._state.call.choices

    @property
    def ends_reads_in_time(self) -> bool:
        return self._state.transport.ends_reads_in_time

    @property
    def has_deadline(self) -> bool:
        return self._state.setting.policy.deadline is not None

    def silence_limit(self) -> float:
        return self._state.silence_limit()

    def deadline_error(self, request: Any) -> Exception | None:
        return deadline_error(self._state, request) if self._state.past_deadline else None

    def stream_ended(
        self, outcome: str, progress: StreamProgress, error: BaseException | None
    ) -> None:
        """End the call with its stream."""
        state, call = self._state, self._state.call
        if state.journaled is not None:
            progress.tier, progress.usage = None, NOTHING_BILLED
            state.finish(progress, error=error)
            return
        if error is not None and not isinstance(error, Exception):
            outcome = CANCELLED
        now = state.setting.clock.now()
        state.log.attempt_ended(now, outcome, 200, progress.request_id)
        (state.admission.served if outcome == SERVED else state.admission.release)(now)
        estimated = (
            progress.usage is None
            and outcome == SERVED
            and call.usage_requested is not False
            and progress.text_size > 0
        )
        if estimated:
            progress.usage = estimated_usage(call.body, progress.text_size)
        state.finish(progress, error=error, usage_estimated=estimated)
