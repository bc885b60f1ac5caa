"""One call among the others of its run, and of its model: whether it is to wait for them."""

from __future__ import annotations

from flextier._utils.clock import Clock
from flextier.planning.auto_plan import MIN_BATCH_CALLS, RUN_STEP, TOO_FEW_CALLS
from flextier.planning.burst import BURSTS
from flextier.planning.run_steps import RUNS
from flextier.policy import FlexPolicy


class BurstMembership:
    """Made when the call begins; :meth:`leave` when it is over."""

    __slots__ = ("_clock", "_key", "_open", "_run", "_step")

    def __init__(self, run: str | None, key: tuple[str, str, str], clock: Clock) -> None:
        """Join.

        Args:
            run: the run that the call is part of; None: of none.
            key: base URL, account and model.
            clock: the call's.
        """
        self._run = run
        self._key = key
        self._clock = clock
        self._open = True
        self._step = run is not None and RUNS.call_started(run)

    def no_batch_reason(self, policy: FlexPolicy) -> str:
        """Why it is not to wait for others; empty: it may. To be asked once."""
        least = max(MIN_BATCH_CALLS, policy.batch_min_calls)
        worth = BURSTS.call_started(self._key, self._clock.now(), least)
        return RUN_STEP if self._step else "" if worth else TOO_FEW_CALLS

    def window_expired(self) -> None:
        """It has waited for others, and too few have come."""
        BURSTS.window_expired(self._key, self._clock.now())

    def leave(self) -> None:
        """The call is over."""
        if self._open:
            self._open = False
            BURSTS.call_ended(self._key)
            if self._run is not None:
                RUNS.call_ended(self._run)
