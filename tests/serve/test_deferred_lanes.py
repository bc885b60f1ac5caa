"""Deferred lanes through the gateway: many callers, one batch."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.sim import BatchWeather, Simulator, Weather
from tests.batch.crowd import patch_all
from tests.serve.conftest import gateway

POLICY = {
    "batch_window": 0.3,
    "batch_poll_interval": 0.1,
    "background_poll_interval": 0.1,
    "deadline": "8h",
}


@pytest.mark.parametrize("named", [False, True])
def test_calls_of_many_callers_are_one_batch(
    flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: bool
) -> None:
    """Also if a journal finds each by its own name."""
    patch_all(monkeypatch, "MAX_LINES", 24)  # the batch is created when the last call has come
    policy: dict[str, Any] = {**POLICY, "batch_window": 60}
    if named:
        policy["journal"] = str(tmp_path / "journal.db")
    with gateway(flextier_sim, policy=policy) as served, ThreadPoolExecutor(24) as pool:

        def ask(number: int) -> Any:
            body = {"model": "gpt-5-mini", "input": f"Cat {number}?", "stream": number % 2 == 0}
            headers = {"x-flextier-lanes": "batch"}
            if named:
                headers["x-flextier-call"] = f"call-{number:04}"
            return http.post(f"{served.base_url}/responses", json=body, headers=headers, timeout=60)

        answers = list(pool.map(ask, range(24)))
        calls = [
            http.get(f"{served.url}/flextier/calls/{answer.headers['x-flextier-call']}").json()
            for answer in answers
        ]
    assert {call["report"]["lane"] for call in calls} == {"batch"}
    assert all(f"Cat {number}?" in answer.text for number, answer in enumerate(answers))
    assert all("response.completed" in answer.text for answer in answers[::2])
    created = [
        one for one in flextier_sim.requests if (one.method, one.path) == ("POST", "/v1/batches")
    ]
    assert len(created) == 1
    assert flextier_sim.paid()["twice"] == []


def test_a_background_response_is_polled_for(flextier_sim: Simulator) -> None:
    body = {"model": "gpt-6.2-sol", "input": "Cat?"}
    with gateway(flextier_sim, policy=POLICY) as served:
        answer = http.post(
            f"{served.base_url}/responses",
            json=body,
            headers={"x-flextier-lanes": "background", "x-flextier-continuation": "run-1"},
            timeout=60,
        )
    assert answer.headers["x-flextier-lane"] == "background-2h"
    assert answer.json()["status"] == "completed"


def test_a_batch_is_handed_over_when_the_gateway_ends(
    flextier_sim: Simulator, tmp_path: Path
) -> None:
    flextier_sim.weather = Weather(batch=BatchWeather(seconds=1.0))
    options = {"policy": {**POLICY, "journal": str(tmp_path / "journal.db")}, "drain": 0.05}
    body = {"model": "gpt-5-mini", "input": "Cat?"}
    headers = {"x-flextier-lanes": "batch", "x-flextier-call": "nightly-1"}

    def ask(base_url: str) -> Any:
        return http.post(f"{base_url}/responses", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(1) as pool, gateway(flextier_sim, **options) as served:
        asked = pool.submit(ask, served.base_url)
        while not any(request.path == "/v1/batches" for request in flextier_sim.requests):
            time.sleep(0.005)
        served.server.should_exit = True
        assert (asked.result().status_code, asked.result().headers["retry-after"]) == (503, "5")
    with gateway(flextier_sim, **options) as served:
        answer = ask(served.base_url)
    assert "Cat?" in answer.text
    assert flextier_sim.paid()["payments"] == 1
    assert not [request for request in flextier_sim.requests if "cancel" in request.path]
