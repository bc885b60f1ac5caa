"""Making the calls of a trace: each at its time, through any client, in virtual time."""

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

Call = Callable[[str], Awaitable[Any]]
"""Makes one call to a model; whatever it raises is a failure."""

Caller = Callable[[Any, Random], Call]
"""Given an HTTP client of the provider, and a source of chance: how calls are made. Asked once, on
the loop."""

PROMPT: Any = [{"role": "user", "content": "Rehearse."}]
"""The messages of every call."""


NEVER = "NeverEnded"
"""The error of a call that hung on a stalled request, having set no timeout."""


def run_trace(trace: Trace, caller: Caller, name: str) -> TraceResult:
    """Make the calls of a trace, each in a task of its own.

    Args:
        trace: The weather and the jobs.
        caller: How the calls are made.
        name: Who makes them.
    """
    provider = TraceProvider(trace.weather, trace.seed)

    jobs = trace.work
    ended: dict[int, FinishedJob] = {}

    async def main() -> None:
        async with provider.client() as http_client:
            call = caller(http_client, Random(f"caller {trace.seed}"))
            await asyncio.gather(*(_make(call, number) for number in range(len(jobs))))

    async def _make(call: Call, number: int) -> None:
        ended[number] = await _made(call, jobs[number])

    began = time.perf_counter()
    try:
        run_virtually(main)
    except VirtualDeadlockError:
        if not provider.silent:
            raise
    until = max((one.at for one in ended.values()), default=0.0)
    return TraceResult(
        name=name,
        trace=trace,
        ended=tuple(ended.get(n, FinishedJob(job, until, NEVER)) for n, job in enumerate(jobs)),
        counts=provider.counts,
        clairvoyant=clairvoyant(trace),
        virtual_seconds=until,
        real_seconds=time.perf_counter() - began,
    )


async def _made(call: Call, job: TraceJob) -> FinishedJob:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(job.arrives - loop.time())
    error = None
    try:
        await call(job.model)
    except Exception as failure:  # noqa: BLE001 - counted, whatever it is
        error = type(failure).__name__
    return FinishedJob(job, loop.time(), error)
