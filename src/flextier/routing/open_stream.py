"""The stream that is a call's response: its limits, and the end of the call with it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flextier.calls.report import CANCELLED, SERVED
from flextier.pricing.usage import estimated_usage
from flextier.routing.call import CallState
from flextier.routing.reporting import NOTHING_BILLED
from flextier.transport.streams import StreamOwner, StreamProgress

if TYPE_CHECKING:
    from flextier.routing.stream_journal import StreamJournal


def owner_of_stream(state: CallState) -> StreamOwner:
    """The call that the stream of its current attempt belongs to."""
    call, policy = state.call, state.setting.policy
    recorder: StreamJournal | None = None
    if state.setting.entry is not None and state.journaled is None:
        from flextier.routing.stream_journal import StreamJournal  # most programs have no journal

        recorder = StreamJournal(state.journal, state.whole, call)
    return StreamOwner(
        ended=partial(_stream_ended, state),
        silence_limit=state.silence_limit,
        deadline_error=partial(_deadline_error, state),
        recorder=recorder,
        has_deadline=policy.deadline is not None,
        is_whole=state.whole is not None,
        withholds_usage=not call.usage_requested,
        choices=call.choices,
        ends_reads_in_time=state.transport.ends_reads_in_time,
    )


def _deadline_error(state: CallState, request: Any) -> Exception | None:
    if not state.past_deadline:
        return None
    from flextier.routing.final_errors import deadline_error

    return deadline_error(state, request)


def _stream_ended(
    state: CallState, outcome: str, progress: StreamProgress, error: BaseException | None
) -> None:
    """End the call with its stream."""
    call = state.call
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
