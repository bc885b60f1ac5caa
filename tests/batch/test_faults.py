"""Requests about batches that go wrong: what is lost is asked for again, and nothing paid twice."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier import FlexOpenAI
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.crowd import (
    ALONE,
    PATIENT,
    POLICY,
    Crowd,
    ask,
    batches,
    count,
    files,
    options,
    questions,
    threads,
)

pytestmark = pytest.mark.sampled(2)

UPLOAD: dict[str, Any] = {"method": "POST", "path": "/files"}
CREATE: dict[str, Any] = {"method": "POST", "path": "/batches"}
LOOK: dict[str, Any] = {"method": "GET", "path": "/batches/{id}"}
FETCH: dict[str, Any] = {"method": "GET", "path": "/files/{id}/content"}
PLACES = {"upload": UPLOAD, "create": CREATE, "look": LOOK, "fetch": FETCH}

PASSING = {
    "500": Fault.status(500),
    "503-with-a-hint": Fault.status(503, headers={"retry-after-ms": "10"}),
    "409": Fault.status(409),
    "429": Fault.rate_limit(retry_after_ms=10),
    "reset": Fault.reset(),
    "answer-lost": Fault.reset(after_effect=True),
    "cut": Fault.cut(30),
    "cut-at-once": Fault.cut(0),
    "page": Fault.not_json(),
    "cut-json": Fault.not_json("application/json"),
    "null": Fault.body("null"),
    "list": Fault.body("[]"),
    "nothing": Fault.body(""),
    "error": Fault.body('{"error": {"message": "upstream"}}'),
    "odd-fields": Fault.body('{"id": "b", "status": ["completed"], "errors": 3, "metadata": []}'),
    "bad-utf-8": Fault.body(b"\xff\xfe\xfa"),
    "deep": Fault.body("[" * 100_000),
    "digits": Fault.body("1" * 5000),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
@pytest.mark.parametrize("crowd", [threads], indirect=True, ids=["threads"])
@pytest.mark.sampled(3)
def test_what_passes(fault: Fault, place: dict[str, Any], crowd: Crowd, sim: Simulator) -> None:
    """A fault that passes costs a request, at every step: the batch is one, and is paid once."""
    sim.script(fault.on(**place), fault.on(**place))
    said = crowd(options(sim, PATIENT), questions(3))
    assert [one.lanes for one in said] == [["batch:served"]] * 3
    assert all(one.is_right for one in said)
    assert (files(sim), sim.paid()["twice"]) == (1, [])


DENIED = {
    "upload-401": (Fault.status(401), UPLOAD),
    "upload-403": (Fault.status(403), UPLOAD),
    "upload-404": (Fault.status(404), UPLOAD),
    "upload-405": (Fault.status(405), UPLOAD),
    "create-403": (Fault.status(403), CREATE),
    "create-404": (Fault.status(404), CREATE),
}


@pytest.mark.parametrize(("fault", "place"), DENIED.values(), ids=DENIED)
def test_no_batch_api_here(fault: Fault, place: dict[str, Any], sim: Simulator) -> None:
    """A key without batches has its calls on the next lane, and is not asked for one again."""
    sim.script(fault.on(**place))
    with FlexOpenAI(**options(sim)) as client:
        first, second = ask(client, "What of it?"), ask(client, "What of more?")
    assert first.lanes == ["batch:lane_unsupported", "standard:served"]
    assert second.lanes == ["standard:served"]
    assert second.report.fallback == "lane_unsupported"
    assert not any(attempt.possibly_billed for attempt in first.report.attempts)
    assert files(sim) == 0


def test_an_error_of_one_request(sim: Simulator) -> None:
    """Another 400 is about these lines alone: the next call has its batch."""
    sim.script(Fault.status(400, message="no such thing").on(**CREATE))
    with FlexOpenAI(**options(sim)) as client:
        first, second = ask(client, "What of it?"), ask(client, "What of more?")
    assert first.lanes == ["batch:lane_unsupported", "standard:served"]
    assert second.lanes == ["batch:served"]


def test_no_money(sim: Simulator) -> None:
    """Out of quota on one lane is out of quota on all: the SDK's own error, at once."""
    sim.script(Fault.quota().on(**CREATE))
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert isinstance(said.error, openai.RateLimitError)
    assert said.lanes == ["batch:quota"]
    assert count(sim, "POST", "/chat/completions") == 0


def test_a_server_that_is_down_for_long(crowd: Crowd, sim: Simulator) -> None:
    """Once patience is spent before anything was created, the calls go to the next lane."""
    sim.script(*[Fault.status(500).on(**UPLOAD)] * 500)
    said = crowd(options(sim, POLICY.replace(patience=0.1)), questions(3))
    assert {tuple(one.lanes) for one in said} == {("batch:transient", "standard:served")}
    assert all(one.is_right for one in said)
    assert files(sim) == 0


def test_a_file_too_large_for_the_server(crowd: Crowd, sim: Simulator) -> None:
    """413: the file is halved until it goes through, and later files are smaller at once."""
    sim.script(*[Fault.status(413, message="too large").on(**UPLOAD)] * 2)
    said = crowd(options(sim, PATIENT), questions(8))
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"batch"}
    assert files(sim) >= 3
    assert sim.paid()["twice"] == []


def test_one_line_too_large_for_the_server(sim: Simulator) -> None:
    """413 for a single line: the call goes to the next lane."""
    sim.script(Fault.status(413, message="too large").on(**UPLOAD))
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:lane_unsupported", "standard:served"]


CREATED = '"id": "batch_1", "object": "batch", "status": "in_progress"'
LISTS = {
    "page": Fault.not_json(),
    "null": Fault.body("null"),
    "no-data": Fault.body("{}"),
    "data-null": Fault.body('{"data": null}'),
    "entry-null": Fault.body('{"data": [null]}'),
    "entry-without-status": Fault.body('{"data": [{"id": "batch_1"}]}'),
    "no-date": Fault.body(f'{{"data": [{{{CREATED}, "created_at": null}}], "has_more": false}}'),
    "error": Fault.body('{"error": {"message": "upstream"}}'),
}


@pytest.mark.parametrize("fault", LISTS.values(), ids=LISTS)
def test_a_creation_lost_and_then_a_list_that_is_none(
    fault: Fault, crowd: Crowd, sim: Simulator
) -> None:
    """What is no list of batches does not say that there is none: it is requested again."""
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    sim.script(*[fault.on(method="GET", path="/batches")] * 2)
    said = crowd(options(sim, PATIENT), questions(3))
    assert [one.lanes for one in said] == [["batch:served"]] * 3
    assert (files(sim), sim.paid()["twice"]) == (1, [])


def test_a_batch_whose_creation_got_lost_for_good(sim: Simulator) -> None:
    """Created, the reply lost, then the server is silent: the attempt is possibly billed."""
    sim.weather = Weather(batch=BatchWeather(seconds=3600))
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    sim.script(*[Fault.status(500).on(method="GET", path="/batches")] * 500)
    with FlexOpenAI(**options(sim, POLICY.replace(patience=0.2))) as client:
        said = ask(client, "What of it?")
    assert files(sim) == 1
    assert said.report.lane == "standard"
    assert said.report.attempts[0].possibly_billed


def test_a_creation_lost_and_then_a_key_that_may_not_list(sim: Simulator) -> None:
    """What was perhaps created is not denied by a refusal to look for it."""
    sim.weather = Weather(batch=BatchWeather(seconds=3600))
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    sim.script(*[Fault.status(403).on(method="GET", path="/batches")] * 5)
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert files(sim) == 1
    assert said.error is not None or said.report.attempts[0].possibly_billed


def test_a_creation_lost_at_the_deadline(sim: Simulator) -> None:
    """Created, the reply lost, and no time left: the batch is cancelled, not left running."""
    sim.weather = Weather(batch=BatchWeather(seconds=3600))
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    policy = POLICY.replace(deadline=1.5, batch_reserve=1.2, batch_poll_interval=0.4)
    with FlexOpenAI(**options(sim, policy)) as client:
        said = ask(client, "What of it?")
    assert said.report.lane == "standard"
    (batch,) = batches(sim)
    assert batch.status in ("cancelling", "cancelled") or said.report.attempts[0].possibly_billed


def test_cancelling_that_fails_is_not_hammered(sim: Simulator) -> None:
    """A cancellation that is answered 500 is tried again at the pace of looks, not in a loop."""
    sim.script_batches(BatchOutcome.stay("in_progress"))
    sim.script(*[Fault.status(500).on(method="POST", path="/batches/{id}/cancel")] * 2000)
    policy = POLICY.replace(deadline=1.6, batch_reserve=1.3, batch_poll_interval=0.2)
    with FlexOpenAI(**options(sim, policy)) as client:
        ask(client, "What of it?")
    # From 0.3 s to 1.1 s, where the call leaves for standard: a look takes 0.05 s at least.
    assert count(sim, "POST", "/batches/{id}/cancel") < 60
    sim.reset()


def test_a_batch_that_cannot_be_found_once(sim: Simulator) -> None:
    """One 404 right after its creation does not lose a batch that is paid for."""
    sim.script(Fault.status(404, message="No batch found").on(**LOOK))
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:served"]


def test_a_batch_that_is_denied_for_good(sim: Simulator) -> None:
    """After five denied polls a batch counts as lost, and its attempts as possibly billed."""
    sim.script(*[Fault.status(403).on(**LOOK)] * 5)
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:timeout", "standard:served"]
    assert said.report.attempts[0].possibly_billed


def test_output_that_is_gone(sim: Simulator) -> None:
    """An output file that was deleted: its calls go to the next lane."""
    sim.script(Fault.status(404).on(**FETCH))
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:unfinished", "standard:served"]


def test_a_disk_that_is_full(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that cannot be written fall back to the next lane; they are not possibly billed."""

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flextier.batch.spool_file.SpoolFile.add", full)
    with FlexOpenAI(**options(sim)) as client:
        said = ask(client, "What of it?")
    assert said.lanes == ["batch:transient", "standard:served"]
    assert not said.report.attempts[0].possibly_billed
    assert files(sim) == 0


def test_each_call_gets_an_error_of_its_own(crowd: Crowd, sim: Simulator) -> None:
    """When a batch fails for all its calls, each raises, with its own report."""
    sim.script(*[Fault.status(500).on(**UPLOAD)] * 500)
    policy = ALONE.replace(patience=0.05, max_retries=0, batch_window=20)
    said = crowd(options(sim, policy), questions(3))
    assert len({id(one.error) for one in said}) == 3
    for one in said:
        assert isinstance(one.error, openai.InternalServerError)
        assert one.error.report is one.report  # type: ignore[attr-defined]
    sim.reset()
