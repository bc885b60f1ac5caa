"""Calls through the gateway: on flex, exact, and with the errors of the upstream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator, Weather
from tests.serve.conftest import KEY, Served, gateway, leave

CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say ☕ and stop."}]}
RESPONSE = {"model": "gpt-5-mini", "input": "Say ☕ and stop."}
BODIES = {"chat/completions": CHAT, "responses": RESPONSE}


@pytest.fixture
def client(shared: Served) -> Iterator[openai.OpenAI]:
    """A stock client of the gateway."""
    with openai.OpenAI(base_url=shared.base_url, api_key="of-a-caller", max_retries=0) as client:
        yield client


def post(served: Served, path: str, body: Any, headers: Any = None) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(
        f"{served.base_url}/{path}", content=content, headers=headers or {}, timeout=60
    )


@pytest.mark.parametrize("path", BODIES)
def test_a_call_is_on_flex_and_its_answer_comes_back_byte_for_byte(
    shared: Served, flextier_sim: Simulator, path: str
) -> None:
    flextier_sim.script(Fault.refuse(), Fault.refuse())
    answer = post(shared, path, {**BODIES[path], "metadata": {"unknown": [1.50, None]}})
    upstream = flextier_sim.requests[-1]
    assert [one.tier for one in flextier_sim.requests] == ["flex"] * 3
    assert upstream.body is not None
    assert upstream.body["metadata"] == {"unknown": [1.5, None]}
    assert upstream.headers["authorization"] == f"Bearer {KEY}"
    assert answer.json()["service_tier"] == "flex"
    assert answer.headers["x-request-id"] == upstream.request_id
    assert answer.headers["x-flextier-lane"] == "flex"
    assert float(answer.headers["x-flextier-cost"]) == float(answer.headers["x-flextier-saved"]) > 0
    assert float(answer.headers["x-flextier-waited"]) > 0
    shown = http.get(f"{shared.url}/flextier/calls/{answer.headers['x-flextier-call']}").json()
    assert (shown["state"], shown["status"], shown["report"]["lane"]) == ("ended", 200, "flex")
    assert [attempt["outcome"] for attempt in shown["report"]["attempts"]] == [
        "capacity", "capacity", "served"
    ]  # fmt: skip


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_is_that_of_the_upstream_and_ends_with_its_report(
    shared: Served, flextier_sim: Simulator, path: str
) -> None:
    body = {**BODIES[path], "stream": True}
    direct = http.post(
        f"{flextier_sim.base_url}/{path}",
        json={**body, "service_tier": "flex"},
        headers={"authorization": "Bearer simulated"},
    )
    flextier_sim.script(Fault.refuse())
    answer = post(shared, path, body)
    events, _, comment = answer.text.removesuffix("\n\n").rpartition("\n\n: flextier ")
    assert answer.headers["content-type"] == direct.headers["content-type"]
    assert _names(events) == _names(direct.text)
    assert json.loads(comment)["id"] == answer.headers["x-flextier-call"]
    assert json.loads(comment)["report"]["lane"] == "flex"


def _names(text: str) -> list[Any]:
    """The events' types, or the keys of their choices."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    events = [json.loads(line) if line != "[DONE]" else {"type": line} for line in lines]
    return [event.get("type") or len(event["choices"]) for event in events]


def test_stock_clients_read_answers_streams_and_errors(
    client: openai.OpenAI, flextier_sim: Simulator
) -> None:
    assert client.chat.completions.create(**CHAT).service_tier == "flex"
    with client.responses.stream(**RESPONSE) as stream:
        assert stream.get_final_response().service_tier == "flex"
    flextier_sim.script(Fault.status(400, error_code="odd"))
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(**CHAT)
    assert error.value.code == "odd"
    assert error.value.response.headers["x-should-retry"] == "false"


def test_a_rejected_key_of_the_gateway_is_not_shown(
    client: openai.OpenAI, flextier_sim: Simulator
) -> None:
    flextier_sim.script(Fault.status(401, message=f"Incorrect API key provided: {KEY}"))
    with pytest.raises(openai.APIStatusError) as error:
        client.chat.completions.create(**CHAT)
    assert error.value.status_code == 502
    assert KEY not in error.value.response.text


def test_other_requests_pass_through(client: openai.OpenAI, flextier_sim: Simulator) -> None:
    assert client.models.retrieve("gpt-5-mini").id == "gpt-5-mini"
    assert len(client.embeddings.create(model="text-embedding-3-small", input="a").data) == 1
    line = json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {}})
    lines = (line + "\n").encode() * 3_000
    file = client.files.create(file=("a.jsonl", lines), purpose="batch")
    assert client.files.content(file.id).content == lines
    stored = client.responses.create(**RESPONSE)
    assert client.responses.retrieve(stored.id).output_text == stored.output_text
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_none")
    assert client.responses.delete(stored.id) is None


def test_a_path_with_escapes_is_a_call_too(shared: Served, flextier_sim: Simulator) -> None:
    for path, body in (("%72esponses", RESPONSE), ("chat%2fcompletions", CHAT)):
        assert post(shared, path, body).headers["x-flextier-lane"] == "flex"
    assert [request.tier for request in flextier_sim.requests] == ["flex", "flex"]


def test_a_path_does_not_lead_out_of_the_upstream(shared: Served, flextier_sim: Simulator) -> None:
    for path in ("/v1/%2e%2e/stats", "/other/v1/models", "/v1/files/..%2f..%2fstats"):
        assert http.get(shared.url + path).status_code == 404
    assert flextier_sim.requests == []


def test_a_stream_that_waits_gets_comments_and_then_its_error(flextier_sim: Simulator) -> None:
    flextier_sim.weather = Weather(refuse=1.0)
    policy = {"lanes": ["flex"], "patience": 0.25}
    with gateway(flextier_sim, policy=policy, quiet=0.06) as served:
        early = post(served, "responses", RESPONSE)
        late = post(served, "responses", {**RESPONSE, "stream": True})
        with (
            openai.OpenAI(base_url=served.base_url, api_key="k", max_retries=0) as client,
            # The server's words, or ours where the limiter, which knows the lane, sends nothing.
            pytest.raises(openai.APIError, match=r"Try standard processing|FlexPolicy\.patience"),
        ):
            list(client.chat.completions.create(**CHAT, stream=True))
    assert early.status_code == 429
    assert late.status_code == 200
    assert late.text.count(": waiting\n\n") >= 2
    event = json.loads(late.text.partition("event: error\ndata: ")[2].partition("\n")[0])
    assert event["status"] == 429
    assert event["error"]["code"] == early.json()["error"]["code"]


def test_a_caller_that_leaves_cancels_its_call(shared: Served, flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall())
    leave(shared.url, flextier_sim, RESPONSE)
    answer = post(shared, "responses", RESPONSE)
    assert answer.status_code == 200
    while flextier_sim.in_flight:
        time.sleep(0.005)
    assert [one.outcome for one in flextier_sim.requests] == ["stalled", "served"]
    (cancelled,) = [call for _, call in shared.gateway.calls._by_id.values() if call.report.error][
        -1:
    ]
    assert cancelled.report is not None
    assert cancelled.report.attempts[-1].outcome == "cancelled"
