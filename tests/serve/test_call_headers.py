"""A request's headers: the policy of its call, and which call it repeats."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator
from tests.serve.conftest import Served, leave

BODY = {"model": "gpt-5-mini", "input": "Name a cat."}


def ask(served: Served, body: Any = BODY, **headers: str) -> Any:
    """The answer to a call with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(f"{served.base_url}/responses", json=body, headers=named, timeout=60)


def shown(served: Served, answer: Any) -> dict[str, Any]:
    """What is known of a call."""
    call_id = answer.headers["x-flextier-call"]
    found: dict[str, Any] = http.get(f"{served.url}/flextier/calls/{call_id}").json()
    return found


def test_headers_set_fields_of_the_policy(shared: Served, flextier_sim: Simulator) -> None:
    policy = json.dumps({"lanes": ["standard"], "deadline": "40s", "max_retries": 0})
    answer = ask(shared, x_flextier_policy=policy)
    assert answer.headers["x-flextier-lane"] == "standard"
    assert "deadline 40 s" in shown(shared, answer)["report"]["limits"]
    answer = ask(
        shared,
        x_flextier_lanes="standard,flex",
        x_flextier_deadline="1m",
        x_flextier_policy=policy,
        x_flextier_continuation="run-1",
        x_flextier_tags="a, b",
    )
    assert answer.headers["x-flextier-lane"] == "standard"
    assert "deadline 60 s" in shown(shared, answer)["report"]["limits"]
    assert not [name for one in flextier_sim.requests for name in one.headers if "flextier" in name]


@pytest.mark.parametrize(
    "headers",
    [
        {"x_flextier_policy": '{"budget": 5}'},
        {"x_flextier_policy": '{"journal": "/etc/passwd", "gateway": "x"}'},
        {"x_flextier_policy": '{"lane": "flex"}'},
        {"x_flextier_policy": "[]"},
        {"x_flextier_policy": "{"},
        {"x_flextier_lanes": "fast"},
        {"x_flextier_deadline": "soon"},
        {"x_flextier_tags": ",".join("abcdefghijklmnopqrstuvwxyz")},
        {"x_flextier_tags": "[" * 10_000},
        {"x_flextier_continuation": "x" * 513},
        {"x_flextier_call": "../../x"},
    ],
    ids=str,
)
def test_wrong_headers_are_rejected(
    shared: Served, flextier_sim: Simulator, headers: dict[str, str]
) -> None:
    answer = ask(shared, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_policy")
    assert flextier_sim.requests == []


def test_a_call_ends_before_its_client_would_leave(shared: Served, flextier_sim: Simulator) -> None:
    with openai.OpenAI(base_url=shared.base_url, api_key="k", timeout=20) as client:
        answer = client.responses.with_raw_response.create(**BODY)
        assert "deadline 16 s" in shown(shared, answer)["report"]["limits"]
        streamed = client.responses.with_raw_response.create(**BODY, stream=True)
        list(streamed.parse())
        assert "deadline" not in shown(shared, streamed)["report"]["limits"]
    flextier_sim.script(Fault.stall())
    answer = ask(shared, x_stainless_timeout="1")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert answer.headers["x-flextier-error"] == "FlexDeadlineExceeded"


def test_a_repeat_joins_the_call_and_pays_nothing(shared: Served, flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall(0.3))
    leave(shared.url, flextier_sim, BODY, x_stainless_retry_count="0")
    joined = ask(shared, x_stainless_retry_count="1")
    once_more = ask(shared, x_stainless_retry_count="2")
    assert joined.status_code == 200
    assert joined.content == once_more.content
    assert joined.headers["x-flextier-call"] == once_more.headers["x-flextier-call"]
    assert shown(shared, joined)["report"]["lane"] == "flex"
    assert flextier_sim.paid()["payments"] == 1
    other = ask(shared, x_stainless_retry_count="0")
    assert other.headers["x-flextier-call"] != joined.headers["x-flextier-call"]
    ask(shared, {**BODY, "input": "Name a dog."}, x_stainless_retry_count="1")
    assert flextier_sim.paid()["payments"] == 3


def test_a_call_with_an_id_is_made_once(shared: Served, flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall(0.2))
    leave(shared.url, flextier_sim, BODY, x_flextier_call="client-1.call-1")
    first = ask(shared, x_flextier_call="client-1.call-1")
    again = http.get(f"{shared.url}/flextier/calls/client-1.call-1/answer")
    assert first.json() == again.json()
    assert first.headers["x-flextier-call"] == "client-1.call-1"
    assert flextier_sim.paid()["payments"] == 1
    other = ask(shared, {**BODY, "input": "Name a dog."}, x_flextier_call="client-1.call-1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "id_in_use")
    flextier_sim.script(Fault.status(400))
    assert ask(shared, x_flextier_call="client-1.call-2").status_code == 400
    assert ask(shared, x_flextier_call="client-1.call-2").status_code == 200


def test_a_call_can_be_cancelled(shared: Served, flextier_sim: Simulator) -> None:
    flextier_sim.script(Fault.stall())
    leave(shared.url, flextier_sim, BODY, x_flextier_call="client-2.call-1")
    url = f"{shared.url}/flextier/calls/client-2.call-1"
    assert http.get(url).json()["state"] == "running"
    cancelled = http.delete(url).json()
    assert cancelled["report"]["attempts"][-1]["outcome"] == "cancelled"
    assert cancelled["state"] == "ended"
