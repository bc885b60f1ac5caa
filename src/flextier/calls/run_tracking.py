"""When frameworks have to watch their runs: once a lane is named that ties the calls of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flextier.lanes import ANY_WINDOW, AUTO
from flextier.policy import FlexPolicy

_watches: list[Callable[[], None]] = []


def told_by(watch: Callable[[], None]) -> None:
    """Let a framework tell runs: ``watch()`` makes it begin, at once and as often as it is called.

    Watching costs every run of the framework a little, so it begins only when it is wanted.
    """
    _watches.append(watch)


def watch_for(lanes: Iterable[str]) -> None:
    """Let every framework in use watch its runs, if one of these lanes wants to know them."""
    if _want(lanes):
        for watch in _watches:
            watch()


def want_runs(*policies: Any) -> bool:
    """Whether one of these policies names a lane that wants to know runs; others than ours do not.

    Those are the background lanes, and ``auto``, which may choose one.
    """
    return any(isinstance(policy, FlexPolicy) and _want(policy.lanes) for policy in policies)


def _want(lanes: Iterable[str]) -> bool:
    return any(lane == AUTO or lane.startswith(ANY_WINDOW) for lane in lanes)
