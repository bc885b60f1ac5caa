"""When frameworks track their runs: once a lane is named that groups the calls of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flextier.lanes import ANY_WINDOW, AUTO
from flextier.policy import FlexPolicy

_trackers: list[Callable[[], None]] = []


def register_run_tracking(start: Callable[[], None]) -> None:
    """Register how a framework starts to track its runs; ``start()`` may be called repeatedly.

    Tracking costs every run of the framework a little, so it starts only when it is needed.
    """
    _trackers.append(start)


def start_run_tracking(lanes: Iterable[str]) -> None:
    """Have every framework in use track its runs, if one of these lanes needs them."""
    if _need_runs(lanes):
        for start in _trackers:
            start()


def need_run_tracking(*policies: Any) -> bool:
    """Whether one of these is a policy with a lane that needs runs: a background lane, or ``auto``,
    which may choose one."""
    return any(isinstance(policy, FlexPolicy) and _need_runs(policy.lanes) for policy in policies)


def _need_runs(lanes: Iterable[str]) -> bool:
    return any(lane == AUTO or lane.startswith(ANY_WINDOW) for lane in lanes)
