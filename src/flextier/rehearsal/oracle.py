"""The oracle: the cost and lateness of an ideal client that knows the weather in advance."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from flextier.rehearsal.provider import FLEX_LATENCY, STANDARD_LATENCY
from flextier.rehearsal.trace import Trace, TraceJob
from flextier.sim.base.request_rate import MINUTE
from flextier.sim.behavior.weather import Moment, Seconds, Weather

_INSTANT = 1e-9  # what the virtual clock rounds to


@dataclass(frozen=True, slots=True)
class Clairvoyant:
    """What could have been had."""

    flex: int
    """Jobs answered on flex, in time."""
    standard: int
    """All other jobs."""
    late: int
    """Jobs that no client could have finished in time."""

    @property
    def cost(self) -> float:
        """By what all jobs on standard would have cost: 1, and 0.5 with all of them on flex."""
        return (self.standard + self.flex / 2) / (self.standard + self.flex)


def clairvoyant(trace: Trace) -> Clairvoyant:
    """Earliest deadline first: at each moment flex is given as many jobs as it would take.

    He knows outages, slots, latencies and rate limits, and nothing happens to him by chance: no
    refusal of ``refuse``, no stall. A job begins on flex only if its answer is in time; what is
    left goes to standard, as soon as the rate limit leaves room for it.

    Where all flex answers of a model take equally long no client does better. Jobs that come first
    are due first, so swapping two of them gains nothing; each answer holds a slot for the same
    time, so starting one as early as possible leaves the slots free no later than any other plan,
    and by each moment no other plan has begun more jobs (by induction over the jobs). And no plan
    gains by giving a slot to standard.

    It is only a bound, which a plan can beat, where these do not hold: with ``slow_windows`` it may
    pay to wait until answers are fast again; of models with different latencies that share slots,
    the fast ones should go first; with a rate limit as tight as the work, a job bound for standard
    may take the place of one that flex would have had. Of a range of latencies it takes the middle.

    Args:
        trace: The weather and the jobs.
    """
    pools: defaultdict[str, list[TraceJob]] = defaultdict(list)
    for job in trace.work:
        pools[trace.weather.pool(job.model)].append(job)
    flex = standard = late = 0
    for jobs in pools.values():
        lane = _SlotPool(trace.weather.of(jobs[0].model))
        left = lane.take(jobs)
        flex += len(jobs) - len(left)
        standard += len(left)
        late += sum(not lane.standard(job) for job in left)
    return Clairvoyant(flex, standard, late)


class _SlotPool:
    """One pool of flex slots, and the rate limits of the models that use it."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._ends: list[float] = []
        self._starts: defaultdict[str, list[float]] = defaultdict(list)

    def take(self, jobs: Sequence[TraceJob]) -> list[TraceJob]:
        """Begin as many jobs on flex as can be; returns those that are left."""
        able = [job for job in jobs if self._sold(job.model)]
        coming = sorted(able, key=lambda job: job.arrives, reverse=True)
        left = [job for job in jobs if not self._sold(job.model)]
        waiting: list[TraceJob] = []
        now: float | None = 0.0
        while now is not None and (waiting or coming):
            while coming and coming[-1].arrives <= now:
                insort(waiting, coming.pop(), key=lambda job: job.deadline)
            while self._ends and self._ends[0] <= now:
                heappop(self._ends)
            left += [job for job in waiting if job.deadline <= now]
            waiting = self._begin([job for job in waiting if job.deadline > now], now)
            now = self._next(now, waiting, coming)
        return left + waiting + coming

    def standard(self, job: TraceJob) -> bool:
        """Send a job to standard at the first moment that the rate limit has room for it.

        Returns whether its answer is in time.
        """
        starts = self._starts[job.model]
        ends = (start + MINUTE for start in starts)
        moments = [job.arrives, *sorted(end for end in ends if end > job.arrives)]
        start = next(moment for moment in moments if self._fits(starts, moment))
        insort(starts, start)
        return start + _middle(self._weather.standard_latency, STANDARD_LATENCY) <= (
            job.deadline + _INSTANT
        )

    def _sold(self, model: str) -> bool:
        return not self._weather.unsupports(model)

    def _begin(self, waiting: list[TraceJob], now: float) -> list[TraceJob]:
        """Begin what flex takes now; returns what goes on waiting."""
        end = now + self._seconds(now)
        stays = []
        for job in waiting:
            starts = self._starts[job.model]
            in_time = end <= job.deadline + _INSTANT
            if in_time and self._takes(now) and self._fits(starts, now):
                heappush(self._ends, end)
                starts.append(now)
            else:
                stays.append(job)
        return stays

    def _takes(self, now: float) -> bool:
        return self._weather.takes(Moment(now, len(self._ends)))

    def _seconds(self, now: float) -> float:
        return _middle(self._weather.flex_latency, FLEX_LATENCY) * self._weather.slowness(now)

    def _fits(self, starts: Sequence[float], moment: float) -> bool:
        """Whether one more request at this moment leaves no minute with too many of them."""
        limit = self._weather.rpm
        if limit is None:
            return True
        first = bisect_left(starts, moment - MINUTE + _INSTANT)
        around = sorted([*starts[first : bisect_left(starts, moment + MINUTE)], moment])
        pairs = zip(around, around[limit:], strict=False)
        return all(later - sooner >= MINUTE - _INSTANT for sooner, later in pairs)

    def _next(
        self, now: float, waiting: Iterable[TraceJob], coming: Sequence[TraceJob]
    ) -> float | None:
        """The next moment at which more may be possible than now."""
        moments = [*self._weather.changes, *self._ends[:1]]
        moments += [job.arrives for job in coming[-1:]]
        if self._weather.rpm is not None:
            starts = (self._starts[model] for model in {job.model for job in waiting})
            moments += [start + MINUTE for known in starts for start in known]
        return min((moment for moment in moments if moment > now), default=None)


def _middle(own: Seconds | None, default: float) -> float:
    latency = default if own is None else own
    return sum(latency) / 2 if isinstance(latency, tuple) else latency
