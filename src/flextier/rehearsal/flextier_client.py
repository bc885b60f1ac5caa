"""rehearse(): flextier's async client over a trace."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from flextier._utils.clock import Clock
from flextier._utils.durations import Duration, named_seconds
from flextier.calls.context import listen, override, scoped
from flextier.calls.report import CallReport
from flextier.client.clients import AsyncFlexOpenAI
from flextier.lanes import EXECUTIONS
from flextier.policy import FlexPolicy, PolicyFields
from flextier.rehearsal.provider import BASE_URL
from flextier.rehearsal.result import Rehearsal, check
from flextier.rehearsal.simulate import PROMPT, Call, run_trace
from flextier.rehearsal.trace import Trace, TraceJob

NAME = "flextier"

WALL = 1_790_000_000.0
"""Start of every rehearsal on the wall clock, for prices and HTTP dates: seconds since 1970."""

_accounts = count(1)


def rehearse(
    trace: Trace | str | Path,
    *,
    policy: FlexPolicy | PolicyFields | None = None,
    jobs: int | None = None,
    deadline: Duration | None = None,
    seed: int | None = None,
) -> Rehearsal:
    """Run :class:`flextier.AsyncFlexOpenAI` over a trace in virtual time: minutes take a second.

    It uses no network, learns nothing about lanes for later calls, and ignores ``FLEXTIER_LEDGER``,
    ``FlexPolicy.budget`` and all blocks: ``track()``, ``override()``, ``budget()``. Only telemetry,
    ``flextier.otel.instrument()``, receives its calls, too.

    Args:
        trace: A trace, the name of one that comes with flextier, or the path of a JSON file.
        policy: The policy, or a dict of its fields; None: that of the environment.
        jobs: Number of calls; None: that of the trace.
        deadline: Deadline of each call, in seconds or as ``"3m"``; None: the policy's ``deadline``,
            and where it has none the trace's.
        seed: Seed of the random numbers; None: that of the trace. The same seed gives the same
            result.

    Raises:
        OSError: The trace's file cannot be read.
        ValueError: The trace, ``jobs``, ``deadline`` or a lane is invalid; the message names it.
        PolicyError: The policy is invalid, or incompatible with the deadline.
        MiscountError: What the client reported is not what the provider counted: a bug.
    """
    knobs = FlexPolicy() if policy is None else FlexPolicy.of(policy)
    trace = trace if isinstance(trace, Trace) else Trace.load(trace)
    seconds = knobs.deadline if deadline is None else named_seconds("deadline", deadline)
    trace = trace.replace(jobs=jobs, deadline=seconds, seed=seed)
    knobs = knobs.replace(deadline=trace.deadline, budget=None, journal=None)
    if offline := [name for name in knobs.lanes if EXECUTIONS.get(name) != "direct"]:
        raise ValueError(
            f"FlexPolicy.lanes (FLEXTIER_LANES): traces of flex weather know no {offline[0]} lane; "
            "the simulator does (flextier sim --speed)"
        )
    reports: list[CallReport] = []

    def caller(http_client: Any, chance: Random) -> Call:
        return _calls(knobs, http_client, chance, reports)

    outcome = run_trace(trace, caller, NAME)
    check(reports, outcome.counts)
    return Rehearsal(**vars(outcome), policy=knobs, reports=tuple(reports))


def _calls(policy: FlexPolicy, http_client: Any, chance: Random, reports: list[CallReport]) -> Call:
    """The function that makes calls, with a client in the running loop's time."""
    loop = asyncio.get_running_loop()
    client = AsyncFlexOpenAI(
        policy=policy,
        clock=Clock(now=loop.time, wall=lambda: WALL + loop.time(), random=chance.random),
        http_client=http_client,
        base_url=BASE_URL,
        api_key=f"rehearsal-{next(_accounts)}",  # a new account, without learnt state
    )

    async def call(job: TraceJob) -> None:
        changes: PolicyFields = {}
        if job.seconds != policy.deadline:
            changes = {"deadline": job.seconds}
        with scoped(simulated=True), listen(reports.append), override(**changes):
            await client.chat.completions.create(model=job.model, messages=PROMPT)

    return call
