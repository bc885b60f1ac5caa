"""What is wrong with a batch: at once, or when its file is validated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier.sim import BatchWeather, Simulator, Weather

from .batches import CHAT, EMBEDDINGS, RESPONSES, Batches, Clock, account, body, line, lines
from .callers import raw


@pytest.fixture
def batches(sim: Simulator) -> Iterator[Batches]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


SOUND = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
LIFE = {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"input_file_id": None}, "input_file_id", "Missing required parameter"),
        ({"input_file_id": 3}, "input_file_id", "expected a string, but got an integer"),
        ({"endpoint": None}, "endpoint", "Missing required parameter"),
        ({"endpoint": "/v1/moderations"}, "endpoint", "Supported values are: '/v1/responses'"),
        ({"completion_window": None}, "completion_window", "Missing required parameter"),
        ({"completion_window": "1h"}, "completion_window", "Supported values are: '24h'"),
        ({"metadata": "x"}, "metadata", "expected an object, but got a string"),
        ({"metadata": {"a": ["b"]}}, "metadata.a", "expected a string, but got an array"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "at most 16"),
        ({"metadata": {"k" * 65: ""}}, f"metadata.{'k' * 65}", "at most 64"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "at most 512"),
        ({"output_expires_after": 9}, "output_expires_after", "expected an object"),
        ({"output_expires_after": {**LIFE, "anchor": "x"}}, "output_expires_after.anchor", "x"),
        ({"output_expires_after": {**LIFE, "seconds": 9}}, "output_expires_after.seconds", "3600"),
    ],
    ids=str,
)
def test_what_is_refused_at_once(
    sim: Simulator, change: dict[str, Any], param: str, words: str
) -> None:
    """A wrong parameter is a 400 that names it, and there is no batch."""
    answer = raw(sim.url, "POST", "/v1/batches", {**SOUND, **change})
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert words in error["message"]
    assert sim.stats()["batches"]["created"] == 0


def test_the_largest_metadata_is_taken(batches: Batches) -> None:
    """16 pairs of 64 and 512 characters are what the API takes."""
    metadata = {f"{number:064}": "v" * 512 for number in range(16)}
    assert batches.create(lines(1), metadata=metadata).metadata == metadata


def without(name: str) -> dict[str, Any]:
    """A line without a field of its body."""
    row = line(9)
    del row["body"][name]
    return row


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([b"\n", b"  \n"], ("empty_file", None, None)),
        ([line(1), b"{not json\n"], ("invalid_json_line", 2, None)),
        ([line(1), b"\n", b"[1]\n"], ("invalid_json_line", 3, None)),
        ([line(1, custom_id=None)], ("missing_required_parameter", 1, "custom_id")),
        ([line(1, method=None)], ("missing_required_parameter", 1, "method")),
        ([line(1, url=None)], ("missing_required_parameter", 1, "url")),
        ([line(1, body=None)], ("missing_required_parameter", 1, "body")),
        ([line(1, custom_id=7)], ("invalid_type", 1, "custom_id")),
        ([line(1, body="x")], ("invalid_type", 1, "body")),
        ([line(1), line(1)], ("duplicate_custom_id", 2, "custom_id")),
        ([line(1, method="GET")], ("invalid_method", 1, "method")),
        ([line(1, url=RESPONSES)], ("invalid_url", 1, "url")),
        ([line(1), line(2, body=body(model="o3"))], ("model_mismatch", 2, "body.model")),
        ([line(1, body=body(model="dall-e-3"))], ("model_not_found", 1, "body.model")),
        ([line(1, body=body(stream=True))], ("streaming_unsupported", 1, "body.stream")),
        ([without("model")], ("invalid_request", 1, "body.model")),
        ([without("messages")], ("invalid_request", 1, "body.messages")),
        (lines(6), ("too_many_tasks", None, None)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_validation_finds(
    sim: Simulator, batches: Batches, rows: list[Any], expected: tuple[Any, ...]
) -> None:
    """The batch is created and fails later, with the code, the line and the parameter."""
    sim.weather = Weather(batch=BatchWeather(max_lines=5, unsupported_models=("dall-e-*",)))
    batch = batches.create(rows)
    assert (batch.status, batch.errors) == ("validating", None)
    batch = batches.ended(batch)
    assert batch.status == "failed"
    assert batch.failed_at >= batch.created_at
    assert batch.errors.object == "list"
    (error,) = batch.errors.data
    assert (error.code, error.line, error.param) == expected
    assert error.message
    assert (batch.output_file_id, batch.error_file_id, batch.in_progress_at) == (None, None, None)
    assert sim.stats()["billed"] == {}


def test_every_problem_is_reported(batches: Batches) -> None:
    """A file's problems come together, in order, up to a hundred."""
    rows = [line(1, method=None, url=None), b"x\n", line(1, method="PUT")]
    batch = batches.run([line(0), *rows])
    found = [(error.line, error.code) for error in batch.errors.data]
    missing = "missing_required_parameter"
    assert found == [
        (2, missing), (2, missing), (3, "invalid_json_line"), (4, "invalid_method"),
    ]  # fmt: skip
    batch = batches.run([line(0), *[b"x\n"] * 300])
    assert len(batch.errors.data) == 100


def test_an_unknown_file_fails_the_batch(batches: Batches) -> None:
    """OpenAI creates the batch nevertheless; so does a file that is for something else."""
    other = batches.client.files.create(file=("rows.jsonl", b"{}\n"), purpose="user_data")
    for file_id in ("file-none", other.id):
        batch = batches.ended(batches.start(file_id))
        (error,) = batch.errors.data
        assert (error.code, error.param) == ("invalid_request", "file_id")
        assert f"Cannot find file {file_id}" in error.message


def test_embeddings_count_their_texts(sim: Simulator, batches: Batches) -> None:
    """A file for embeddings has a limit on the texts of all its lines."""
    sim.weather = Weather(batch=BatchWeather(max_lines=5))
    row = line(1, EMBEDDINGS)
    row["body"]["input"] = ["a"] * 6
    (error,) = batches.run([row], EMBEDDINGS).errors.data
    assert (error.code, error.line) == ("too_many_tasks", None)
    row["body"]["input"] = ["a"] * 5
    assert batches.run([row], EMBEDDINGS).status == "completed"


def row_of(tokens: int, number: int = 0, model: str = "gpt-5-mini") -> dict[str, Any]:
    """A line with ``tokens`` estimated input tokens."""
    return line(number, body=body(text="x" * 4 * (tokens - 4), model=model))


def test_enqueued_tokens_are_limited_by_account_and_model() -> None:
    """Unfinished batches of an account and model share a limit; ended ones make room."""
    clock = Clock()
    weather = Weather(batch=BatchWeather(enqueued_limit=1000, seconds=100))
    with (
        Simulator(weather, clock=clock) as sim,
        account(sim) as mine,
        account(sim, "other") as other,
    ):
        first = mine.create([row_of(600, 1)])
        assert mine.look(first).status == "in_progress"
        assert sim.stats()["batches"]["enqueued_tokens"] == {"gpt-5-mini": 600}
        failed = mine.look(mine.create([row_of(401, 2)]))
        (error,) = failed.errors.data
        assert (failed.status, error.code) == ("failed", "token_limit_exceeded")
        assert error.message == (
            "Enqueued token limit reached for gpt-5-mini in organization org-simulated. Limit: "
            "1,000 enqueued tokens. Please try again once some in_progress batches have been "
            "completed."
        )
        fitting = mine.create([row_of(400, 3)])
        another_model = mine.create([row_of(900, 4, "o3")])
        another_account = other.create([row_of(900, 5)])
        for batch in (fitting, another_model, another_account):
            assert mine.look(batch).status == "in_progress"
        clock.now += 101
        # What the first two have finished by now is room for the next.
        assert mine.look(mine.create([row_of(1000, 6)])).status == "in_progress"


def test_room_is_counted_at_its_moment() -> None:
    """A later batch of shorter life has made room before the earlier one is validated."""
    clock = Clock()
    with Simulator(clock=clock) as sim, account(sim) as batches:
        sim.weather = Weather(batch=BatchWeather(enqueued_limit=1000, validating=100))
        late = batches.create([row_of(900)])
        sim.weather = Weather(batch=BatchWeather(enqueued_limit=1000, seconds=50))
        quick = batches.create([row_of(900)])
        clock.now += 200
        assert batches.look(late).status in ("in_progress", "completed")
        assert batches.look(quick).status == "completed"


def test_a_model_can_have_its_own_limit() -> None:
    """Limits go by model, as the provider's do."""
    weather = Weather.parse("batch_enqueued_limit=1000,o3:batch_enqueued_limit=10")
    with Simulator(weather) as sim, account(sim) as batches:
        assert batches.run([row_of(100)]).status == "completed"
        (error,) = batches.run([row_of(100, model="o3")]).errors.data
        assert "Limit: 10 enqueued" in error.message


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"seconds": -1}, "seconds must be seconds"),
        ({"seconds": (3, 1)}, "seconds must be seconds"),
        ({"validating": None}, "validating must not be None"),
        ({"expire_after": 0}, "expire_after must be above 0"),
        ({"line_errors": 2}, "line_errors must be a probability"),
        ({"line_errors": 0.6, "line_rate_limits": 0.6}, "1 or less together"),
        ({"enqueued_limit": 0}, "enqueued_limit must be a whole number"),
        ({"max_lines": None}, "max_lines must not be None"),
        ({"unsupported_models": "o3"}, "unsupported_models must be a tuple"),
    ],
    ids=str,
)
def test_mistakes_in_the_weather_are_explained(fields: dict[str, Any], problem: str) -> None:
    """A field out of its range is named, and in JSON as a part of ``batch``."""
    with pytest.raises(ValueError, match=problem):
        BatchWeather(**fields)
    with pytest.raises(ValueError, match=f"batch: .*{problem}"):
        Weather.from_dict({"batch": fields})


def test_batch_weather_from_words_and_json() -> None:
    """Every field has a word; JSON has an object; a model's own adds to the one around it."""
    words = (
        "batch=60-300,batch_validating=5,batch_finalizing=1,batch_cancelling=600,"
        "batch_expire_after=3600,batch_enqueued_limit=2000000,batch_line_errors=0.01,"
        "batch_line_rate_limits=0.02,batch_api_errors=0.03,batch_unsupported=dall-e-*,"
        "batch_unsupported=tts-1,batch_max_lines=10,batch_max_bytes=1000,o3:batch=9"
    )
    batch = BatchWeather(
        seconds=(60, 300),
        validating=5,
        finalizing=1,
        cancelling=600,
        expire_after=3600,
        enqueued_limit=2_000_000,
        line_errors=0.01,
        line_rate_limits=0.02,
        api_errors=0.03,
        unsupported_models=("dall-e-*", "tts-1"),
        max_lines=10,
        max_bytes=1000,
    )
    weather = Weather.parse(words)
    assert weather.batch == batch
    assert weather.of("o3").batch.seconds == 9
    assert weather.of("o3").batch.enqueued_limit == 2_000_000
    assert Weather.from_dict({"batch": {"seconds": [60, 300]}}).batch.seconds == (60, 300)
    with pytest.raises(ValueError, match="batch has unknown fields: rain"):
        Weather.from_dict({"batch": {"rain": 1}})
    with pytest.raises(ValueError, match="batch must be a BatchWeather"):
        Weather.from_dict({"batch": 3})


def test_bad_requests_leave_no_batch_behind(batches: Batches) -> None:
    """The SDK raises its usual error for what is refused at once."""
    with pytest.raises(openai.BadRequestError, match="Invalid value: '/v1/nothing'"):
        batches.start("file-1", "/v1/nothing")
    assert batches.client.batches.list().data == []
