"""Executors of responses that no connection waits for: from the journal, a batch, the background,
or made for a quote.

Imported by the first call that needs them: most programs have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flextier._openai.error_conversion import timeout_error
from flextier.background.api import BackgroundRequests, PolledResponse
from flextier.background.lifecycle import BackgroundLifecycle
from flextier.background.poll_schedule import POLL_SCHEDULES
from flextier.background.waiters import waiters_of
from flextier.batch.failed_outcomes import not_written
from flextier.batch.future import BatchFuture, resubmit
from flextier.batch.line_response import http_response
from flextier.batch.manager import MANAGERS, BatchCall
from flextier.calls.answer import Answer
from flextier.routing.call import CallState
from flextier.routing.steps import Background, Pause, Served, Steps


def replay(state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
    """Get the response that the journal has."""
    record = state.journaled
    assert record is not None
    transport = state.transport
    response = http_response(record.status, record.request_id, record.body, transport.new_request())
    return (yield from transport.read(state, response))


def local(state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
    """Get the response that a quote makes in this process."""
    transport, answers = state.transport, state.setting.scope.local
    assert answers is not None
    names = [lane.name for lane in state.plan.lanes]
    lanes = tuple(names[names.index(state.ladder.lane.name) :])  # for the others time is too short
    status, content = answers(transport.facts(), lanes)
    response = http_response(status, None, content, transport.new_request())
    return (yield from transport.read(state, response))


def batch(state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
    """Get the response of a line of a batch."""
    wait, transport = new_wait(), state.transport
    while True:
        yield from _duplicate_ended(state)
        if state.journaled is not None:
            return (yield from replay(state, new_wait))
        future = _submit(state)
        try:
            wait.prepare()
            while (seconds := future.seconds_to_wait(wait)) > 0:
                yield Pause(seconds, wait)
                wait.prepare()
        except BaseException:
            state.unsent = not future.cancel()
            raise
        if future.outcome is None:
            future.cancel()
            raise timeout_error(transport.new_request())
        if future.outcome is not resubmit:
            response = future.outcome(transport.new_request())
            return (yield from transport.read(state, response))
        if state.setting.entry is not None:
            state.setting.entry.batch_line_failed()


def _submit(state: CallState) -> BatchFuture:
    """Add the call to the next batch, or find the batch that it is in.

    Raises:
        BatchNotSent: its line cannot be written to disk.
        JournalError: the journal cannot be used.
    """
    transport, setting = state.transport, state.setting
    call = BatchCall(
        setting.account,
        transport.facts(),
        setting.policy,
        setting.clock,
        setting.entry,
        state.ladder,
    )
    try:
        return MANAGERS.of(setting.account, setting.clock.now()).submit(transport.client, call)
    except OSError as error:
        raise not_written(transport.new_request(), error) from error


def background(state: CallState, new_wait: Callable[[], Any]) -> Steps[Served]:
    """Get a background response, or the one that was already accepted for the call."""
    yield from _duplicate_ended(state)
    if state.journaled is not None:
        return (yield from replay(state, new_wait))
    transport = state.transport
    polled = yield Background(
        _lifecycle(state), waiters_of(transport.client._client), transport.send_raw
    )
    state.held = polled.answered_directly
    response = http_response(200, polled.request_id, polled.content, transport.new_request())
    return (yield from transport.read(state, response))


def _lifecycle(state: CallState) -> BackgroundLifecycle:
    setting, ladder, run = state.setting, state.ladder, state.setting.scope.run
    entry, lane, clock = setting.entry, ladder.lane, setting.clock
    resumed = None if entry is None else entry.background_response
    seconds = setting.policy.attempt_timeout(lane.name)

    def accepted(response_id: str) -> None:
        if entry is not None:
            entry.accepted(response_id, lane.name, state.call.model)
        state.admission.served(clock.now())

    def finished(polled: PolledResponse) -> None:
        state.held = polled.answered_directly
        state.transport.answer = Answer(polled.body, polled.content, polled.request_id)

    return BackgroundLifecycle(
        requests=BackgroundRequests(state.transport.options, state.tier),
        lane=lane,
        run_id=None if run is None else run(),
        schedule=POLL_SCHEDULES.of(setting.account, clock.now()),
        clock=clock,
        entry=entry,
        on_accepted=accepted,
        on_finished=finished,
        log=state.lines,
        max_interval=setting.policy.background_poll_interval,
        cancel_at=ladder.cancel_at,
        attempt_ends_by=min(ladder.attempt_ends_by, clock.now() + seconds),
        response_id=None if resumed is None else resumed.response_id,
    )


def _duplicate_ended(state: CallState) -> Steps[None]:
    """Wait for another call with the same body, whose response this one gets."""
    entry = state.setting.entry
    if entry is None:
        return
    while True:
        entry.refresh()
        if not entry.is_busy or (seconds := entry.recheck(state.ladder.cancel_at)) <= 0:
            return
        yield Pause(seconds)
