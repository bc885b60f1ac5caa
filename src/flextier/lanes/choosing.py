"""Which lanes a call can take at all, before any of them is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from flextier.errors import PolicyError
from flextier.lanes.base import Asked, Lane
from flextier.lanes.batch import BATCH
from flextier.saying import say


@dataclass(frozen=True, slots=True)
class Choice:
    """The lanes that take a call."""

    lanes: list[Lane]
    plain: bool = False
    """Whether what they give is no stream, although one was asked for."""


def choose(lanes: Sequence[Lane], asked: Asked, batched: bool = False) -> Choice:
    """The lanes that take the call; a reason that one does not is told once in a process.

    Args:
        lanes: the ladder.
        asked: the call.
        batched: whether it is a line of a batch already, which is paid for.

    Raises:
        PolicyError: none of them takes it.
    """
    reasons = {lane.name: lane.declines(asked) for lane in lanes}
    willing = [lane for lane in lanes if not reasons[lane.name]]
    if batched and BATCH not in willing:
        willing.insert(0, BATCH)
    elif batched:
        willing.sort(key=lambda lane: lane is not BATCH)
    if willing:
        for lane in lanes:
            if lane not in willing:
                _tell(lane.name, reasons[lane.name], willing[0].name)
        return Choice(willing)
    plainly = replace(asked, streamed=False)
    if asked.streamed and (lanes := [lane for lane in lanes if not lane.declines(plainly)]):
        return Choice(lanes, plain=True)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise PolicyError(
        f"no lane of FlexPolicy.lanes (FLEXTIER_LANES) takes this call ({why}): add another lane"
    )


@lru_cache(maxsize=64)
def _tell(lane: str, reason: str, following: str) -> None:
    say(f"calls that go to {following} instead of {lane}: {reason}", stacklevel=8)
