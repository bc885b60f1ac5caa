"""One background response, from its creation to its end or cancellation.

:class:`BackgroundLifecycle` is a generator of steps: it decides which request to make and how long
to wait. ``runner.py`` makes the requests and waits, in a thread or a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from flextier._openai import public_names as openai
from flextier._openai.error_conversion import failure_of
from flextier._openai.http_library import new_request
from flextier._utils.clock import Clock
from flextier._utils.formatting import seconds
from flextier._utils.safe_warn import safe_warn
from flextier.background.api import PENDING, BackgroundRequests, PolledResponse, RawRequest, polled
from flextier.background.poll_schedule import MAX_UNSTORED_INTERVAL, MIN_POLL_INTERVAL, PollSchedule
from flextier.calls.log import CallLog
from flextier.errors import (
    BackgroundDetached,
    BackgroundLost,
    BackgroundUnfinished,
    ClientClosedError,
)
from flextier.journal.call_entry import CallEntry
from flextier.lanes import STANDARD, Lane
from flextier.lanes.failures import PERMANENT, Failure, classify
from flextier.lanes.retry_after import retry_after
from flextier.planning.fallback import CANCEL_TIME

_MAX_REJECTED_POLLS = 5
"""Rejected requests for a response in a row, after which it is given up."""

_MAX_UNREADABLE_POLLS = 5
"""Failed polls, after which a complete response without output is no fault of a poll."""

_QUEUED_VALID = 0.5
"""Seconds for which a poll that returned ``queued`` proves that the response has not begun."""

_CANCEL_TIMEOUT = 10.0
"""The most seconds for cancelling a response that no call waits for."""


@dataclass(frozen=True, slots=True)
class PollWait:
    """A step: wait for ``seconds``, or until woken."""

    seconds: float
    uninterruptible: bool = False
    """Whether it cannot be woken."""


Step: TypeAlias = "RawRequest | PollWait"
Steps: TypeAlias = "Generator[Step, Any, PolledResponse]"


@lru_cache(maxsize=1)
def warn_unstored() -> None:
    """Warn once that a journal cannot resume responses that are not stored."""
    safe_warn(
        "background responses that are not stored (store=False, or a project that keeps none) are "
        "deleted about ten minutes after their end: a program that restarts later cannot resume "
        "them from its journal, and sends the calls again"
    )


@dataclass(eq=False, slots=True)
class BackgroundLifecycle:
    """The steps of one response. One call owns it; ``stop`` is thread-safe."""

    requests: BackgroundRequests
    lane: Lane
    run_id: str | None
    """The continuation id of the run that the call is a step of; None: there is none."""
    schedule: PollSchedule
    """The poll schedule of its account."""
    clock: Clock
    entry: CallEntry | None
    """The call's journal entry, by which a later process can resume the response; None: none."""
    on_accepted: Callable[[str], None]
    """Called with the id of the created response."""
    on_finished: Callable[[PolledResponse], None]
    """Called if the response has finished after its call ended: it is billed."""
    log: CallLog | None
    max_interval: float
    """The most seconds between two polls."""
    cancel_at: float
    """Time at which it is cancelled, on the clock."""
    attempt_ends_by: float
    """Time at which the wait ends, cancelled or not."""
    response_id: str | None = None
    """None: it is not created yet."""
    stopping: str = field(default="", init=False)
    """Why the wait must end now: ``"closed"`` or ``"detached"``; empty: it goes on."""
    wake: Any = field(default=None, init=False)
    """Wakes the waiting thread or task."""
    _last: PolledResponse | None = field(default=None, init=False)
    _accepted_at: float = field(init=False)
    _polled_at: float = field(init=False)
    _rejected_polls: int = field(default=0, init=False)
    _warned_status: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._accepted_at = self._polled_at = now = self.clock.now()
        margin = min(CANCEL_TIME, max(0.0, self.attempt_ends_by - now) / 10)
        self.cancel_at = min(self.cancel_at, self.attempt_ends_by - margin)

    def stop(self, why: str) -> None:
        """End the wait soon: ``"closed"`` cancels the response, ``"detached"`` does not."""
        self.stopping = why
        if self.wake is not None:
            self.wake()

    @property
    def is_submitted(self) -> bool:
        """Whether the response is created and, when last polled, had not ended."""
        return self.response_id is not None and self._last is not None and not self._last.ended

    # --- the steps ----------------------------------------------------------------------------

    def steps(self) -> Steps:
        """The steps, which return the ended response: completed, incomplete or failed.

        Else they raise an error of ``flextier.errors``, or the SDK's where it was not created.
        """
        try:
            return (yield from self._poll_until_ended())
        except GeneratorExit:
            raise
        except BackgroundLost as lost:
            if lost.denied:  # polls are denied, but it may still be cancelled
                last = yield from self._try_cancel(
                    min(self.clock.now() + _CANCEL_TIMEOUT, self.attempt_ends_by)
                )
                if last is not None and last.status != "cancelled":
                    return last
            raise
        except (BackgroundUnfinished, BackgroundDetached, ClientClosedError):
            raise
        except BaseException as error:
            if self.response_id is not None and not isinstance(error, openai.APIError):
                last = yield from self._try_cancel(self.clock.now() + _CANCEL_TIMEOUT)
                if last is not None:
                    self.report_finished(last)
            raise

    def _poll_until_ended(self) -> Steps:
        last = yield from (self._create() if self.response_id is None else self._poll())
        while not last.ended:
            if last.status not in PENDING and last.status != self._warned_status:
                self._warned_status = last.status
                safe_warn(
                    f"background response {last.id} has the unknown status {last.status!r}: it is "
                    "polled as if it were in progress"
                )
            if self._must_stop():
                return (yield from self._cancel_or_detach())
            pause = self._next_poll_in()
            self._log(last.id, "polled", f"is {last.status}, next poll in {seconds(pause)}")
            yield PollWait(pause)
            # Another call's poll may have been rate limited meanwhile.
            if not self._must_stop() and not self.schedule.paused_for(self.clock.now()):
                last = yield from self._poll()
        self._log(last.id, last.status, f"is {last.status}")
        if last.status == "cancelled":
            raise self._unfinished("was cancelled by another client", billed=True)
        return last

    def _create(self) -> Steps:
        if self.stopping == "closed":
            raise ClientClosedError("the client was closed before the call was sent")
        left = self.attempt_ends_by - self.clock.now()
        last = polled((yield self.requests.create(self.lane, self.run_id, left)))
        if not last.ended:
            self.response_id = last.id
            self._accepted_at = self._polled_at = self.clock.now()
            self.on_accepted(last.id)
            self._log(last.id, "created", f"created on {self.lane.name}")
            if self.entry is not None and not last.stored:
                warn_unstored()
        self._last = last
        return last

    def _poll(self) -> Steps:
        """Poll the response; transient failures are retried."""
        assert self.response_id is not None
        attempts = 0
        while True:
            try:
                left = self.cancel_at - self.clock.now()
                last = polled((yield self.requests.poll(self.response_id, left)))
                if attempts < _MAX_UNREADABLE_POLLS:
                    last.check_output()
            except openai.APIError as error:
                attempts += 1
                pause = self._retry_wait(error, attempts)
                left = self.cancel_at - self.clock.now()
                yield PollWait(max(0.0, min(pause, left)))
                if self._must_stop():
                    return self._last_known()
                continue
            self.schedule.succeeded()
            self._rejected_polls, self._last, self._polled_at = 0, last, self.clock.now()
            return last

    def _last_known(self) -> PolledResponse:
        """Its last known state; of a resumed response before its first poll: in progress."""
        assert self.response_id is not None
        return self._last or PolledResponse(self.response_id, "in_progress", {}, b"", None)

    def _retry_wait(self, error: openai.APIError, attempts: int) -> float:
        """Seconds before the retry of a failed poll; raised if too many in a row were rejected."""
        failure = failure_of(error) or Failure()
        now, kind = self.clock.now(), classify(failure, STANDARD)
        if kind in PERMANENT:
            self._rejected_polls += 1
            if self._rejected_polls >= _MAX_REJECTED_POLLS:
                raise self._lost(error, gone=failure.status == 404)
        server_wait = retry_after(failure, kind, self.clock.wall())
        backoff = min(MIN_POLL_INTERVAL * 2.0 ** min(attempts, 20), 60.0) * (
            0.5 + self.clock.random() / 2
        )
        if kind == "rate_limited":
            self.schedule.rate_limited(now, server_wait or backoff)
            return self.schedule.interval(now, 0.0, self.max_interval, self.clock.random())
        return backoff if server_wait is None else server_wait * (1.0 + 0.2 * self.clock.random())

    def _next_poll_in(self) -> float:
        now, last = self.clock.now(), self._last_known()
        longest = min(self.max_interval, math.inf if last.stored else MAX_UNSTORED_INTERVAL)
        age = now - self._accepted_at
        seconds = self.schedule.interval(now, age, longest, self.clock.random())
        return max(0.0, min(max(seconds, last.poll_after), self.cancel_at - now))

    def _must_stop(self) -> bool:
        return bool(self.stopping) or self.clock.now() >= self.cancel_at

    def _cancel_or_detach(self) -> Steps:
        """Cancel the response; return it if it has finished first, else raise (:meth:`steps`)."""
        if self.stopping == "detached":
            raise BackgroundDetached(
                f"detached, as the program ends; background response {self.response_id} goes on, "
                "and the same call with the same journal (FLEXTIER_JOURNAL) gets its answer"
            )
        why = (
            "was cancelled, as its client was closed"
            if self.stopping
            else "was cancelled to keep FlexPolicy.deadline (FLEXTIER_DEADLINE) or the lane's "
            f"{self.lane.timeout_field} (FLEXTIER_{str(self.lane.timeout_field).upper()})"
        )
        now = self.clock.now()
        maybe_billed = (
            self._last_known().status != "queued" or now - self._polled_at > _QUEUED_VALID
        )
        # Closing the client waits for this, so the call's own limit does not apply.
        until = now + _CANCEL_TIMEOUT if self.stopping else self.attempt_ends_by
        last = yield from self._cancel(until)
        if last is not None and last.status != "cancelled":
            return last
        if last is None:
            why, maybe_billed = f"{why}, but cancelling failed: it may go on", True
        if self.stopping:  # a closed client sends the call on no other lane
            if last is not None:
                self._abandoned()
            raise ClientClosedError(f"background response {self.response_id} {why}")
        raise self._unfinished(why, billed=maybe_billed)

    def _cancel(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """The ended response, cancelled or not; None if cancelling could not be confirmed."""
        assert self.response_id is not None
        attempts = denied = 0
        while True:
            left = until - self.clock.now()
            request = self.requests.cancel(self.response_id, left)
            if attempts % 2:  # an ended response cannot be cancelled: poll it
                request = self.requests.poll(self.response_id, left)
            pause = MIN_POLL_INTERVAL / 4
            try:
                last = polled((yield request))
                if last.ended:
                    return last
            except openai.NotFoundError as error:
                raise self._lost(error, gone=True) from error
            except openai.APIError as error:
                status = getattr(error, "status_code", None)
                denied += status in (401, 403)
                if denied >= _MAX_REJECTED_POLLS:
                    return None
                if status in (400, 409) and not attempts % 2:
                    pause = 0.0  # it may have ended: poll it at once
            attempts += 1
            if self.clock.now() + pause >= until:
                return None
            if pause:
                yield PollWait(pause, uninterruptible=True)

    def report_finished(self, last: PolledResponse) -> None:
        """Report a response that has finished after its call ended."""
        if last.status in ("completed", "incomplete"):
            self.on_finished(last)

    def _try_cancel(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """As :meth:`_cancel`, but returns None where that raises."""
        try:
            last = yield from self._cancel(until)
        except (openai.OpenAIError, RuntimeError):  # no call is left to raise it in
            return None
        # Otherwise it stays in the journal: the same call can resume it.
        if last is not None and last.status not in ("completed", "incomplete"):
            self._abandoned()
        return last

    def _log(self, response_id: str | None, event: str, what: str) -> None:
        if self.log is not None:
            line = f"background response {response_id} {what}"
            self.log.background(event, line, f"on {self.lane.name}")

    def _abandoned(self) -> None:
        """The response will not be resumed: the same call is sent again."""
        self._log(self.response_id, "abandoned", f"on {self.lane.name} is abandoned")
        if self.entry is not None:
            self.entry.discard_background()

    def _unfinished(self, what: str, *, billed: bool) -> BackgroundUnfinished:
        self._abandoned()
        return BackgroundUnfinished(
            new_request("https://api.openai.com/v1/responses"),
            f"background response {self.response_id} {what}",
            response_id=self.response_id,
            possibly_billed=billed,
        )

    def _lost(self, error: Exception, *, gone: bool) -> BackgroundLost:
        """The error for a response that cannot be polled: it is gone, or access is denied."""
        why = f"cannot be polled: {error}"
        if gone:
            self._abandoned()
            why = (
                "is gone: a response that is not stored is deleted about ten minutes after its end"
            )
        lost = BackgroundLost(
            new_request("https://api.openai.com/v1/responses"),
            f"background response {self.response_id} {why}",
            response_id=self.response_id,
            denied=not gone,
        )
        lost.__cause__ = error
        return lost
