"""All batches, and the task that drives them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from heapq import nsmallest
from operator import attrgetter
from random import Random
from threading import Lock
from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.clock import ProviderClock
from flextier.sim.base.paging import Page, paged
from flextier.sim.base.request_log import RequestLog
from flextier.sim.base.tokens import PromptCache
from flextier.sim.behavior.batch_behavior import BatchWeather
from flextier.sim.behavior.batch_outcomes import BatchOutcome
from flextier.sim.stores.batch_job import BatchContext, BatchJob, BatchParameters
from flextier.sim.stores.files import FileStore

# How long the event loop may be kept from its connections, in seconds: by the task at a time,
# and by a request that wants to know how a batch is.
SLICE = 0.004
LOOK = 0.01

# How long the task sleeps, in seconds: not less, as its clock may stand still, and not more, as
# it may be a tester's who lets it jump.
SHORTEST = 0.002
LONGEST = 0.25


class BatchStore:
    """Batches by their id, oldest first.

    Its task runs in the server's loop, and only while a batch is unfinished.

    Args:
        files: Where input and output are.
        accounts: Where finished lines are billed.
        cache: The prompt cache.
        clock: The provider's time.
        weather: How batches of a model behave.
        seed: Chooses the random numbers.
    """

    def __init__(
        self,
        files: FileStore,
        accounts: RequestLog,
        cache: PromptCache,
        clock: ProviderClock,
        weather: Callable[[str], BatchWeather],
        seed: int,
    ) -> None:
        self._provider = BatchContext(files, accounts, cache, weather, self._enqueued)
        self._clock = clock
        self._seed = seed
        self._jobs: dict[str, BatchJob] = {}
        self._active: dict[str, BatchJob] = {}
        self._lock = Lock()
        self._script: list[BatchOutcome] = []
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- the tester's side, from any thread -----------------------------------------------

    def script(self, *outcomes: BatchOutcome) -> int:
        """Say what shall become of the next batches; returns how many outcomes wait."""
        with self._lock:
            self._script.extend(outcomes)
            return len(self._script)

    def stats(self) -> dict[str, Any]:
        """Batches by status, their lines, and the enqueued tokens by model."""
        jobs = list(self._jobs.values())
        enqueued: Counter[str] = Counter()
        for job in jobs:
            if job.enqueued_tokens:
                enqueued[job.model or ""] += job.enqueued_tokens
        return {
            "created": len(jobs),
            "statuses": dict(Counter(job.status for job in jobs)),
            "lines": sum(job.total for job in jobs),
            "completed_lines": sum(job.completed for job in jobs),
            "failed_lines": sum(job.failed for job in jobs),
            "enqueued_tokens": dict(enqueued),
        }

    def stop(self) -> None:
        """Forget every batch and its files, and end the task."""
        if self._loop is None:
            self._forget()
            return
        # The loop is closed when the server was stopped before: then nothing runs any more.
        try:
            self._loop.call_soon_threadsafe(self._forget)
        except RuntimeError:
            self._forget()

    def _forget(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
        for job in self._active.values():
            job.close()
        self._active.clear()
        self._provider.files.close()

    # -- the API's side, in the server's loop ---------------------------------------------

    def create(self, order: BatchParameters) -> BatchJob:
        """A new batch."""
        with self._lock:
            outcome = self._script.pop(0) if self._script else None
        chance = Random(f"{self._seed} {len(self._jobs)}")
        job = BatchJob(order, self._provider, self._clock.now(), chance, outcome)
        self._jobs[job.id] = self._active[job.id] = job
        self._drive()
        return job

    async def get(self, batch_id: str) -> BatchJob:
        """A batch as it is now.

        Raises:
            Rejected: There is none of this id.
        """
        if batch_id not in self._jobs:
            raise Rejected(api_errors.no_batch(batch_id))
        await self._look()
        return self._jobs[batch_id]

    async def list(self, page: Page) -> dict[str, Any]:
        """A page of batches as they are now.

        Raises:
            Rejected: The page begins after a batch that there is not.
        """
        await self._look()
        return paged([job.describe() for job in self._jobs.values()], page)

    async def cancel(self, batch_id: str) -> BatchJob:
        """Begin to cancel a batch.

        Raises:
            Rejected: There is none of this id, or it has ended.
        """
        job = await self.get(batch_id)
        job.cancel(self._clock.now())
        self._drive()
        return job

    async def close(self) -> None:
        """End the task; it goes on when a batch is asked for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _enqueued(self, account: str, model: str) -> int:
        return sum(
            job.enqueued_tokens
            for job in self._active.values()
            if (job.order.account, job.model) == (account, model)
        )

    async def _look(self) -> None:
        """Do what is due, as far as there is time for it."""
        self._advance(time.perf_counter() + LOOK)
        self._drive()

    def _advance(self, until: float) -> bool:
        """Do what is due, over all batches in the order in which it is; whether that is all done.

        The order matters: what one batch has finished, another finds room for.
        """
        now = self._clock.now()
        while self._active:
            job, *others = nsmallest(2, self._active.values(), key=attrgetter("due"))
            if job.due > now:
                break
            if not job.advance(now, min([now, *(other.due for other in others)]), until):
                return False
            if job.ended:
                del self._active[job.id]
        return True

    def _drive(self) -> None:
        loop = asyncio.get_running_loop()
        if self._active and (self._task is None or self._task.done() or self._loop is not loop):
            self._loop = loop
            self._task = loop.create_task(self._run())

    async def _run(self) -> None:
        while self._active:
            caught_up = self._advance(time.perf_counter() + SLICE)
            await asyncio.sleep(self._idle() if caught_up else 0)

    def _idle(self) -> float:
        """Seconds to sleep until the next step is due."""
        due = min((job.due for job in self._active.values()), default=0.0)
        return min(max((due - self._clock.now()) / self._clock.speed, SHORTEST), LONGEST)
