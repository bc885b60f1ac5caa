"""All background responses. Their state is a matter of time: there are no tasks and no timers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from math import inf
from random import Random
from threading import RLock
from typing import Any

from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.clock import ProviderClock
from flextier.sim.base.request_log import RequestLog
from flextier.sim.base.tokens import PromptCache
from flextier.sim.behavior.background_behavior import BackgroundWeather, drawn
from flextier.sim.behavior.background_outcomes import BackgroundOutcome
from flextier.sim.behavior.faults import Serve
from flextier.sim.model.generate import answer
from flextier.sim.model.request import ModelRequest
from flextier.sim.stores import background_errors
from flextier.sim.stores.background_job import BackgroundJob
from flextier.sim.stores.background_request import BackgroundOptions
from flextier.sim.stores.background_timeline import plan
from flextier.sim.stores.responses import StoredResponse, StoredResponses, own_turns

# The ids that this simulator gives; others in ``previous_response_id`` are taken as they are.
_OURS = re.compile(r"resp_[0-9a-f]{32}")


class ResponseStore:
    """Responses by their id: those in the background, and the stored ones of direct calls.

    What is due is done when a request asks, in order, and billed then; usable from any
    thread.

    Args:
        accounts: Where responses are billed when they have ended.
        cache: The prompt cache.
        clock: The provider's time.
        seed: Chooses the random numbers.
    """

    def __init__(
        self, accounts: RequestLog, cache: PromptCache, clock: ProviderClock, seed: int
    ) -> None:
        self.shelf = StoredResponses()
        self._accounts = accounts
        self._cache = cache
        self._clock = clock
        self._seed = seed
        self._lock = RLock()
        self._jobs: dict[str, BackgroundJob] = {}
        # (when, number, job): its end or its deletion, whichever of them is next.
        self._due: list[tuple[float, int, BackgroundJob]] = []
        self._pushed = 0
        self._script: list[BackgroundOutcome] = []
        self._seen: set[tuple[Any, ...]] = set()
        self._counts: Counter[str] = Counter()
        self._windows: Counter[str] = Counter()
        self._ends: Counter[str] = Counter()

    # -- the tester's side, from any thread -----------------------------------------------

    def script(self, *outcomes: BackgroundOutcome) -> int:
        """Say what shall become of the next responses; returns how many outcomes wait."""
        with self._lock:
            self._script.extend(outcomes)
            return len(self._script)

    def stats(self) -> dict[str, Any]:
        """Responses by status and window, and how many missed it, were followed up, are gone."""
        with self._lock:
            now = self.advance()
            going = Counter(job.status(now) for job in self._jobs.values() if not job.ended)
            late = sum(job.course.late < now for job in self._jobs.values() if not job.ended)
            return {
                "created": self._counts["created"],
                "statuses": {**going, **self._ends},
                "windows": dict(self._windows),
                "pending": going.total(),
                "missed": self._counts["missed"] + late,
                "follow_ups": self._counts["follow_ups"],
                "deleted": self._counts["deleted"],
            }

    def advance(self) -> float:
        """Do what is due; returns the provider's time."""
        with self._lock:
            now = self._clock.now()
            while self._due and self._due[0][0] <= now:
                moment, _, job = heappop(self._due)
                self._step(job, moment)
            return now

    # -- the API's side -------------------------------------------------------------------

    def create(
        self,
        ask: ModelRequest,
        order: BackgroundOptions,
        weather: BackgroundWeather,
        script: Serve,
        line: str = "",
    ) -> BackgroundJob:
        """A new background response.

        Raises:
            Rejected: A direct call would be answered 400.
        """
        said = answer(ask, self._cache, script)
        with self._lock:
            now = self.advance()
            outcome = self._script.pop(0) if self._script else None
            chance = Random(f"background {self._seed} {self._counts['created']}")
            follows = self._follows(ask, order)
            course = plan(order.window, weather, outcome, now, chance, follows=follows)
            job = BackgroundJob(ask, order, course, said, now, weather, outcome, line)
            self._jobs[job.id] = job
            self._counts["created"] += 1
            self._windows[order.window] += 1
            self._push(min(course.ends, course.removed), job)
            return job

    def get(self, name: str) -> tuple[BackgroundJob, float]:
        """A background response, and the provider's time.

        Raises:
            Rejected: There is none of this id.
        """
        with self._lock:
            now = self.advance()
            if name not in self._jobs:
                raise Rejected(background_errors.none(name))
            return self._jobs[name], now

    def describe(self, name: str) -> dict[str, Any]:
        """The ``response`` object of any stored response.

        Raises:
            Rejected: There is none of this id.
        """
        kept = self.shelf.find(name)
        if kept is not None:
            return kept.final
        job, now = self.get(name)
        return job.describe(now)

    def cancel(self, name: str) -> dict[str, Any]:
        """Cancel a background response; returns it as it is then.

        Raises:
            Rejected: There is none of this id, it is none, or it has ended by itself.
        """
        if self.shelf.find(name) is not None:
            raise Rejected(background_errors.cannot_cancel("synchronous"))
        with self._lock:
            job, now = self.get(name)
            if not job.ended and not job.cancelling:
                self._cancel(job, now)
            if job.ended and job.end != "cancelled" and not job.weather.cancel_ended:
                raise Rejected(background_errors.cannot_cancel(job.end))
            return job.describe(now)

    def delete(self, name: str) -> dict[str, Any]:
        """Forget a response.

        Raises:
            Rejected: There is none of this id, or it has not ended.
        """
        if self.shelf.find(name) is None:
            with self._lock:
                job, _ = self.get(name)
                if not job.ended:
                    raise Rejected(background_errors.cannot_delete())
                self._remove(job)
        self.shelf.delete(name)
        return {"id": name, "object": "response", "deleted": True}

    def chained(self, ask: ModelRequest) -> ModelRequest:
        """The same request, with what its ``previous_response_id`` stands for before its input.

        Raises:
            Rejected: There is no such response any more, or it has no output.
        """
        name = ask.body.get("previous_response_id")
        if not isinstance(name, str) or not _OURS.fullmatch(name):
            return ask
        before: StoredResponse | None = self.shelf.find(name)
        earlier = self._turns(name) if before is None else before.turns
        own = own_turns(ask)
        instructions = ask.turns[: len(ask.turns) - len(own)]
        return replace(ask, turns=(*instructions, *earlier, *own))

    def _turns(self, name: str) -> tuple[Any, ...]:
        with self._lock:
            now = self.advance()
            job = self._jobs.get(name)
            if job is None:
                raise Rejected(background_errors.previous_gone(name))
            if not job.billed:
                raise Rejected(background_errors.previous_unfinished(name, job.status(now)))
            return job.turns()

    # -- with the lock held ---------------------------------------------------------------

    def _follows(self, ask: ModelRequest, order: BackgroundOptions) -> bool:
        """Whether this is a follow-up; it is one that others can follow from now on."""
        if order.continuation_id is None:
            return False
        tie = (order.window, order.continuation_id, ask.model, order.project)
        follows = tie in self._seen
        self._seen.add(tie)
        self._counts["follow_ups"] += follows
        return follows

    def _push(self, moment: float, job: BackgroundJob) -> None:
        if moment < inf:
            self._pushed += 1
            heappush(self._due, (moment, self._pushed, job))

    def _step(self, job: BackgroundJob, moment: float) -> None:
        """What is due with a response at this moment; nothing if it was done otherwise before."""
        if job.removed:
            return
        if not job.ended and job.course.ends <= moment:
            self._end(job, job.course.end, job.course.ends)
        if job.course.removed <= moment:
            self._remove(job)

    def _end(self, job: BackgroundJob, end: str, moment: float) -> None:
        job.finish(end, moment)
        self._ends[job.end] += 1
        self._counts["missed"] += job.missed
        if job.billed:
            tier = job.order.lane
            self._accounts.bill(job.ask.model, tier, job.said.tokens, job.line)
        if not job.order.stored:
            gone = min(job.course.removed, moment + job.weather.keep)
            job.course = replace(job.course, removed=gone)
        self._push(job.course.removed, job)

    def _cancel(self, job: BackgroundJob, now: float) -> None:
        job.cancelling = True
        if job.outcome is not None and job.outcome.kind == "outrun":
            self._end(job, "completed", now)
            return
        chance = Random(f"cancel {self._seed} {self._pushed}")
        moment = now + drawn(job.weather.cancelling, chance)
        if moment < job.course.ends:
            job.course = replace(job.course, ends=moment, end="cancelled")
            self._push(moment, job)
            self.advance()

    def _remove(self, job: BackgroundJob) -> None:
        if not job.ended:
            self._ends["deleted"] += 1
        job.removed = True
        self._counts["deleted"] += 1
        del self._jobs[job.id]
