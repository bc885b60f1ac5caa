"""The oracle: cost and late answers of an ideal client that knows the weather in advance."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from flextier.lanes import FLEX
from flextier.rehearsal.provider import FLEX_LATENCY, STANDARD_LATENCY
from flextier.rehearsal.trace import Trace, TraceJob
from flextier.sim.base.flex_bucket import FlexBuckets, room_in
from flextier.sim.base.request_rate import share_of
from flextier.sim.behavior.weather import Moment, Seconds, Weather

_RESOLUTION = 1e-9  # of the virtual clock, in seconds


@dataclass(frozen=True, slots=True)
class Clairvoyant:
    """The result of the ideal client."""

    flex: int
    """Jobs answered on flex, in time."""
    standard: int
    """All other jobs."""
    late: int
    """Jobs that no client could have finished in time."""

    @property
    def cost(self) -> float:
        """Relative cost: 1 with all jobs on standard, 0.5 with all on flex."""
        return (self.standard + self.flex * float(FLEX.price.share or 1)) / (
            self.standard + self.flex
        )


def clairvoyant(trace: Trace) -> Clairvoyant:
    """Schedule the jobs, earliest deadline first: flex gets as many as it accepts at each moment.

    The ideal client knows outages, slots, latencies and rate limits, and meets no random refusal
    (``refuse``) and no stall. A job starts on flex only if its answer is in time; other jobs start
    on standard, as soon as the rate limit allows.

    If all flex answers of a model take equally long, no client does better. Jobs arrive in the
    order of their deadlines, so swapping two of them gains nothing; each answer holds a slot for
    the same time, so starting one as early as possible frees the slots no later than any other
    schedule, and at no time has another schedule started more jobs (by induction over the jobs).
    And no schedule gains by leaving a slot unused.

    Otherwise another schedule may be better: with ``slow_windows`` it may pay to wait until answers
    are fast again; of models with different latencies that share slots, the fast ones should go
    first; with a very tight rate limit, a job on standard may take the place of one that flex would
    have accepted. A range of latencies counts as its middle.
    """
    pools: defaultdict[str, list[TraceJob]] = defaultdict(list)
    for job in trace.work:
        pools[trace.weather.pool(job.model)].append(job)
    flex = standard = late = 0
    for jobs in pools.values():
        lane = _SlotPool(trace.weather.of(jobs[0].model))
        left = lane.run_on_flex(jobs)
        flex += len(jobs) - len(left)
        standard += len(left)
        late += sum(not lane.run_on_standard(job) for job in left)
    return Clairvoyant(flex, standard, late)


class _SlotPool:
    """One pool of flex slots, and the rate limits of the models that use it."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._ends: list[float] = []
        self._bucket = FlexBuckets()
        self._starts: defaultdict[str, list[float]] = defaultdict(list)

    def run_on_flex(self, jobs: Sequence[TraceJob]) -> list[TraceJob]:
        """Start as many jobs on flex as possible; returns the others."""
        left = [job for job in jobs if self._weather.unsupports(job.model)]
        supported = (job for job in jobs if not self._weather.unsupports(job.model))
        arriving = sorted(supported, key=lambda job: job.arrives, reverse=True)
        waiting: list[TraceJob] = []
        now: float | None = 0.0
        while now is not None and (waiting or arriving):
            while arriving and arriving[-1].arrives <= now:
                insort(waiting, arriving.pop(), key=lambda job: job.deadline)
            while self._ends and self._ends[0] <= now:
                heappop(self._ends)
            left += [job for job in waiting if job.deadline <= now]
            waiting = self._start([job for job in waiting if job.deadline > now], now)
            now = self._next(now, waiting, arriving)
        return left + waiting + arriving

    def run_on_standard(self, job: TraceJob) -> bool:
        """Start a job on standard as soon as the rate limit allows; whether it is in time."""
        starts = self._starts[job.model]
        ends = (start + self._weather.rpm_window for start in starts)
        moments = [job.arrives, *sorted(end for end in ends if end > job.arrives)]
        start = next(moment for moment in moments if self._fits(starts, moment))
        insort(starts, start)
        return start + _middle(self._weather.standard_latency, STANDARD_LATENCY) <= (
            job.deadline + _RESOLUTION
        )

    def _start(self, waiting: list[TraceJob], now: float) -> list[TraceJob]:
        """Start the jobs that flex accepts now; returns the others."""
        latency = _middle(self._weather.flex_latency, FLEX_LATENCY)
        end = now + latency * self._weather.slowness(now)
        others = []
        for job in waiting:
            starts = self._starts[job.model]
            in_time = end <= job.deadline + _RESOLUTION
            moment = Moment(now, len(self._ends), flex_used=self._used(now))
            if in_time and self._weather.takes(moment) and self._fits(starts, now):
                heappush(self._ends, end)
                starts.append(now)
                self._bucket.take("", self._weather.bucket, now)
            else:
                others.append(job)
        return others

    def _used(self, now: float) -> float:
        return self._bucket.used("", self._weather.bucket, now)

    def _fits(self, starts: Sequence[float], moment: float) -> bool:
        """Whether the rate limit allows one more request at this moment."""
        limit = self._weather.rpm
        if limit is None:
            return True
        window = self._weather.rpm_window
        first = bisect_left(starts, moment - window + _RESOLUTION)
        around = sorted([*starts[first : bisect_left(starts, moment + window)], moment])
        pairs = zip(around, around[share_of(limit, window) :], strict=False)
        return all(later - sooner >= window - _RESOLUTION for sooner, later in pairs)

    def _next(
        self, now: float, waiting: Iterable[TraceJob], arriving: Sequence[TraceJob]
    ) -> float | None:
        """The next time at which flex may accept more jobs."""
        moments = [*self._weather.changes, *self._ends[:1]]
        moments.append(now + room_in(self._weather.bucket, self._used(now)))
        moments += [job.arrives for job in arriving[-1:]]
        if self._weather.rpm is not None:
            starts = (self._starts[model] for model in {job.model for job in waiting})
            moments += [start + self._weather.rpm_window for known in starts for start in known]
        return min((moment for moment in moments if moment > now), default=None)


def _middle(own: Seconds | None, default: float) -> float:
    latency = default if own is None else own
    return sum(latency) / 2 if isinstance(latency, tuple) else latency
