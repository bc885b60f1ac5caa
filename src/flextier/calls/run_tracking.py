"""Runs of several calls: when frameworks track them, and which calls are steps of a run."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from flextier._utils.fork import after_fork_in_child
from flextier.lanes import AUTO, EXECUTIONS
from flextier.policy import FlexPolicy

_trackers: list[Callable[[], None]] = []


def register_run_tracking(start: Callable[[], None]) -> None:
    """Register how a framework starts to track its runs; ``start()`` may be called repeatedly.

    Tracking costs every run of the framework a little, so it starts only when it is needed.
    """
    _trackers.append(start)


def start_run_tracking(lanes: Iterable[str]) -> None:
    """Start run tracking in every framework in use, if one of these lanes needs it."""
    if _need_runs(lanes):
        for start in _trackers:
            start()


def need_run_tracking(*policies: Any) -> bool:
    """Whether one of these is a policy whose lanes need runs: a background lane or ``auto``."""
    return any(isinstance(policy, FlexPolicy) and _need_runs(policy.lanes) for policy in policies)


def _need_runs(lanes: Iterable[str]) -> bool:
    return any(lane == AUTO or EXECUTIONS.get(lane) == "background" for lane in lanes)


# --- the calls of each run --------------------------------------------------------------------

_MAX_RUNS = 10_000


class RunTracker:
    """The runs that this process has seen, and how many calls of each are under way."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # the garbage collector may end a call while it is held
        self._calls: OrderedDict[str, int] = OrderedDict()

    def call_started(self, run: str) -> bool:
        """Count a call of a run; return whether it is a step: earlier calls exist and have ended.

        Calls that are made at once do not depend on each other, so they are no steps.
        """
        with self._lock:
            under_way = self._calls.pop(run, None)
            self._calls[run] = (under_way or 0) + 1
            while len(self._calls) > _MAX_RUNS:
                self._calls.popitem(last=False)
        return under_way == 0

    def call_ended(self, run: str) -> None:
        """Stop counting a call."""
        with self._lock:
            if self._calls.get(run):
                self._calls[run] -= 1

    def reset_after_fork(self) -> None:
        """Keep the runs; the lock and the calls under way are the parent's."""
        self._lock = threading.RLock()
        self._calls = OrderedDict.fromkeys(self._calls, 0)


RUNS = RunTracker()

after_fork_in_child(RUNS.reset_after_fork)
