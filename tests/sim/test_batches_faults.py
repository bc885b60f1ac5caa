"""Scripted faults of Files, Batches and everything else that asks for no answer."""

from __future__ import annotations

import time
from collections.abc import Iterator

import openai
import pytest

from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather

from .batches import CHAT, EMBEDDINGS, Batches, account, body, lines
from .callers import LOST, SOON, eventually, raw

CREATE = {"path": "/batches", "method": "POST"}


@pytest.fixture
def batches(sim: Simulator) -> Iterator[Batches]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


def outcomes(sim: Simulator) -> list[str]:
    """What came of the requests, in order."""
    return [request.outcome for request in sim.requests]


def test_faults_wait_for_their_path(sim: Simulator, batches: Batches) -> None:
    """Faults select calls by path, with any id, and method; other calls pass meanwhile."""
    sim.script(
        Fault.status(500).on(path="/batches/{id}"),
        Fault.rate_limit(retry_after=1).on(path="/batches", method="GET"),
        Fault.status(503).on(path="/files/{id}/content"),
        Fault.status(502).on(path="/batches/{id}/cancel"),
    )
    batch = batches.create(lines(1))
    with pytest.raises(openai.InternalServerError):
        batches.look(batch)
    batch = batches.ended(batch)
    with pytest.raises(openai.RateLimitError):
        batches.client.batches.list()
    assert len(batches.client.batches.list().data) == 1
    with pytest.raises(openai.InternalServerError):
        batches.read(batch.output_file_id)
    assert len(batches.read(batch.output_file_id)) == 1
    with pytest.raises(openai.InternalServerError):
        batches.client.batches.cancel(batch.id)
    assert outcomes(sim).count("error") == 3
    assert sim.stats()["possibly_billed"] == 0


def test_a_fault_can_wait_for_one_batch(sim: Simulator, batches: Batches) -> None:
    """The whole path is one batch's."""
    one, two = batches.create(lines(1)), batches.create(lines(1))
    sim.script(Fault.status(500).on(path=f"/v1/batches/{two.id}"))
    batches.look(one)
    with pytest.raises(openai.InternalServerError):
        batches.look(two)


def test_a_batch_whose_creation_was_lost_exists(sim: Simulator, batches: Batches) -> None:
    """Reset after effect: the client knows of no batch, and the list has it."""
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    file = batches.upload(lines(2))
    with pytest.raises(openai.APIConnectionError):
        batches.start(file)
    (batch,) = batches.client.batches.list().data
    assert batches.ended(batch).request_counts.completed == 2
    assert "lost" in outcomes(sim)
    assert sim.stats()["possibly_billed"] == 0


def test_retries_after_a_lost_creation_pay_twice(sim: Simulator) -> None:
    """What happens to a client that lets the SDK retry: two batches, every line paid twice."""
    sim.script(Fault.reset(after_effect=True).on(**CREATE))
    with account(sim, max_retries=1) as batches:
        batches.run(lines(2))
        for batch in batches.client.batches.list():
            batches.ended(batch)
    assert [entry["lanes"] for entry in sim.paid()["twice"]] == [{"batch": 2}, {"batch": 2}]


def test_a_reset_before_any_effect_leaves_nothing(sim: Simulator, batches: Batches) -> None:
    """A plain reset: nothing was created, nothing was kept."""
    file = batches.upload(lines(1))
    sim.script(Fault.reset().on(**CREATE), Fault.reset().on(path="/files", method="POST"))
    with pytest.raises(openai.APIConnectionError):
        batches.start(file)
    with pytest.raises(openai.APIConnectionError):
        batches.upload(lines(1))
    assert batches.client.batches.list().data == []
    assert len(batches.client.files.list().data) == 1


def test_an_upload_whose_answer_was_lost_is_kept(sim: Simulator, batches: Batches) -> None:
    """The file is there, under an id that the client does not know."""
    sim.script(Fault.reset(after_effect=True).on(path="/files"))
    with pytest.raises(openai.APIConnectionError):
        batches.upload(lines(1))
    assert len(batches.client.files.list().data) == 1


@pytest.mark.parametrize("after", [0, 1000, 10**9])
def test_a_download_can_be_cut(sim: Simulator, batches: Batches, after: int) -> None:
    """The content ends short of its length, by a byte at least; the next one is whole."""
    batch = batches.run(lines(600))
    sim.script(Fault.cut(after_bytes=after).on(path="/content"))
    with pytest.raises(LOST):
        batches.read(batch.output_file_id)
    assert len(batches.read(batch.output_file_id)) == 600
    assert "cut" in outcomes(sim)


def test_a_cut_answer_has_had_its_effect(sim: Simulator, batches: Batches) -> None:
    """A creation whose answer is cut is a creation."""
    sim.script(Fault.cut(10).on(**CREATE))
    file = batches.upload(lines(1))
    with pytest.raises(LOST):
        batches.start(file)
    assert len(batches.client.batches.list().data) == 1


def test_an_answer_can_be_a_page(sim: Simulator, batches: Batches) -> None:
    """A gateway's page with 200, or JSON that is cut off."""
    batch = batches.run(lines(1))
    path = f"/v1/batches/{batch.id}"
    sim.script(
        Fault.not_json().on(path="/batches/{id}"),
        Fault.not_json("application/json").on(path="/batches/{id}"),
    )
    page, broken = raw(sim.url, "GET", path), raw(sim.url, "GET", path)
    assert page.content.startswith(b"<!DOCTYPE html>")
    assert page.headers["content-type"] == "text/html"
    assert broken.content.startswith(b'{"id"')
    with pytest.raises(ValueError, match=r"delimiter|Expecting|Unterminated"):
        broken.json()
    assert outcomes(sim)[-2:] == ["not_json", "not_json"]


def test_a_poll_can_stall(sim: Simulator, batches: Batches) -> None:
    """Silence until the client gives up, or an answer after a while."""
    batch = batches.run(lines(1))
    sim.script(Fault.stall().on(path="/batches/{id}"), Fault.stall(0.02).on(path="/batches/{id}"))
    with pytest.raises(openai.APITimeoutError):
        batches.client.with_options(timeout=SOON).batches.retrieve(batch.id)
    assert eventually(lambda: "stalled" in outcomes(sim))
    begun = time.perf_counter()
    assert batches.look(batch).status == "completed"
    assert time.perf_counter() - begun >= 0.01
    assert sim.stats()["stalls"] == 2
    assert sim.stats()["possibly_billed"] == 0


def test_a_download_can_trickle(sim: Simulator, batches: Batches) -> None:
    """The content comes whole, a few bytes at a time."""
    batch = batches.run(lines(2))
    sim.script(Fault.trickle(0.02, bytes=100).on(path="/content"), Fault.serve(delay=0.01))
    begun = time.perf_counter()
    assert len(batches.read(batch.output_file_id)) == 2
    assert time.perf_counter() - begun >= 0.01


def test_an_error_can_be_lost_too(sim: Simulator, batches: Batches) -> None:
    """Faults go with errors of the API as with its answers."""
    sim.script(Fault.reset(after_effect=True).on(path="/batches/{id}"))
    with pytest.raises(openai.APIConnectionError):
        batches.client.batches.retrieve("batch_none")
    sim.script(Fault.cut(5).on(path="/batches/{id}"))
    with pytest.raises(LOST):
        batches.client.batches.retrieve("batch_none")


def test_faults_for_streams_are_misused_here(sim: Simulator, batches: Batches) -> None:
    """No file and no batch is streamed as events."""
    sim.script(Fault.stream_end().on(path="/batches"))
    with pytest.raises(openai.InternalServerError, match="this fault is for streams"):
        batches.client.batches.list()
    assert len(sim.stats()["warnings"]) == 1


def test_embeddings_can_have_faults(sim: Simulator, batches: Batches) -> None:
    """A fault that names the path meets embeddings; a lost answer is possibly billed."""
    sim.script(
        Fault.status(500).on(path="/embeddings"),
        Fault.reset(after_effect=True).on(path="/embeddings"),
    )
    assert raw(sim.url, "POST", EMBEDDINGS, body(EMBEDDINGS)).status == 500
    with pytest.raises(ConnectionResetError):
        raw(sim.url, "POST", EMBEDDINGS, body(EMBEDDINGS))
    assert sim.stats()["billed"] == {}
    assert sim.stats()["possibly_billed"] == 1


def test_faults_by_chance() -> None:
    """A share of the calls to Files and Batches is answered 500, answers apart."""
    with Simulator(Weather(batch=BatchWeather(api_errors=1.0))) as sim, account(sim) as batches:
        with pytest.raises(openai.InternalServerError):
            batches.upload(lines(1))
        with pytest.raises(openai.InternalServerError):
            batches.client.batches.list()
        assert raw(sim.url, "POST", CHAT, body()).status == 200
        assert raw(sim.url, "GET", "/v1/models").status == 200


def test_faults_of_paths_over_http(sim: Simulator, batches: Batches) -> None:
    """Another process scripts them with the same names."""
    fault = {"fault": "reset", "after_effect": True, "on": {"path": "/batches", "method": "POST"}}
    assert raw(
        sim.url, "POST", "/sim/script", {"faults": [fault]}, **{"x-flextier-token": sim.token}
    ).json() == {"waiting": 1}
    file = batches.upload(lines(1))
    with pytest.raises(openai.APIConnectionError):
        batches.start(file)
    assert len(batches.client.batches.list().data) == 1


def test_odd_lines(sim: Simulator, batches: Batches) -> None:
    """Lines with a scripted response, or a scripted text, are in the file that was asked for."""
    odd = {"status_code": 0, "request_id": "", "body": {}}
    sim.script_batches(BatchOutcome.complete(odd, "null", file="output", no_file=""))
    batch = batches.ended(batches.create(lines(3)))
    assert (batch.error_file_id, batch.request_counts.completed) == ("", 3)
    found = batches.read(batch.output_file_id)
    assert (found[0]["response"], found[1]) == (odd, None)
    assert found[2]["response"]["status_code"] == 200


def test_files_that_come_late(sim: Simulator, batches: Batches) -> None:
    """An ended batch names its files some polls later."""
    sim.script_batches(BatchOutcome.complete(late=2))
    name, seen = batches.create(lines(1)).id, []

    def has_files() -> bool:
        seen.append(batches.client.batches.retrieve(name))
        return seen[-1].output_file_id is not None

    assert eventually(has_files)
    assert [one.status for one in seen[-3:]] == ["completed"] * 3


def test_any_body(sim: Simulator, batches: Batches) -> None:
    """A 200 with the body that the test gives, on every path."""
    sim.script(Fault.body("null").on(path="/batches"), Fault.body(b"<p>", "text/html"))
    assert batches.client.batches.with_raw_response.list().http_response.text == "null"
    asked = batches.client.chat.completions.with_raw_response.create
    assert asked(**body()).http_response.text == "<p>"
