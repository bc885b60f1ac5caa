"""Ratios of CPU time: two things in turn, many short rounds, the median of their ratios.

What a shared machine does to one side of a short round, it does to the other as well, so ratios
hold where times do not. CPU time is counted, user and system, of all threads of this process:
waiting costs nothing. Simulators run in processes of their own, so their work is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

Work = Callable[[int], object]
"""Does the given number of units."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one comparison came to."""

    name: str
    ratio: float
    """The median over the rounds of flextier's CPU time by the plain one's."""
    low: float
    """The ratio that a quarter of the rounds stayed below."""
    high: float
    """The ratio that a quarter of the rounds went above."""
    ours: float
    """CPU microseconds of one unit with flextier; the median."""
    plain: float
    """The same without it."""
    unit: str
    """What was counted: a call, an event, an import."""
    target: float | None = None
    """The ratio to stay within; None: there is none, the number is for information."""

    @property
    def verdict(self) -> str:
        """``"within"`` or ``"over"`` the target; empty without one."""
        if self.target is None:
            return ""
        return "within" if self.ratio <= self.target else "over"

    @property
    def spread(self) -> str:
        """The middle half of the rounds."""
        return f"{self.low:.3f}..{self.high:.3f}"

    @property
    def extra(self) -> str:
        """What a unit costs with flextier, beyond what it costs without."""
        return f"{self.ours - self.plain:+,.0f} us a{'n' * (self.unit[0] in 'aei')} {self.unit}"

    def __str__(self) -> str:
        goal = "" if self.target is None else f", target {self.target:.2f}: {self.verdict}"
        return f"{self.name}: {self.ratio:.3f} ({self.spread}; {self.extra}){goal}"

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON types."""
        return {**asdict(self), "verdict": self.verdict}


def summary(
    name: str, pairs: Sequence[tuple[float, float]], unit: str, target: float | None = None
) -> Result:
    """The result of rounds, each flextier's and the plain one's CPU seconds for one unit."""
    ratios = [ours / plain for ours, plain in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    ours, plain = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
    return Result(name, statistics.median(ratios), low, high, ours, plain, unit, target)


def in_turn(
    ours: Callable[[], float], plain: Callable[[], float], rounds: int
) -> list[tuple[float, float]]:
    """Both numbers, measured side by side; who goes first changes from round to round."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            one = ours()
            pairs.append((one, plain()))
        else:
            other = plain()
            pairs.append((ours(), other))
    return pairs


def cpu_pairs(ours: Work, plain: Work, *, rounds: int, units: int) -> list[tuple[float, float]]:
    """CPU seconds of one unit of each, in many short rounds.

    Args:
        ours: does the given number of units, with flextier.
        plain: does the same without it.
        rounds: how many ratios the median is taken of.
        units: how many units one side of a round does: some ten milliseconds of them.
    """
    for warm in (ours, plain, ours, plain):
        warm(units)
    # What is alive now stays alive: the collector need not look at it, in either function's rounds.
    gc.collect()
    gc.freeze()
    try:
        return in_turn(_timed(ours, units), _timed(plain, units), rounds)
    finally:
        gc.unfreeze()


def _timed(work: Work, units: int) -> Callable[[], float]:
    def cpu() -> float:
        began = time.process_time()
        work(units)
        return (time.process_time() - began) / units

    return cpu


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop to run async rounds on, one after another."""
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        # The SDK's streams leave generators behind.
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def calls(call: Callable[[], Any]) -> Work:
    """Work of one call after another."""

    def work(count: int) -> None:
        for _ in range(count):
            call()

    return work


def async_calls(loop: asyncio.AbstractEventLoop, call: Callable[[], Awaitable[Any]]) -> Work:
    """Work of one async call after another."""

    async def work(count: int) -> None:
        for _ in range(count):
            await call()

    return lambda count: loop.run_until_complete(work(count))
