"""The life of a batch: every status, in time, with honest counts, files and bills."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather

from .batches import CHAT, EMBEDDINGS, MODEL, RESPONSES, Batches, Clock, account, ids, line, lines
from .callers import eventually, raw


@pytest.fixture
def batches(sim: Simulator) -> Iterator[Batches]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


@pytest.fixture
def clock() -> Clock:
    """The clock of ``slow``."""
    return Clock()


@pytest.fixture
def slow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator whose batches take 10 s to validate, 100 s to run and 5 s to finalize.

    A busy machine does not put off what is due to a later second.
    """
    for patience in ("LOOK", "SLICE"):
        monkeypatch.setattr(f"flextier.sim.stores.batches.{patience}", 60.0)
    weather = BatchWeather(validating=10, seconds=100, finalizing=5, cancelling=60)
    with Simulator(Weather(batch=weather), clock=clock) as simulator:
        yield simulator


def test_a_batch_is_done_at_once(sim: Simulator, batches: Batches) -> None:
    """By default a batch completes at once, with an answer a line and no error file."""
    file = batches.upload(lines(10))
    batch = batches.ended(batches.start(file, metadata={"job": "nightly"}))
    assert (batch.status, batch.model, batch.endpoint) == ("completed", MODEL, CHAT)
    assert batch.metadata == {"job": "nightly"}
    assert batch.request_counts.to_dict() == {"total": 10, "completed": 10, "failed": 0}
    assert (batch.error_file_id, batch.errors) == (None, None)
    rows = batches.read(batch.output_file_id)
    assert ids(rows) == {f"row-{number}" for number in range(10)}
    for row in rows:
        assert row["id"].startswith("batch_req_")
        assert row["error"] is None
        assert row["response"]["status_code"] == 200
        assert row["response"]["request_id"]
        assert row["response"]["body"]["service_tier"] == "default"


async def test_a_batch_through_the_async_client(sim: Simulator) -> None:
    """The async SDK uploads, creates, polls and downloads as the sync one does."""
    async with openai.AsyncOpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as client:
        rows = "\n".join(json.dumps(row) for row in lines(3)).encode()
        file = await client.files.create(file=("rows.jsonl", rows), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint=CHAT, completion_window="24h"
        )
        while batch.status != "completed":
            batch = await client.batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        content = (await client.files.content(batch.output_file_id)).text
        assert ids(map(json.loads, content.splitlines())) == {"row-0", "row-1", "row-2"}
        assert [one.id async for one in client.batches.list()] == [batch.id]


SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
PICTURE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]


@pytest.mark.parametrize(
    ("endpoint", "more"),
    [
        (CHAT, {}),
        (CHAT, {"n": 2, "reasoning_effort": "high", "max_completion_tokens": 900}),
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}),
        (CHAT, {"messages": [{"role": "user", "content": PICTURE}]}),
        (RESPONSES, {"reasoning": {"summary": "auto"}}),
        (RESPONSES, {"tools": [TOOL], "input": "Please look."}),
        (EMBEDDINGS, {"input": ["a", "b"], "dimensions": 8}),
    ],
    ids=str,
)
def test_lines_are_answered_as_direct_calls(
    sim: Simulator, batches: Batches, endpoint: str, more: dict[str, Any]
) -> None:
    """What a line is answered is what a direct call of the same body is, ids and times apart."""
    row = line(1, endpoint)
    row["body"].update(more)
    batch = batches.run([row], endpoint)
    (answered,) = batches.read(batch.output_file_id)
    direct = raw(sim.url, "POST", endpoint, row["body"]).json()
    assert _timeless(answered["response"]["body"]) == _timeless(direct)
    assert batch.usage.total_tokens == direct["usage"]["total_tokens"]


def _timeless(value: Any) -> Any:
    """Without what is another one in every answer."""
    passing = ("id", "created", "created_at", "completed_at", "call_id")
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in passing}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def test_output_is_not_in_input_order_and_the_same_for_a_seed() -> None:
    """Output lines are shuffled by the seed: joining on position fails."""
    orders = []
    for seed in (1, 1, 2):
        with Simulator(seed=seed) as sim, account(sim) as batches:
            rows = batches.read(batches.run(lines(30)).output_file_id)
            orders.append([row["custom_id"] for row in rows])
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0], key=lambda name: int(name[4:]))


def test_every_status_in_its_time(slow: Simulator, clock: Clock) -> None:
    """Statuses, counts and stamps follow the clock; lines finish evenly."""
    with account(slow) as batches:
        batch = batches.create(lines(10))
        created = batch.created_at
        assert abs(created - time.time()) < 60
        assert (batch.status, batch.expires_at) == ("validating", created + 86_400)
        assert (batch.request_counts.total, batch.model, batch.usage) == (0, None, None)
        clock.now += 11
        batch = batches.look(batch)
        assert (batch.status, batch.in_progress_at - created) == ("in_progress", 10)
        assert batch.request_counts.to_dict() == {"total": 10, "completed": 0, "failed": 0}
        clock.now += 54
        batch = batches.look(batch)
        assert batch.request_counts.completed == 5
        assert batch.output_file_id is None
        clock.now += 46
        batch = batches.look(batch)
        assert (batch.status, batch.finalizing_at - created) == ("finalizing", 110)
        assert batch.request_counts.completed == 10
        clock.now += 1000
        batch = batches.look(batch)
        assert (batch.status, batch.completed_at - created) == ("completed", 115)
        unset = (batch.failed_at, batch.expired_at, batch.cancelling_at, batch.cancelled_at)
        assert unset == (None, None, None, None)


def test_a_batch_that_takes_too_long_expires(clock: Clock) -> None:
    """At its end the finished lines are in the output and billed, the others are expired."""
    weather = Weather(batch=BatchWeather(seconds=(200_000, 200_000), expire_after=100_000))
    with Simulator(weather, clock=clock) as sim, account(sim) as batches:
        batch = batches.create(lines(10))
        clock.now += 1_000_000
        batch = batches.look(batch)
        assert (batch.status, batch.expired_at) == ("expired", batch.expires_at)
        assert batch.expires_at == batch.created_at + 100_000
        done, rest = batches.read(batch.output_file_id), batches.read(batch.error_file_id)
        assert (len(done), len(rest)) == (5, 5)
        assert ids(done) | ids(rest) == {f"row-{number}" for number in range(10)}
        assert {row["error"]["code"] for row in rest} == {"batch_expired"}
        assert {row["response"] for row in rest} == {None}
        assert sim.stats()["billed"][MODEL]["batch"]["requests"] == 5


def test_a_cancelled_batch_keeps_its_output(slow: Simulator, clock: Clock) -> None:
    """Cancelling takes its time; what was finished before stays, and is paid for."""
    with account(slow) as batches:
        batch = batches.create(lines(10))
        clock.now += 10 + 31
        batch = batches.client.batches.cancel(batch.id)
        assert (batch.status, batch.cancelling_at - batch.created_at) == ("cancelling", 41)
        clock.now += 59
        assert batches.client.batches.cancel(batch.id).status == "cancelling"
        clock.now += 2
        batch = batches.look(batch)
        assert (batch.status, batch.cancelled_at - batch.cancelling_at) == ("cancelled", 60)
        assert batch.request_counts.to_dict() == {"total": 10, "completed": 3, "failed": 0}
        rest = batches.read(batch.error_file_id)
        assert {row["error"]["code"] for row in rest} == {"batch_cancelled"}
        assert (len(batches.read(batch.output_file_id)), len(rest)) == (3, 7)
        assert slow.stats()["billed"][MODEL]["batch"]["requests"] == 3
        assert batches.client.batches.cancel(batch.id).status == "cancelled"


def test_cancelling_while_it_is_validated(slow: Simulator, clock: Clock) -> None:
    """A batch that has no lines yet ends without files."""
    with account(slow) as batches:
        batch = batches.create(lines(3))
        batches.client.batches.cancel(batch.id)
        clock.now += 61
        batch = batches.look(batch)
        assert (batch.status, batch.in_progress_at) == ("cancelled", None)
        assert (batch.output_file_id, batch.error_file_id) == (None, None)


def test_an_ended_batch_cannot_be_cancelled(sim: Simulator, batches: Batches) -> None:
    """A completed batch is a 409 in OpenAI's words; one that is not there is a 404."""
    batch = batches.run(lines(1))
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        batches.client.batches.cancel(batch.id)
    with pytest.raises(openai.NotFoundError, match="No batch found with id 'batch_none'"):
        batches.client.batches.cancel("batch_none")
    with pytest.raises(openai.NotFoundError):
        batches.client.batches.retrieve("batch_none")


def test_failed_lines_are_in_the_error_file(sim: Simulator, batches: Batches) -> None:
    """A line that a direct call would get a 400 for has it in its response, and is not billed."""
    wrong = line(1)
    wrong["body"]["max_tokens"] = -1
    batch = batches.run([line(0), wrong])
    assert batch.status == "completed"
    assert batch.request_counts.to_dict() == {"total": 2, "completed": 1, "failed": 1}
    (row,) = batches.read(batch.error_file_id)
    assert (row["custom_id"], row["error"]) == ("row-1", None)
    assert row["response"]["status_code"] == 400
    assert row["response"]["body"]["error"]["param"] == "max_tokens"
    assert ids(batches.read(batch.output_file_id)) == {"row-0"}
    assert sim.stats()["billed"][MODEL]["batch"]["requests"] == 1


def test_lines_fail_by_chance() -> None:
    """Shares of the lines are answered 500 and 429, the same ones for a seed."""
    weather = Weather(batch=BatchWeather(line_errors=0.2, line_rate_limits=0.3))
    with Simulator(weather, seed=3) as sim, account(sim) as batches:
        batch = batches.run(lines(200))
        statuses = [row["response"]["status_code"] for row in batches.read(batch.error_file_id)]
        assert set(statuses) == {429, 500}
        assert 20 <= statuses.count(500) <= 60 <= statuses.count(429) + 20 <= 100
        assert batch.request_counts.failed == len(statuses)


def test_usage_and_bills_add_up(sim: Simulator, batches: Batches) -> None:
    """A batch's usage is the sum over its output, and what the lane "batch" is billed."""
    batch = batches.run(lines(7))
    usages = [row["response"]["body"]["usage"] for row in batches.read(batch.output_file_id)]
    assert batch.usage.input_tokens == sum(usage["prompt_tokens"] for usage in usages)
    assert batch.usage.output_tokens == sum(usage["completion_tokens"] for usage in usages)
    assert batch.usage.output_tokens_details.reasoning_tokens == 7 * 192
    billed = sim.stats()["billed"][MODEL]
    assert list(billed) == ["batch"]
    assert billed["batch"]["input_tokens"] == batch.usage.input_tokens
    assert billed["batch"]["output_tokens"] == batch.usage.output_tokens
    assert sim.stats()["served"] == {"batch": 7}


# -- scripted outcomes --------------------------------------------------------------------


def test_scripted_outcomes_are_used_in_order(sim: Simulator, batches: Batches) -> None:
    """Each outcome is one batch's; the batch after the last is an ordinary one."""
    sim.script_batches(
        BatchOutcome.fail("token_limit_exceeded", {"code": "x", "line": 3, "message": "Why."}),
        BatchOutcome.expire(after=2),
        BatchOutcome.cancel(after=3),
        BatchOutcome.only_errors(400, "No.", "policy"),
    )
    file = batches.upload(lines(5))
    failed, expired, cancelled, hopeless, good = [
        batches.ended(batches.start(file)) for _ in range(5)
    ]
    assert (failed.status, failed.request_counts.total) == ("failed", 0)
    assert failed.failed_at is not None
    assert [error.to_dict() for error in failed.errors.data] == [
        {"code": "token_limit_exceeded", "message": "Scripted: token_limit_exceeded.",
         "line": None, "param": None},
        {"code": "x", "message": "Why.", "line": 3, "param": None},
    ]  # fmt: skip
    assert (expired.status, len(batches.read(expired.output_file_id))) == ("expired", 2)
    assert (cancelled.status, len(batches.read(cancelled.output_file_id))) == ("cancelled", 3)
    assert (hopeless.status, hopeless.output_file_id) == ("completed", None)
    rows = batches.read(hopeless.error_file_id)
    assert {row["response"]["body"]["error"]["code"] for row in rows} == {"policy"}
    assert len(rows) == hopeless.request_counts.failed == 5
    assert good.request_counts.completed == 5
    assert sim.stats()["batches"] == {
        "created": 5,
        "statuses": {"failed": 1, "expired": 1, "cancelled": 1, "completed": 2},
        "lines": 20,
        "completed_lines": 10,
        "failed_lines": 5,
        "enqueued_tokens": {},
    }


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "on_holiday"])
def test_a_batch_can_stay_in_a_status(sim: Simulator, batches: Batches, status: str) -> None:
    """A batch can stay in any status, known or not, until it is cancelled."""
    sim.script_batches(BatchOutcome.stay(status, after=1))
    batch = batches.create(lines(3))
    assert eventually(lambda: batches.look(batch).status == status)
    time.sleep(0.005)
    batch = batches.look(batch)
    assert batch.status == status
    done = {"validating": 0, "finalizing": 3}.get(status, 1)
    assert batch.request_counts.completed == done
    batches.client.batches.cancel(batch.id)
    batch = batches.ended(batch)
    assert batch.status == "cancelled"
    assert len(batches.read(batch.output_file_id)) == done


def test_cancelling_can_take_for_ever(sim: Simulator, batches: Batches) -> None:
    """A batch that stays in cancelling does so when it is cancelled, too."""
    sim.script_batches(BatchOutcome.stay("cancelling", after=99))
    batch = batches.create(lines(3))
    assert eventually(lambda: batches.look(batch).status == "cancelling")
    assert batches.client.batches.cancel(batch.id).status == "cancelling"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: BatchOutcome.stay("expired"), "status must be one in which"),
        (lambda: BatchOutcome.expire(after=-1), "after must be 0 or more"),
        (lambda: BatchOutcome.only_errors(200), "status must be an error status"),
        (lambda: BatchOutcome.fail({"message": "x"}), "errors must have a code"),
    ],
)
def test_mistakes_in_outcomes_are_explained(make: Any, problem: str) -> None:
    """An outcome that cannot be is refused where it is made."""
    with pytest.raises(ValueError, match=problem):
        make()


def test_outcomes_can_be_scripted_over_http(sim: Simulator, batches: Batches) -> None:
    """Another process scripts batches with the same names; mistakes are a 400."""
    outcomes = [
        {"outcome": "fail", "errors": ["empty_file"]},
        {"outcome": "expire", "after": 1, "times": 2},
    ]
    answer = raw(
        sim.url, "POST", "/sim/batches", {"outcomes": outcomes}, **{"x-flextier-token": sim.token}
    )
    assert answer.json() == {"waiting": 3}
    file = batches.upload(lines(2))
    statuses = [batches.ended(batches.start(file)).status for _ in range(4)]
    assert statuses == ["failed", "expired", "expired", "completed"]
    for wrong in ("x", [{"outcome": "rain"}], [{"outcome": "stay"}], [{"outcome": "fail", "a": 1}]):
        assert (
            raw(
                sim.url,
                "POST",
                "/sim/batches",
                {"outcomes": wrong},
                **{"x-flextier-token": sim.token},
            ).status
            == 400
        )


# -- lists --------------------------------------------------------------------------------


def test_batches_are_listed_newest_first_in_pages(sim: Simulator, batches: Batches) -> None:
    """Pages have a cursor; the SDK's iteration walks through all of them."""
    file = batches.upload(lines(1))
    made = [batches.start(file).id for _ in range(5)][::-1]
    page = batches.client.batches.list(limit=2)
    assert [one.id for one in page.data] == made[:2]
    assert page.has_more
    assert [one.id for one in batches.client.batches.list(limit=2)] == made
    data = raw(sim.url, "GET", f"/v1/batches?limit=2&after={made[2]}").json()
    assert (data["first_id"], data["last_id"], data["has_more"]) == (made[3], made[4], False)
    for query in ("limit=0", "limit=101", "limit=x", "after=batch_none"):
        assert raw(sim.url, "GET", f"/v1/batches?{query}").status == 400


def test_a_failed_batch_cannot_be_cancelled(sim: Simulator, batches: Batches) -> None:
    """A failed batch is a 409, too, and an expired one."""
    sim.script_batches(BatchOutcome.fail("x"), BatchOutcome.expire())
    for _ in range(2):
        batch = batches.run(lines(1))
        with pytest.raises(openai.ConflictError, match=batch.status):
            batches.client.batches.cancel(batch.id)


def test_batches_take_turns(sim: Simulator, batches: Batches) -> None:
    """A small batch does not wait for a large one that was created before it."""
    large = batches.create(lines(8_000))
    small = batches.create(lines(5))
    retrieve = batches.client.batches.retrieve
    assert eventually(lambda: retrieve(small.id).status == "completed")
    assert retrieve(large.id).status != "completed"
    assert batches.ended(large).request_counts.completed == 8_000


# -- beginnings and ends ------------------------------------------------------------------


def test_a_reset_forgets_files_and_batches(sim: Simulator, batches: Batches) -> None:
    """After a reset there is neither file nor batch nor outcome, and nothing runs on."""
    sim.weather = Weather(batch=BatchWeather(seconds=1000))
    sim.script_batches(BatchOutcome.stay("validating"), BatchOutcome.fail("x"))
    batch = batches.create(lines(3))
    running = sim.stats()["batches"]["statuses"]
    assert running == {"validating": 1}
    sim.reset()
    assert sim.stats()["batches"]["created"] == sim.stats()["files"]["count"] == 0
    with pytest.raises(openai.NotFoundError):
        batches.look(batch)
    sim.weather = Weather()
    assert batches.run(lines(1)).status == "completed"


def test_a_reset_over_http_stops_batches(sim: Simulator, batches: Batches) -> None:
    """A large batch that is running ends with the reset: nothing is billed after it."""
    batches.create(lines(5000))
    assert eventually(lambda: sim.stats()["batches"]["completed_lines"] > 0)
    assert raw(sim.url, "POST", "/sim/reset", {}, **{"x-flextier-token": sim.token}).json() == {
        "reset": True
    }
    time.sleep(0.01)
    assert sim.stats()["billed"] == {}
    assert sim.stats()["batches"]["created"] == 0


def test_a_batch_goes_on_when_the_server_is_back() -> None:
    """A simulator that was stopped in the middle finishes its batches after the next start."""
    clock = Clock()
    with Simulator(Weather(batch=BatchWeather(seconds=100)), clock=clock) as sim:
        with account(sim) as batches:
            batch = batches.create(lines(10))
            clock.now += 50
            assert batches.look(batch).request_counts.completed == 5
        sim.stop()
        clock.now += 51
        sim.start()
        with account(sim) as batches:
            batch = batches.ended(batch)
            assert len(batches.read(batch.output_file_id)) == 10


def test_days_pass_in_moments() -> None:
    """With ``speed`` a batch of hours ends at once, and its timestamps are hours apart."""
    weather = Weather(batch=BatchWeather(validating=600, seconds=36_000))
    with Simulator(weather, speed=3_600_000) as sim, account(sim) as batches:
        batch = batches.run(lines(10))
        assert batch.status == "completed"
        assert batch.in_progress_at - batch.created_at == pytest.approx(600, abs=2)
        assert batch.completed_at - batch.created_at == pytest.approx(36_600, abs=2)


def test_speed_must_be_above_zero() -> None:
    """A clock that stands still or runs backwards is refused."""
    with pytest.raises(ValueError, match="speed must be above 0"):
        Simulator(speed=0)


def test_progress_needs_no_polling() -> None:
    """A batch that is never retrieved finishes nevertheless."""
    with Simulator(Weather(batch=BatchWeather(seconds=0.05))) as sim, account(sim) as batches:
        batches.create(lines(5))
        assert eventually(lambda: sim.stats()["batches"]["statuses"] == {"completed": 1})


def test_a_large_batch_leaves_the_server_responsive(sim: Simulator, batches: Batches) -> None:
    """While lines are answered, other calls are answered, time and again."""
    batch = batches.create(lines(5000))
    between = set[int]()
    while sim.stats()["batches"]["statuses"] != {"completed": 1}:
        between.add(raw(sim.url, "GET", "/stats").json()["batches"]["completed_lines"])
    assert len(between - {0, 5000}) >= 3
    assert len(ids(batches.read(batches.look(batch).output_file_id))) == 5000


def test_faults_for_answers_leave_batches_alone(sim: Simulator, batches: Batches) -> None:
    """A scripted fault without a path waits for a direct call: neither lines nor polls take it."""
    sim.script(Fault.status(503))
    assert batches.run(lines(3)).request_counts.completed == 3
    with pytest.raises(openai.InternalServerError):
        batches.client.chat.completions.create(model="o3", messages=line()["body"]["messages"])
