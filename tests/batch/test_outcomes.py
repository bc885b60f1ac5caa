"""Every way a batch can end, and what becomes of its calls: an answer, another lane, an error."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier import FlexOpenAI, track
from flextier.errors import BatchUnfinished, MalformedAnswerError
from flextier.sim import BatchOutcome, BatchWeather, Simulator, Weather
from tests.batch.crowd import (
    ALONE,
    PATIENT,
    POLICY,
    Crowd,
    ask,
    count,
    files,
    options,
    patch_all,
    questions,
    tasks,
    until,
)

pytestmark = pytest.mark.sampled(2)

ENDED = {
    "expired": BatchOutcome.expire,
    "cancelled-by-another": BatchOutcome.cancel,
}


@pytest.mark.parametrize("after", [0, 3, 7])
@pytest.mark.parametrize("outcome", ENDED.values(), ids=ENDED)
def test_what_was_done_is_used(outcome: Any, after: int, crowd: Crowd, sim: Simulator) -> None:
    """The paid lines of a batch that ended early are used; the rest goes down the ladder."""
    sim.script_batches(outcome(after=after))
    said = crowd(options(sim, PATIENT), questions(7))
    assert all(one.is_right for one in said)
    lanes = [one.lanes for one in said]
    assert lanes.count(["batch:served"]) == after
    assert lanes.count(["batch:unfinished", "standard:served"]) == 7 - after
    assert {one.report.fallback for one in said} == {
        *([None] if after else []),
        *(["unfinished"] if after < 7 else []),
    }
    assert (sim.paid()["payments"], sim.paid()["twice"]) == (7, [])
    assert not any(a.possibly_billed for one in said for a in one.report.attempts)


def test_a_batch_that_ends_early_without_another_lane(sim: Simulator) -> None:
    """With batch alone, what was not done goes into another batch; then the error says why."""
    sim.script_batches(BatchOutcome.expire(), BatchOutcome.expire())
    with FlexOpenAI(**options(sim, ALONE.replace(max_retries=1))) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:unfinished"] * 2
    assert isinstance(said.error, BatchUnfinished)
    assert isinstance(said.error, openai.APIConnectionError)
    assert said.error.status == "expired"
    assert said.error.batch_id is not None
    assert said.error.batch_id in str(said.error)


LINES: dict[str, tuple[int, str | None, list[str], type[Exception] | None]] = {
    "500": (500, None, ["batch:transient", "standard:served"], None),
    "503": (503, None, ["batch:transient", "standard:served"], None),
    "429": (429, "rate_limit_exceeded", ["batch:rate_limited", "standard:served"], None),
    "quota": (429, "insufficient_quota", ["batch:quota"], openai.RateLimitError),
    "400": (400, "context_length_exceeded", ["batch:rejected"], openai.BadRequestError),
    "401": (401, None, ["batch:rejected"], openai.AuthenticationError),
    "403": (403, None, ["batch:rejected"], openai.PermissionDeniedError),
    "404": (404, "model_not_found", ["batch:rejected"], openai.NotFoundError),
    "422": (422, None, ["batch:rejected"], openai.UnprocessableEntityError),
}


@pytest.mark.parametrize(("status", "code", "lanes", "raises"), LINES.values(), ids=LINES)
def test_a_line_that_failed(
    status: int, code: str | None, lanes: list[str], raises: Any, sim: Simulator
) -> None:
    """Completed with an error file only: each call meets what a direct one would have met."""
    sim.script_batches(BatchOutcome.only_errors(status, "It is so.", code))
    (said,) = tasks(options(sim), ["What of it?"])
    assert said.lanes == lanes
    assert said.report.attempts[0].status == status
    assert said.report.attempts[0].request_id
    assert not said.report.attempts[0].possibly_billed
    if raises is None:
        assert said.is_right
    else:
        assert type(said.error) is raises
        assert said.error.code == code  # type: ignore[attr-defined]
        assert "It is so." in str(said.error)
        assert said.error.report is said.report  # type: ignore[attr-defined]


def test_some_lines_that_failed(crowd: Crowd, sim: Simulator) -> None:
    """Output and errors in two files, each in an order of its own: each call gets its own."""
    sim.weather = Weather(batch=BatchWeather(line_errors=0.3, line_rate_limits=0.2))
    said = crowd(options(sim, PATIENT), questions(30))
    assert all(one.is_right for one in said)
    kinds = {tuple(one.lanes) for one in said}
    assert kinds == {
        ("batch:served",),
        ("batch:transient", "standard:served"),
        ("batch:rate_limited", "standard:served"),
    }
    assert (sim.paid()["payments"], sim.paid()["twice"]) == (30, [])


FAILED = {
    "nothing-said": ((), "unfinished", False),
    "empty_file": (("empty_file",), "unfinished", False),
    "too_many_tasks": (("too_many_tasks",), "unfinished", False),
    "invalid_request": (("invalid_request",), "unfinished", False),
    "unknown": (("unknown",), "unfinished", False),
    "model_not_found": (("model_not_found",), "lane_unsupported", True),
    "invalid_model": ((("invalid_model"),), "lane_unsupported", True),
    "one-line": (({"code": "invalid_json_line", "line": 1},), "lane_unsupported", False),
    "line-out-of-range": (({"code": "invalid_json_line", "line": 99},), "unfinished", False),
    "line-zero": (({"code": "invalid_json_line", "line": 0},), "unfinished", False),
    "url_mismatch": (({"code": "url_mismatch", "line": 1},), "lane_unsupported", False),
    "model_mismatch": (("model_mismatch",), "unfinished", False),
    "no-code": (({"code": None, "message": "?"},), "unfinished", False),
}


@pytest.mark.parametrize(("errors", "kind", "lasts"), FAILED.values(), ids=FAILED)
def test_a_file_that_was_not_taken(errors: Any, kind: str, lasts: bool, sim: Simulator) -> None:
    """A batch that failed its validation costs nothing: its calls go to the next lane."""
    sim.script_batches(BatchOutcome.fail(*errors))
    with FlexOpenAI(**options(sim)) as client:
        first, second = ask(client, "What of it?"), ask(client, "What of more?")
    assert first.lanes == [f"batch:{kind}", "standard:served"]
    assert not first.report.attempts[0].possibly_billed
    assert second.lanes == (["standard:served"] if lasts else ["batch:served"])


def test_a_file_that_was_not_taken_without_another_lane(sim: Simulator) -> None:
    """With batch as the only lane, the error contains the server's message about the file."""
    sim.script_batches(*[BatchOutcome.fail("empty_file")] * 3)
    with FlexOpenAI(**options(sim, ALONE)) as client:
        said = ask(client, "What of it?")
    assert isinstance(said.error, BatchUnfinished)
    assert said.error.status == "failed"
    assert "empty_file" in str(said.error)


def test_a_model_without_batches(crowd: Crowd, sim: Simulator) -> None:
    """A model that batches do not take goes to the next lane, once for all its calls."""
    sim.weather = Weather(batch=BatchWeather(unsupported_models=("o3",)))
    said = crowd(options(sim, PATIENT), questions(4))
    assert {tuple(one.lanes) for one in said} == {("batch:lane_unsupported", "standard:served")}
    assert files(sim) == 1


def test_bad_lines_are_left_out(crowd: Crowd, sim: Simulator) -> None:
    """Lines that the server does not like leave the file; the others are sent again."""
    bad = ({"code": "invalid_request", "line": 2}, {"code": "invalid_request", "line": 5})
    sim.script_batches(BatchOutcome.fail(*bad))
    said = crowd(options(sim, PATIENT), questions(6))
    lanes = [one.lanes for one in said]
    assert lanes.count(["batch:served"]) == 4
    assert lanes.count(["batch:lane_unsupported", "standard:served"]) == 2
    assert (files(sim), sim.paid()["payments"], sim.paid()["twice"]) == (2, 6, [])


def test_a_file_that_is_never_taken(crowd: Crowd, sim: Simulator) -> None:
    """A file that fails again and again, each time for another line, ends on the next lane."""
    sim.script_batches(*[BatchOutcome.fail({"code": "odd", "line": 1})] * 20)
    said = crowd(options(sim, PATIENT), questions(12))
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"standard"}
    assert files(sim) <= 5
    sim.reset()


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "thinking"])
def test_a_status_in_which_it_stays(status: str, sim: Simulator) -> None:
    """Whatever it is called: it has not ended, is left in time, and the call is answered."""
    sim.script_batches(BatchOutcome.stay(status))
    policy = POLICY.replace(deadline=1.2, batch_reserve=0.9)
    with FlexOpenAI(**options(sim, policy)) as client:
        said = ask(client, "What of it?")
    # What is cancelled while it finalizes may be done: then its answer is used.
    assert said.is_right
    assert said.lanes in (["batch:unfinished", "standard:served"], ["batch:served"])
    assert sim.paid()["twice"] == []


# --- how much may be enqueued -----------------------------------------------------------------


def test_room_for_one_batch_at_a_time(
    crowd: Crowd, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that find no room wait for those on their way, and then go: none is lost."""
    patch_all(monkeypatch, "MAX_LINES", 5)
    sim.weather = Weather(batch=BatchWeather(seconds=0.1, enqueued_limit=100))
    said = crowd(options(sim, PATIENT), questions(15))
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"batch"}
    assert sim.paid()["twice"] == []


def test_a_file_above_the_limit_is_split(crowd: Crowd, sim: Simulator) -> None:
    """A file that never finds room goes as smaller ones."""
    sim.weather = Weather(batch=BatchWeather(enqueued_limit=60))
    said = crowd(options(sim, PATIENT), questions(12))
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"batch"}
    assert files(sim) >= 3
    assert sim.paid()["twice"] == []


def test_a_line_above_the_limit(sim: Simulator) -> None:
    """A single line that can never be enqueued goes to the next lane."""
    sim.weather = Weather(batch=BatchWeather(enqueued_limit=3))
    policy = POLICY.replace(
        deadline=4, batch_reserve=1, batch_window=0.02, batch_poll_interval=0.02
    )
    with FlexOpenAI(**options(sim, policy)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:lane_unsupported", "standard:served"]


def test_room_that_another_program_takes(sim: Simulator) -> None:
    """No room, and none of ours on its way: asked again until there is some."""
    full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached for o3."}
    sim.script_batches(*[BatchOutcome.fail(full)] * 4)
    with FlexOpenAI(**options(sim, POLICY.replace(batch_poll_interval=0.02))) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:served"]
    assert (files(sim), sim.paid()["payments"]) == (5, 1)
    until(lambda: sim.in_flight == 0)


# --- lines and files that are odd --------------------------------------------------------------


def _response(status: Any, body: Any) -> dict[str, Any]:
    return {"status_code": status, "request_id": "", "body": body}


ODD: dict[str, Any] = {
    "status-0": _response(0, {}),
    "no-status": _response(None, None),
    "status-as-text": _response("500", {"error": {"message": "no"}}),
    "status-odd": _response([200], None),
    "redirect": _response(301, {}),
    "error": _response(200, {"error": {"message": "upstream"}}),
    "error-text": _response(200, {"error": "upstream"}),
    "null": _response(200, None),
    "list": _response(200, []),
    "text": _response(200, "<html>"),
    "no-choices": _response(200, {"id": "x", "object": "chat.completion", "choices": []}),
    "choices-null": _response(200, {"id": "x", "choices": None}),
    "choice-null": _response(200, {"id": "x", "choices": [None]}),
    "choice-empty": _response(200, {"id": "x", "choices": [{}]}),
}


@pytest.mark.parametrize("file", ["output", "error"])
@pytest.mark.parametrize("written", ODD.values(), ids=ODD)
def test_a_line_that_is_no_answer(written: Any, file: Any, crowd: Crowd, sim: Simulator) -> None:
    """It costs its own call the lane; the others of the file have their answers from it."""
    sim.script_batches(BatchOutcome.complete(written, file=file))
    said = crowd(options(sim, PATIENT), questions(3))
    assert all(one.is_right for one in said)
    lanes = sorted(one.lanes for one in said)
    assert lanes == [["batch:served"]] * 2 + [["batch:transient", "standard:served"]]
    assert (files(sim), sim.paid()["payments"], sim.paid()["twice"]) == (1, 3, [])


RESPONSES: dict[str, Any] = {
    "empty": {},
    "error": {"error": {"message": "upstream"}},
    "no-output": {"id": "resp_1", "object": "response", "status": "completed", "output": None},
    "output-null": {"id": "resp_1", "object": "response", "output": [None]},
    "failed-for-no-reason": {"object": "response", "status": "failed", "error": None, "output": []},
}


@pytest.mark.parametrize("body", RESPONSES.values(), ids=RESPONSES)
def test_a_response_that_is_none(body: Any, sim: Simulator) -> None:
    """The same for the Responses API."""
    sim.script_batches(BatchOutcome.complete(_response(200, body)))
    with FlexOpenAI(**options(sim)) as client, track() as calls:
        client.responses.create(model="o3", input="What of it?")
    assert [one.outcome for one in calls[0].attempts] == ["transient", "served"]


def test_a_line_that_is_no_answer_without_another_lane(sim: Simulator) -> None:
    """With batch alone, another batch is made; then the error says what the line was."""
    sim.script_batches(*[BatchOutcome.complete(_response(0, {}))] * 3)
    with FlexOpenAI(**options(sim, ALONE)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:transient"] * 3
    assert isinstance(said.error, MalformedAnswerError)
    assert "status is 0" in str(said.error)


ODD_LINES = {
    "null": "null",
    "empty": "{}",
    "number": "17",
    "garbage": "}{",
    "deep": "[" * 100_000,
    "digits": "1" * 5000,
    "no-response": '{"custom_id": "x", "response": "no", "error": null}',
    "odd-id": '{"custom_id": {"a": 1}, "response": null, "error": "no"}',
}


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("text", ODD_LINES.values(), ids=ODD_LINES)
def test_a_line_that_is_no_line(text: str, count: int, crowd: Crowd, sim: Simulator) -> None:
    """The first line of a file, or the only one, is garbage: it alone is lost."""
    sim.script_batches(BatchOutcome.complete(text, file="output"))
    said = crowd(options(sim, PATIENT), questions(count))
    assert all(one.is_right for one in said)
    lanes = sorted(one.lanes for one in said)
    assert lanes == [["batch:served"]] * (count - 1) + [["batch:unfinished", "standard:served"]]
    assert (files(sim), sim.paid()["twice"]) == (1, [])


def test_file_ids_that_are_empty(crowd: Crowd, sim: Simulator) -> None:
    """An empty id means that there is no such file."""
    odd = _response(500, {"error": {"message": "no"}})
    sim.script_batches(BatchOutcome.complete(no_file=""), BatchOutcome.complete(odd, no_file=""))
    made = options(sim, PATIENT)
    assert [one.lanes for one in crowd(made, questions(3))] == [["batch:served"]] * 3
    (said,) = tasks(options(sim), ["What of it?"])
    assert said.lanes == ["batch:transient", "standard:served"]


@pytest.mark.parametrize("late", [1, 3])
def test_files_that_are_named_late(late: int, crowd: Crowd, sim: Simulator) -> None:
    """A batch that is completed is polled again until it names its files."""
    sim.script_batches(BatchOutcome.complete(_response(400, {"error": {}}), late=late))
    said = crowd(options(sim, PATIENT), questions(3))
    assert sorted(one.lanes for one in said) == [["batch:rejected"], *[["batch:served"]] * 2]
    assert sim.paid()["twice"] == []


BILLING = {"code": "billing_hard_limit_reached", "message": "Billing hard limit has been reached."}


@pytest.mark.parametrize("error", [BILLING, "insufficient_quota"], ids=["billing", "quota"])
def test_a_batch_without_money(error: Any, crowd: Crowd, sim: Simulator) -> None:
    """A batch that fails for a billing limit raises what a direct call would: no lane is tried."""
    sim.script_batches(BatchOutcome.fail(error))
    said = crowd(options(sim, PATIENT), questions(2))
    assert [one.lanes for one in said] == [["batch:quota"]] * 2
    for one in said:
        assert isinstance(one.error, openai.RateLimitError)
        assert one.error.code == (error if isinstance(error, str) else error["code"])
    assert count(sim, "POST", "/chat/completions") == 0
