"""The log: retries, waits, fallbacks with their extra cost, batches, background responses.

The standard logger ``flextier``; ``FLEXTIER_LOG`` switches it on, as ``OPENAI_LOG`` does the SDK's.
No line has anything of prompts, responses, keys or headers.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from urllib.parse import urlsplit

from flextier._utils.clock import Clock
from flextier._utils.formatting import count, dollars, plain, seconds
from flextier._utils.safe_warn import safe_warn
from flextier.calls.gathered_lines import LINES, LOG
from flextier.calls.report import Attempt, CallReport
from flextier.capacity import AccountKey, Limiter
from flextier.capacity.queue_state import WaitCause
from flextier.variables import LOG as VARIABLE
from flextier.variables import setting

_LASTING = 1.0
"""Seconds of a wait that are worth a line."""

_CAUSES: dict[WaitCause, str] = {
    "full": "is full",
    "shut": "is shut by the server's Retry-After",
    "paced": "is at its rate limit",
    "open": "is busy",
}
"""Of each cause of a wait, what the lane is."""

_FAR = 12 * 3600.0


def set_up() -> None:
    """Write the log to standard error, if ``FLEXTIER_LOG`` says so: ``info`` or ``debug``."""
    level = setting(VARIABLE).upper()
    if level in ("INFO", "DEBUG"):
        logging.basicConfig(
            format="[%(asctime)s - %(name)s - %(levelname)s] %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S",
        )
        LOG.setLevel(level)
    elif level:
        safe_warn(f"{VARIABLE}={setting(VARIABLE)!r} has no effect: must be info or debug")


class CallLog:
    """Writes the log of one call."""

    __slots__ = ("_account", "_clock", "_model", "debug")

    def __init__(self, account: AccountKey, model: str, clock: Clock) -> None:
        self._account = account
        self._model = plain(model, 80)
        self._clock = clock
        self.debug = LOG.isEnabledFor(logging.DEBUG)
        """Whether what is ordinary is written, too."""
        LINES.begins()

    def _event(
        self, more: tuple[str, str], line: str, cause: str, extra: Decimal | None = None
    ) -> None:
        where = (*self._account, self._model)
        LINES.event(where, self._clock.now(), more, line, cause, extra)

    def admitted(self, lane: str, number: int, waited: float) -> None:
        """An attempt is sent."""
        server = _shown(self._account.base_url)
        LOG.debug(
            "%s: attempt %d on %s of %s, %s waited", self._model, number, lane, server,
            seconds(waited),
        )  # fmt: skip

    def waiting(self, limiter: Limiter, lane: str, waited: float, following: str | None) -> None:
        """The call waits for a lane.

        Args:
            limiter: that of its model.
            lane: the lane.
            waited: seconds that it has waited so far, all waits together.
            following: the next lane; None: there is none.
        """
        now, where = self._clock.now(), (*self._account, self._model, lane)
        if not LINES.wait_is_due(where, now):
            return
        queue = limiter.queue(lane, now)
        if not queue.waiting or max(queue.opens_in, waited) < _LASTING:
            return
        LINES.wait_reported(where, now)
        end = f"falling back to {following}" if following else "giving up"
        LOG.info(
            "%s %s for %s: %s waiting, %d in flight, next %s %s%s",
            lane,
            _CAUSES[queue.cause],
            self._model,
            count(queue.waiting, "call"),
            queue.in_flight,
            "probe" if queue.cause == "full" else "attempt",
            f"in {seconds(queue.opens_in)}" if queue.opens_in >= _LASTING else "within a second",
            ""
            if queue.first_until == math.inf
            else f", {end} {'from' if queue.waiting > 1 else 'at'} "
            f"{self._time(queue.first_until - now)}{' on' if queue.waiting > 1 else ''}",
        )

    def _time(self, left: float) -> str:
        at = time.localtime(self._clock.wall() + left)
        return time.strftime("%Y-%m-%d %H:%M" if left > _FAR else "%H:%M:%S", at)

    def not_admitted(self, lane: str, elapsed: float, following: str) -> None:
        """The call leaves a lane that did not admit it."""
        line = f"not admitted on {lane} after {seconds(elapsed)}, falling back to {following}"
        self._event(("call left a lane", "calls left a lane"), line, lane)

    def failed(self, attempts: Sequence[Attempt], following: str, wait: float) -> None:
        """An attempt has failed, and a further one follows.

        Args:
            attempts: those of the call so far.
            following: the lane of the next one.
            wait: seconds until then, at least.
        """
        last = attempts[-1]
        status = "" if last.status is None else f" {last.status}"
        cause = f"{last.outcome}{status} on {last.lane}"
        action = "retrying on" if following == last.lane else "falling back to"
        later = f" in {seconds(wait)}" if wait >= _LASTING else ""
        line = (
            f"attempt {len(attempts)} failed after {seconds(last.seconds)} ({cause}), "
            f"{action} {following}{later}"
        )
        self._event(("attempt failed", "attempts failed"), line, cause)

    def background(self, status: str, line: str, lane: str) -> None:
        """A background response is created, or polled, or has ended: ``status``."""
        more = (f"background response {status}", f"background responses {status}")
        self._event(more, line, lane)

    def ended(self, report: CallReport) -> None:
        """The call has ended."""
        took = seconds(report.elapsed)
        if report.served and report.fallback is not None:
            premium = report.premium
            cost = ", extra cost not known" if premium is None else f", {dollars(premium)} more"
            if report.fallback == "lane_unsupported":
                cost = ""  # the model has no such lane
            cause: str = report.fallback
            if cause == "unfinished" and report.attempts[0].lane != report.first_lane:
                cause = report.why or cause
            line = (
                f"answered on {report.lane} instead of {report.first_lane} after {took} "
                f"({cause}){cost}"
            )
            self._event(("call fell back", "calls fell back"), line, cause, premium)
        elif report.served and (report.waited >= _LASTING or len(report.attempts) > 1):
            line = f"answered on {report.lane} after {took}"
            self._event(("call answered", "calls answered"), line, f"on {report.lane}")
        elif self.debug:
            end = f"answered on {report.lane}" if report.served else f"ended with {report.error}"
            LOG.debug("%s: %s after %s, call %s", self._model, end, took, report.id)
        LINES.ends()


@lru_cache(maxsize=64)
def _shown(url: str) -> str:
    """An address without user info and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


set_up()
