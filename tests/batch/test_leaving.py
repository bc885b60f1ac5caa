"""Calls that end early: cancelled, timed out, detached, or their client or loop closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import flextier.batch
from flextier import AsyncFlexOpenAI, FlexDeadlineExceeded, FlexOpenAI, track
from flextier._openai.http_library import http
from flextier.batch.manager import MANAGERS
from flextier.capacity import AccountKey
from flextier.errors import BatchDetached
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.conftest import forget
from tests.batch.crowd import (
    ALONE,
    PATIENT,
    POLICY,
    Crowd,
    aask,
    ask,
    auntil,
    batches,
    count,
    files,
    lines,
    options,
    questions,
    tasks,
    threads,
    until,
)

pytestmark = pytest.mark.sampled(2)

HOURS = Weather(batch=BatchWeather(seconds=7200))


async def test_cancelled_before_the_file_goes(sim: Simulator) -> None:
    """A call cancelled in the window is no line of the file; the others are not disturbed."""
    policy = POLICY.replace(batch_window=0.4)
    async with AsyncFlexOpenAI(**options(sim, policy)) as client:
        calls = [asyncio.ensure_future(aask(client, q)) for q in questions(6)]
        await asyncio.sleep(0.1)
        for call in calls[::2]:
            call.cancel()
        said = await asyncio.gather(*calls[1::2])
    assert all(one.is_right for one in said)
    (batch,) = batches(sim)
    assert len(lines(sim, batch)) == 3
    assert sim.paid()["payments"] == 3


async def test_all_cancelled_before_the_file_goes(sim: Simulator) -> None:
    """No call is waiting any more: nothing is sent."""
    async with AsyncFlexOpenAI(**options(sim, PATIENT)) as client:
        calls = [asyncio.ensure_future(aask(client, q)) for q in questions(3)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    until(lambda: not _working())
    assert sim.requests == []


async def test_all_cancelled_while_the_batch_runs(sim: Simulator) -> None:
    """No call is waiting and there is no journal: the batch is cancelled on the server."""
    sim.weather = HOURS
    async with AsyncFlexOpenAI(**options(sim)) as client:
        with track() as reports:
            calls = [asyncio.ensure_future(aask(client, q)) for q in questions(3)]
            await auntil(lambda: files(sim) == 1)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    await auntil(lambda: sim.stats()["batches"]["statuses"] == {"cancelled": 1})
    assert [[a.outcome for a in report.attempts] for report in reports] == [["cancelled"]] * 3
    assert sim.paid()["payments"] == 0


async def test_all_cancelled_with_a_journal(sim: Simulator, tmp_path: Path) -> None:
    """The journal knows of it: the batch goes on, and has the answers when they are asked for."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    made = options(sim, POLICY.replace(journal=tmp_path / "calls.db"))
    async with AsyncFlexOpenAI(**made) as client:
        calls = [asyncio.ensure_future(aask(client, q)) for q in questions(3)]
        await auntil(lambda: files(sim) == 1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        said = await asyncio.gather(*(aask(client, q) for q in questions(3)))
    assert all(one.is_right for one in said)
    assert (files(sim), sim.paid()["payments"]) == (1, 3)
    assert count(sim, "POST", "/batches/{id}/cancel") == 0


def test_detach(crowd: Crowd, sim: Simulator, tmp_path: Path) -> None:
    """detach() ends the calls that the journal knows; the program started again has the answers."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    made = options(sim, PATIENT.replace(journal=str(tmp_path / "calls.db")))
    detached: list[int] = []

    def end() -> None:
        until(lambda: files(sim) == 1)
        detached.append(flextier.batch.detach())

    thread = threading.Thread(target=end)
    thread.start()
    said = crowd(made, questions(4))
    thread.join()
    assert detached == [4]
    assert all(isinstance(one.error, BatchDetached) for one in said)
    until(lambda: not _working(), "the end of the work")
    forget()
    assert all(one.is_right for one in crowd(made, questions(4)))
    assert (files(sim), sim.paid()["payments"]) == (1, 4)


def test_detach_what_is_submitted(crowd: Crowd, sim: Simulator, tmp_path: Path) -> None:
    """Nothing is detached before the batch is created; later, each call is billed its line once."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.5))
    made = options(sim, PATIENT.replace(journal=str(tmp_path / "calls.db")))
    created: list[bool] = []

    def end() -> None:
        while not flextier.batch.detach(submitted=True):
            time.sleep(0.005)
        created.append(files(sim) == 1)

    thread = threading.Thread(target=end)
    thread.start()
    said = crowd(made, questions(4))
    thread.join()
    assert created == [True]
    assert all(isinstance(one.error, BatchDetached) for one in said)
    until(lambda: not _working(), "the end of the work")
    until(lambda: sim.paid()["payments"] == 4, "the end of the batch")
    forget()
    for billed in (True, False):
        # One after the other: the first one collects the batch, for the others, too.
        said = [crowd(made, [question])[0] for question in questions(4)]
        assert all(one.is_right for one in said)
        assert {one.report.lane for one in said} == {"batch" if billed else "journal"}
        assert all(bool(one.report.cost.total) is billed and one.report.served for one in said)
        forget()
    assert (files(sim), sim.paid()["payments"]) == (1, 4)


def test_detach_needs_a_journal(sim: Simulator) -> None:
    """A call without a journal could not be resumed: it keeps waiting."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.3))
    thread = threading.Thread(target=lambda: until(lambda: files(sim)) or flextier.batch.detach())
    thread.start()
    assert tasks(options(sim), ["What of it?"])[0].is_right
    thread.join()


# --- deadlines --------------------------------------------------------------------------------


def test_left_in_time(crowd: Crowd, sim: Simulator) -> None:
    """At the deadline less batch_reserve the batch is cancelled, and the next lane answers."""
    sim.weather = HOURS
    said = crowd(options(sim, PATIENT.replace(deadline=21.5, batch_reserve=20.7, batch_window=0.4)),
                 questions(3))  # fmt: skip
    assert all(one.is_right for one in said)
    assert {tuple(one.lanes) for one in said} == {("batch:unfinished", "standard:served")}
    assert {one.report.fallback for one in said} == {"unfinished"}
    assert sim.paid()["twice"] == []


def test_cancelling_takes_too_long(sim: Simulator) -> None:
    """A cancellation that takes too long is not waited for: the attempt is possibly billed."""
    sim.weather = Weather(batch=BatchWeather(seconds=7200, cancelling=600))
    policy = POLICY.replace(deadline=3, batch_reserve=2.0)
    with FlexOpenAI(**options(sim, policy)) as client:
        said = ask(client, "What of it?")
    assert said.is_right
    assert said.lanes == ["batch:timeout", "standard:served"]
    assert said.report.attempts[0].possibly_billed
    sim.reset()


def test_too_short_a_deadline(sim: Simulator) -> None:
    """A call that a batch cannot answer in time does not begin there."""
    with FlexOpenAI(**options(sim, POLICY.replace(deadline=0.54))) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["standard:served"]
    assert said.report.fallback == "unfinished"


def test_batch_alone_and_late(sim: Simulator) -> None:
    """With no other lane, the deadline ends the call with the error that says so."""
    sim.weather = HOURS
    with FlexOpenAI(**options(sim, ALONE.replace(deadline=0.4))) as client:
        said = ask(client, "What of it?")
    assert isinstance(said.error, FlexDeadlineExceeded)
    sim.reset()


def test_batch_alone_and_late_before_it_was_created(sim: Simulator) -> None:
    """The same error where the file could not even be sent."""
    sim.script(*[Fault.status(500).on(method="POST", path="/files")] * 300)
    with FlexOpenAI(**options(sim, ALONE.replace(deadline=0.3))) as client:
        said = ask(client, "What of it?")
    assert isinstance(said.error, FlexDeadlineExceeded)
    sim.reset()


# --- clients, loops, processes ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_http_client_of_ones_own(kind: str, sim: Simulator) -> None:
    """Requests about batches go over the caller's HTTP client, in the loop it belongs to."""
    seen: list[str] = []
    if kind == "sync":
        with http.Client(event_hooks={"request": [lambda r: seen.append(r.url.path)]}) as own:
            said = threads(options(sim, http_client=own), questions(2))
    else:

        async def note(request: Any) -> None:
            seen.append(request.url.path)

        async def main() -> Any:
            async with (
                http.AsyncClient(event_hooks={"request": [note]}) as own,
                AsyncFlexOpenAI(**options(sim, http_client=own)) as client,
            ):
                return await asyncio.gather(*(aask(client, q) for q in questions(2)))

        said = asyncio.run(main())
    assert [one.lanes for one in said] == [["batch:served"]] * 2
    assert {"/v1/files", "/v1/batches"} <= set(seen)


async def test_trio(sim: Simulator) -> None:
    """Calls under trio are answered by batch, too."""
    import trio

    async def main() -> Any:
        async with AsyncFlexOpenAI(**options(sim)) as client:
            return await aask(client, "What of it?")

    said = await asyncio.to_thread(trio.run, main)
    assert said.lanes == ["batch:served"]


def test_several_loops_and_threads(sim: Simulator) -> None:
    """Event loops and threads of one account share a file."""
    made = options(sim, POLICY.replace(batch_window=0.6))
    results: list[Any] = []
    together = [
        threading.Thread(target=lambda c=c, n=n: results.extend(c(made, questions(3, f"{n}"))))
        for n, c in enumerate((tasks, tasks, threads))
    ]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert len(results) == 9
    assert all(one.is_right for one in results)
    assert (files(sim), sim.paid()["twice"]) == (1, [])


def test_a_client_that_is_closed_meanwhile(sim: Simulator) -> None:
    """What a closed client's calls wait for comes all the same: it is asked for elsewhere."""
    sim.weather = Weather(batch=BatchWeather(seconds=0.3))
    client = FlexOpenAI(**options(sim))
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(ask(client, "What of it?")))
    thread.start()
    until(lambda: files(sim) == 1)
    client.close()
    thread.join()
    assert said[0].is_right


_FORKS = """
import os, sys
from tests.batch.crowd import options, tasks

made = options(sys.argv[1])
assert tasks(made, ["What of it?"])[0].is_right
child = os.fork()
if child == 0:
    os._exit(0 if tasks(made, ["What of the child?"])[0].is_right else 1)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_fork(sim: Simulator) -> None:
    """A child has batches of its own, and none of its parent's."""
    root = Path(__file__).parents[2]
    program = [sys.executable, "-c", _FORKS, sim.base_url]
    subprocess.run(program, cwd=root, check=True, timeout=120)
    assert (files(sim), sim.paid()["payments"]) == (2, 2)


# --- what is no line of a batch ---------------------------------------------------------------


def test_streams_go_elsewhere(sim: Simulator) -> None:
    """A stream goes to the next lane, with one warning a process."""
    with FlexOpenAI(**options(sim)) as client, pytest.warns(UserWarning, match="streams") as caught:
        reports = [_streamed(client) for _ in range(2)]
    assert {(report.lane, report.fallback) for report in reports} == {
        ("standard", "lane_unsupported")
    }
    assert len(caught) == 1


def test_a_stream_with_batch_alone(sim: Simulator) -> None:
    """With no other lane the whole answer is one chunk."""
    with FlexOpenAI(**options(sim, ALONE)) as client, track() as reports:
        chunks = list(
            client.chat.completions.create(
                model="o3", messages=[{"role": "user", "content": "So?"}], stream=True
            )
        )
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == (
        "[simulated] So?"
    )
    assert reports[0].lane == "batch"


IDENTIFICATION = {
    "User-Agent": "Agents/Python 0.9",  # as the Agents SDK and pydantic-ai have it
    "x-irid": "1",  # inspect-ai
    "X-Request-ID": "2",
    "X-Client-Request-Id": "3",
    "X-Correlation-ID": "4",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=1",
    "baggage": "b=2",
    "HTTP-Referer": "https://example.com",
    "X-Title": "tests",
    "x-stainless-helper": "stream",
}


def test_headers_that_identify_the_call(crowd: Crowd, sim: Simulator) -> None:
    """They change no response, and are dropped: the calls become a batch."""
    for one in crowd(options(sim), questions(2), extra_headers=IDENTIFICATION):
        assert one.is_right
        assert one.report.lane == "batch"


def test_any_other_header(crowd: Crowd, sim: Simulator) -> None:
    """It is sent, on the next lane, and the report says why."""
    headers = {**IDENTIFICATION, "X-Gateway": "a"}
    with pytest.warns(UserWarning, match="cannot carry the header X-Gateway"):
        (one,) = crowd(options(sim), ["Why?"], extra_headers=headers)
    assert one.is_right
    assert one.report.lane == "standard"
    assert "a batch line cannot carry the header X-Gateway" in one.report.why


def test_a_tier_that_was_chosen(sim: Simulator) -> None:
    """Who asks for priority gets it: no batch."""
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?", service_tier="priority")
    assert said.lanes == ["priority:served"]


def test_a_report_by_batch(sim: Simulator) -> None:
    """The cost is the batch rate's, exactly: half of standard."""
    with FlexOpenAI(**options(sim)) as client:
        report = ask(client, "What of it?").report
    cost = report.cost
    assert (report.lane, cost.basis) == ("batch", "exact")
    assert cost.total * 2 == cost.standard
    assert cost.total > 0


def test_an_outcome_is_not_shared(sim: Simulator) -> None:
    """A batch that stays is left by one call after another, each at its own deadline."""
    sim.script_batches(BatchOutcome.stay("in_progress"))
    with FlexOpenAI(**options(sim, POLICY.replace(deadline=1.2, batch_reserve=0.9))) as client:
        assert ask(client, "What of it?").is_right


def _streamed(client: FlexOpenAI) -> Any:
    messages: Any = [{"role": "user", "content": "So?"}]
    with track() as reports:
        list(client.chat.completions.create(model="o3", messages=messages, stream=True))
    return reports[0]


def _working() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("flextier-batch-")]


def test_managers_of_accounts_that_are_not_used_are_dropped() -> None:
    """After an hour without a call, once there are many; not while a batch is under way."""
    accounts = [AccountKey("https://api.openai.com/v1/", str(number)) for number in range(101)]
    for account in accounts[:100]:
        MANAGERS.of(account, 0.0)
    waiting: Any = MANAGERS[accounts[0]].by_tag
    waiting["tag"] = None
    MANAGERS.of(accounts[100], 4_000.0)
    assert list(MANAGERS) == [accounts[0], accounts[100]]
    waiting.clear()
