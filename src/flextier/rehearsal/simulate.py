"""Runs a trace: makes each call at its time, through any client, in virtual time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from flextier.rehearsal.oracle import clairvoyant
from flextier.rehearsal.provider import TraceProvider
from flextier.rehearsal.result import FinishedJob, TraceResult
from flextier.rehearsal.trace import Trace, TraceJob
from flextier.rehearsal.virtual_loop import VirtualDeadlockError, run_virtually

Call = Callable[[TraceJob], Awaitable[Any]]
"""Makes the call of a job; whatever it raises is a failure."""

Caller = Callable[[Any, Random], Call]
"""Returns the function that makes calls, given an HTTP client of the provider and a random number
generator. Called once, on the event loop."""

PROMPT: Any = [{"role": "user", "content": "Rehearse."}]
"""The messages of every call."""

NEVER = "NeverEnded"
"""The error of a call without a timeout whose request was never answered."""


def run_trace(trace: Trace, caller: Caller, name: str) -> TraceResult:
    """Make the calls of a trace, each in its own task; ``name`` is that of the client."""
    provider = TraceProvider(trace.weather, trace.seed)
    jobs = trace.work
    ended: dict[int, FinishedJob] = {}

    async def main() -> None:
        async with provider.client() as http_client:
            call = caller(http_client, Random(f"caller {trace.seed}"))
            await asyncio.gather(*(run(call, number, job) for number, job in enumerate(jobs)))

    async def run(call: Call, number: int, job: TraceJob) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(job.arrives - loop.time())
        error = None
        try:
            await call(job)
        except Exception as failure:  # noqa: BLE001 - counted, whatever it is
            error = type(failure).__name__
        ended[number] = FinishedJob(job, loop.time(), error)

    began = time.perf_counter()
    try:
        run_virtually(main)
    except VirtualDeadlockError:
        if not provider.silent:
            raise
    end = max((finished.at for finished in ended.values()), default=0.0)
    return TraceResult(
        name=name,
        trace=trace,
        ended=tuple(ended.get(n, FinishedJob(job, end, NEVER)) for n, job in enumerate(jobs)),
        counts=provider.counts,
        clairvoyant=clairvoyant(trace),
        virtual_seconds=end,
        real_seconds=time.perf_counter() - began,
    )
