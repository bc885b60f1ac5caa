"""The life cycle of one background response, from its creation to its end or cancellation.

Written once, as a generator of steps; who drives it makes the requests and waits, in a thread or in
a task (``driving.py``).
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
"""How often in a row we may be denied a response, before we believe it."""

_LASTING = frozenset({"rejected", "quota", "lane_unsupported", "stream_unverified"})
"""Failures that the next look would probably have, too."""

_FRESH = 0.5
"""Seconds within which what has not begun will hardly have begun."""

_DROPPED = 10.0
"""Seconds that cancelling may take when no call waits any more."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for the given seconds."""

    seconds: float
    deaf: bool = False
    """Whether to wait to the end, whatever news there is."""


Step: TypeAlias = "RawRequest | Pause"
Steps: TypeAlias = "Generator[Step, Any, PolledResponse]"


class LifecycleHooks(Protocol):
    """Who keeps the accounts of a response."""

    @property
    def is_known(self) -> bool:
        """Whether a journal knows it, so that it can go on without this process."""

    def accepted(self, response_id: str) -> None:
        """It was created: whatever happens from now on, this is what it is known by."""

    def called_off(self) -> None:
        """It is abandoned, and no other call is to wait for it."""

    def finished_unwatched(self, polled: PolledResponse) -> None:
        """It is finished and paid for, and who waited for it is gone."""


@lru_cache(maxsize=1)
def warn_unstored() -> None:
    """Say once what a journal cannot help with."""
    safe_warn(
        "background responses that are not stored (store=False, or a project that keeps none) are "
        "deleted about ten minutes after their end: a program that is away for longer does not "
        "find them by its journal, and makes them again"
    )


class BackgroundLifecycle:
    """One response. Not shared; ``stop`` may come from any thread."""

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
        """Begin.

        Args:
            requests: makes the requests.
            lane: what it is to be asked for as.
            run: the run that it is a step of.
            pace: how often its account may be asked.
            clock: the call's.
            account: who keeps the accounts.
            longest: the most seconds between two looks.
            cancel_at: when the pending response is cancelled, on the clock.
            attempt_ends_by: when the call goes on, whatever has become of that.
            response_id: of one that was created before; None: there is none yet.
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
        """Why it is to end now: ``"closed"`` or ``"detached"``; empty: it is not."""
        self.news: Any = None
        """What wakes who waits."""

    # --- from any thread ----------------------------------------------------------------------

    @property
    def is_known(self) -> bool:
        """Whether a journal knows the response."""
        return self._account.is_known

    def stop(self, why: str) -> None:
        """End it as soon as may be: ``"closed"``: cancelled; ``"detached"``: it goes on alone."""
        self.stopping = why
        if self.news is not None:
            self.news()

    # --- the steps ----------------------------------------------------------------------------

    def steps(self) -> Steps:
        """All of it; returns how it ended: completed, incomplete or failed.

        Raises:
            BackgroundUnfinished: it was cancelled, or left.
            BackgroundLost: it cannot be found any more.
            BackgroundDetached: it was detached.
            ClientClosedError: the client was closed; it was cancelled before, if it could be.
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
            # Another call may have been rate-limited meanwhile.
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
        """How it stands now; asked again, where asking failed in a way that passes.

        Raises:
            BackgroundLost: it cannot be found any more, or we may not ask.
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
        """What was known of it last; of one of an earlier run, that it was accepted."""
        assert self._id is not None
        return self._last or PolledResponse(self._id, "in_progress", {}, b"", None)

    def _pause_after(self, error: openai.APIError, tries: int) -> float:
        """Seconds until it should be asked again.

        Raises:
            BackgroundLost: it can no longer be polled.
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

    # --- when to look -------------------------------------------------------------------------

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
                f"background response {last.id}: its status {last.status!r} is not known to this "
                "flextier: it is waited for as if it were in progress"
            )

    # --- the end ------------------------------------------------------------------------------

    def _called_off(self) -> Steps:
        """Cancel it; what has finished by then is as good as ever.

        Raises:
            BackgroundUnfinished: it is cancelled, or may still run: the server did not answer.
            BackgroundDetached: it goes on.
            ClientClosedError: as BackgroundUnfinished, of a client that is closed.
        """
        if self.stopping == "detached":
            raise BackgroundDetached(
                f"the program is to end; background response {self._id} goes on, and with the same "
                "journal (FLEXTIER_JOURNAL) the answer will be found there"
            )
        why = (
            "was cancelled, as its client was closed"
            if self.stopping
            else "was left, so that FlexPolicy.deadline (FLEXTIER_DEADLINE) or the lane's "
            f"{self._lane.timeout_field} (FLEXTIER_{str(self._lane.timeout_field).upper()}) is kept"
        )
        now = self._clock.now()
        begun = self._known().status != "queued" or now - self._seen_at > _FRESH
        # A client that is closed waits for this, however long the call could wait.
        until = now + _DROPPED if self.stopping else self._attempt_ends_by
        last = yield from self._cancelled(until)
        if last is not None and last.status != "cancelled":
            return last
        if last is None:
            why, begun = f"{why}, and may go on: cancelling it failed", True
        if self.stopping:  # there is no next lane for it, either
            if last is not None:
                self._account.called_off()
            raise ClientClosedError(f"background response {self._id} {why}")
        raise self._unfinished(why, billed=begun)

    def _cancelled(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """How it ended, cancelled or not; None: unknown.

        Raises:
            BackgroundLost: it cannot be found any more.
        """
        assert self._id is not None
        tries = denials = 0
        while True:
            left = until - self._clock.now()
            asking = self._requests.cancel(self._id, left)
            if tries % 2:  # what has ended by itself cannot be cancelled: how did it end?
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
        """Cancel it, as far as that is possible now: no call waits any more."""
        last = yield from self._withdrawn(self._clock.now() + _DROPPED)
        if last is not None:
            self.unwatched(last)

    def unwatched(self, last: PolledResponse) -> None:
        """It has ended, and who waited for it is gone."""
        if last.status in ("completed", "incomplete"):
            self._account.finished_unwatched(last)

    def _withdrawn(self, until: float) -> Generator[Step, Any, PolledResponse | None]:
        """As :meth:`_cancelled`, whatever goes wrong."""
        try:
            last = yield from self._cancelled(until)
        except (openai.OpenAIError, RuntimeError):  # no one is left to be notified
            return None
        # One that may go on is found by the next same call with the same journal.
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
        """What to raise where the response cannot be asked about: it is gone, or denied to us."""
        if gone:
            self._account.called_off()
        why = "is not there any more: one that is not stored is deleted about ten minutes after"
        lost = BackgroundLost(
            new_request("https://api.openai.com/v1/responses"),
            f"background response {self._id} {why} its end"
            if gone
            else f"background response {self._id} may not be looked at: {error}",
            response_id=self._id,
            denied=not gone,
        )
        lost.__cause__ = error
        return lost
