"""The lifecycle of one background response, from its creation to its end or cancellation.

A generator of steps; ``runner.py`` makes the requests and waits, in a thread or a task.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import openai

from flextier._openai.compat import failure_of, new_request
from flextier._utils.clock import Clock
from flextier._utils.safe_warn import safe_warn
from flextier.background.api import PENDING, BackgroundRequests, PolledResponse, RawRequest, polled
from flextier.background.poll_schedule import SOONEST, UNSTORED, PollSchedule
from flextier.errors import (
    BackgroundDetached,
    BackgroundLost,
    BackgroundUnfinished,
    ClientClosedError,
)
from flextier.lanes import STANDARD, Lane
from flextier.lanes.failures import Failure, classify
from flextier.lanes.retry_after import retry_after
from flextier.planning.fallback import CANCEL_TIME

_DENIALS = 5
"""Rejected polls in a row, until the response is given up."""

_LASTING = frozenset({"rejected", "quota", "lane_unsupported", "stream_unverified"})
"""Failures that the next poll would probably meet again."""

_FRESH = 0.5
"""Seconds for which a response that was seen in the queue counts as not begun."""

_DROPPED = 10.0
"""Seconds that cancelling may take when no call waits any more."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A step: wait for ``seconds``."""

    seconds: float
    deaf: bool = False
    """Whether the wait cannot be woken."""


Step: TypeAlias = "RawRequest | Pause"
Steps: TypeAlias = "Generator[Step, Any, PolledResponse]"


class LifecycleHooks(Protocol):
    """Callbacks for the events of a response."""

    @property
    def is_known(self) -> bool:
        """Whether a journal knows it, so that a later process can resume it."""

    def accepted(self, response_id: str) -> None:
        """It was created, with this id."""

    def called_off(self) -> None:
        """It is abandoned: no later call may resume it."""

    def finished_unwatched(self, polled: PolledResponse) -> None:
        """It has finished, and is billed, after its call ended."""


@lru_cache(maxsize=1)
def warn_unstored() -> None:
    """Warn once that a journal cannot resume responses that are not stored."""
    safe_warn(
        "background responses that are not stored (store=False, or a project that keeps none) are "
        "deleted about ten minutes after their end: a program that restarts later cannot resume "
        "them from its journal, and sends the calls again"
    )


class BackgroundLifecycle:
    """The steps of one response. One call owns it; ``stop`` is thread-safe."""

    __slots__ = (
        "_accepted_at", "_account", "_attempt_ends_by", "_backoff", "_cancel_at", "_clock",
        "_denied", "_id", "_lane", "_last", "_longest", "_pace", "_requests", "_run", "_seen_at",
        "_wondered", "news", "stopping",
    )  # fmt: skip

    def __init__(
        self,
        requests: BackgroundRequests,
        lane: Lane,
        run: str | None,
        pace: PollSchedule,
        clock: Clock,
        account: LifecycleHooks,
        longest: float,
        cancel_at: float,
        attempt_ends_by: float,
        response_id: str | None = None,
    ) -> None:
        """Make no request yet.

        Args:
            requests: makes the requests.
            lane: its lane.
            run: the continuation id of its run.
            pace: the poll schedule of its account.
            clock: the call's.
            account: is notified of its events.
            longest: the most seconds between two polls.
            cancel_at: time at which it is cancelled, on the clock.
            attempt_ends_by: time at which the wait ends, cancelled or not.
            response_id: id of a response to resume; None: create one.
        """
        self._requests = requests
        self._lane = lane
        self._run = run
        self._pace = pace
        self._clock = clock
        self._account = account
        self._longest = longest
        now = clock.now()
        room = min(CANCEL_TIME, max(0.0, attempt_ends_by - now) / 10)
        self._cancel_at = min(cancel_at, attempt_ends_by - room)
        self._attempt_ends_by = attempt_ends_by
        self._id = response_id
        self._last: PolledResponse | None = None
        self._accepted_at = self._seen_at = now
        self._denied = 0
        self._wondered = ""
        self.stopping: str = ""
        """Why the wait is to end now: ``"closed"`` or ``"detached"``; empty: it is not."""
        self.news: Any = None
        """Wakes the waiting thread or task."""

    # --- from any thread ----------------------------------------------------------------------

    @property
    def is_known(self) -> bool:
        """Whether a journal knows the response."""
        return self._account.is_known

    def stop(self, why: str) -> None:
        """End the wait soon: ``"closed"`` cancels the response, ``"detached"`` does not."""
        self.stopping = why
        if self.news is not None:
            self.news()

    # --- the steps ----------------------------------------------------------------------------

    def steps(self) -> Steps:
        """The ended response: completed, incomplete or failed.

        Raises:
            BackgroundUnfinished: it was cancelled, or the wait ended.
            BackgroundLost: it cannot be found any more.
            BackgroundDetached: it was detached.
            ClientClosedError: the client was closed; it was cancelled first, if possible.
            openai.OpenAIError: it was not created.
        """
        try:
            return (yield from self._followed())
        except GeneratorExit:
            raise
        except BackgroundLost as lost:
            if lost.denied:  # it goes on, and is paid for, unless we may cancel it
                last = yield from self._withdrawn(
                    min(self._clock.now() + _DROPPED, self._attempt_ends_by)
                )
                if last is not None and last.status != "cancelled":
                    return last
            raise
        except (BackgroundUnfinished, BackgroundDetached, ClientClosedError):
            raise
        except BaseException as error:
            if self._id is not None and not isinstance(error, openai.APIError):
                yield from self._dropped()
            raise

    def _followed(self) -> Steps:
        last = yield from (self._created() if self._id is None else self._looked())
        while not last.ended:
            self._wonder(last)
            if self._is_to_stop():
                return (yield from self._called_off())
            yield Pause(self._seconds())
            # Another call's poll may have been rate limited meanwhile.
            if not self._is_to_stop() and not self._pace.opens_in(self._clock.now()):
                last = yield from self._looked()
        if last.status == "cancelled":
            raise self._unfinished("was cancelled by another client", billed=True)
        return last

    def _created(self) -> Steps:
        if self.stopping == "closed":
            raise ClientClosedError("the client was closed before the call was sent")
        left = self._attempt_ends_by - self._clock.now()
        last = polled((yield self._requests.create(self._lane, self._run, left)))
        if not last.ended:
            self._id = last.id
            self._accepted_at = self._seen_at = self._clock.now()
            self._account.accepted(last.id)
            if self._account.is_known and not last.stored:
                warn_unstored()
        self._last = last
        return last

    def _looked(self) -> Steps:
        """Poll the response; transient failures are retried.

        Raises:
            BackgroundLost: it cannot be found any more, or polls are denied.
        """
        assert self._id is not None
        tries = 0
        while True:
            try:
                left = self._cancel_at - self._clock.now()
                last = polled((yield self._requests.look(self._id, left)))
            except openai.APIError as error:
                tries += 1
                pause = self._pause_after(error, tries)
                left = self._cancel_at - self._clock.now()
                yield Pause(max(0.0, min(pause, left)))
                if self._is_to_stop():
                    return self._known()
                continue
            self._pace.answered()
            self._denied, self._last, self._seen_at = 0, last, self._clock.now()
            return last

    def _known(self) -> PolledResponse:
        """Its last known state; of a resumed response before its first poll: in progress."""
        assert self._id is not None
        return self._last or PolledResponse(self._id, "in_progress", {}, b"", None)

    def _pause_after(self, error: openai.APIError, tries: int) -> float:
        """Seconds before the retry of a failed poll.

        Raises:
            BackgroundLost: polls were rejected too often in a row.
        """
        failure = failure_of(error) or Failure()
        now, kind = self._clock.now(), classify(failure, STANDARD)
        if kind in _LASTING:
            self._denied += 1
            if self._denied >= _DENIALS:
                raise self._lost(error, failure.status == 404)
        server_wait = retry_after(failure, kind, self._clock.wall())
        backoff = min(SOONEST * 2.0 ** min(tries, 20), 60.0) * (0.5 + self._clock.random() / 2)
        if kind == "rate_limited":
            self._pace.refused(now, server_wait or backoff)
            return self._pace.interval(now, 0.0, self._longest, self._clock.random())
        return backoff if server_wait is None else server_wait * (1.0 + 0.2 * self._clock.random())

    # --- when to poll -------------------------------------------------------------------------

    def _seconds(self) -> float:
        now = self._clock.now()
        longest = self._longest
        if self._last is not None and not self._last.stored:
            longest = min(longest, UNSTORED)
        seconds = self._pace.interval(now, now - self._accepted_at, longest, self._clock.random())
        return max(0.0, min(seconds, self._cancel_at - now))

    def _is_to_stop(self) -> bool:
        return bool(self.stopping) or self._clock.now() >= self._cancel_at

    def _wonder(self, last: PolledResponse) -> None:
        if last.status not in PENDING and last.status != self._wondered:
            self._wondered = last.status
            safe_warn(
                f"background response {last.id} has the unknown status {last.status!r}: waited "
                "for as if it were in progress"
            )

    # --- the end ------------------------------------------------------------------------------

    def _called_off(self) -> Steps:
        """Cancel the response; return it if it has finished first.

        Raises:
            BackgroundUnfinished: it is cancelled, or cancelling failed.
            BackgroundDetached: it goes on.
            ClientClosedError: as BackgroundUnfinished, if the client was closed.
        """
        if self.stopping == "detached":
            raise BackgroundDetached(
                f"detached, as the program ends; background response {self._id} goes on, "
                "and the same call with the same journal (FLEXTIER_JOURNAL) gets its answer"
            )
        why = (
            "was cancelled, as its client was closed"
            if self.stopping
            else "was cancelled to keep FlexPolicy.deadline (FLEXTIER_DEADLINE) or the lane's "
            f"{self._lane.timeout_field} (FLEXTIER_{str(self._lane.timeout_field).upper()})"
        )
        now = self._clock.now()
        begun = self._known().status != "queued" or now - self._seen_at > _FRESH
        # Closing the client waits for this, however long the call could wait.
        until = now + _DROPPED if self.stopping else self._attempt_ends_by
        last = yield from self._cancelled(until)
        if last is not None and last.status != "cancelled":
            return last
        if last is None:
            why, begun = f"{why}, but cancelling failed: it may go on", True
        if self.stopping:  # there is no next lane for it, either
            if last is not None:
                self._account.called_off()
            raise ClientClosedError(f"background response {self._id} {why}")
        raise self._unfinished(why, billed=begun)

    def _cancelled(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """The ended response, cancelled or not; None if cancelling could not be confirmed.

        Raises:
            BackgroundLost: it cannot be found any more.
        """
        assert self._id is not None
        tries = denials = 0
        while True:
            left = until - self._clock.now()
            asking = self._requests.cancel(self._id, left)
            if tries % 2:  # an ended response cannot be cancelled: poll it
                asking = self._requests.look(self._id, left)
            try:
                last = polled((yield asking))
                if last.ended:
                    return last
                pause = SOONEST / 4
            except openai.NotFoundError as error:
                raise self._lost(error, True) from error
            except openai.APIStatusError as error:
                denials += error.status_code in (401, 403)
                if denials >= _DENIALS:
                    return None
                pause = 0.0 if error.status_code in (400, 409) and not tries % 2 else SOONEST / 4
            except openai.APIError:
                pause = SOONEST / 4
            tries += 1
            if self._clock.now() + pause >= until:
                return None
            if pause:
                yield Pause(pause, deaf=True)

    def _dropped(self) -> Generator[Step, Any, None]:
        """Cancel the response of a call that does not wait any more, if possible."""
        last = yield from self._withdrawn(self._clock.now() + _DROPPED)
        if last is not None:
            self.unwatched(last)

    def unwatched(self, last: PolledResponse) -> None:
        """Report a response that has ended after its call."""
        if last.status in ("completed", "incomplete"):
            self._account.finished_unwatched(last)

    def _withdrawn(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """As :meth:`_cancelled`, but errors return None."""
        try:
            last = yield from self._cancelled(until)
        except (openai.OpenAIError, RuntimeError):  # no call is left to raise it in
            return None
        # A response that may go on can be resumed by the same call with the same journal.
        if last is not None and last.status not in ("completed", "incomplete"):
            self._account.called_off()
        return last

    def _unfinished(self, what: str, *, billed: bool) -> BackgroundUnfinished:
        self._account.called_off()
        return BackgroundUnfinished(
            new_request("https://api.openai.com/v1/responses"),
            f"background response {self._id} {what}",
            response_id=self._id,
            possibly_billed=billed,
        )

    def _lost(self, error: Exception, gone: bool) -> BackgroundLost:
        """The error for a response that cannot be polled: it is gone, or access is denied."""
        if gone:
            self._account.called_off()
        why = "is gone: a response that is not stored is deleted about ten minutes after"
        lost = BackgroundLost(
            new_request("https://api.openai.com/v1/responses"),
            f"background response {self._id} {why} its end"
            if gone
            else f"background response {self._id} cannot be polled: {error}",
            response_id=self._id,
            denied=not gone,
        )
        lost.__cause__ = error
        return lost
