"""Steering from another process."""

from __future__ import annotations

from typing import Any

import pytest

from flextier.sim import Fault, Simulator, Weather
from flextier.sim.behavior.from_json import read_faults

from .callers import Chat, Raw, raw


def steer(sim: Simulator, path: str, body: Any) -> Raw:
    """A POST to a control path, without a key."""
    return raw(sim.url, "POST", path, body, authorization="", **{"x-flextier-token": sim.token})


def test_faults_can_be_scripted_over_http(sim: Simulator) -> None:
    """Faults sent as JSON are those of the class methods."""
    faults = [
        {"fault": "refuse", "retry_after": 5, "on": {"lane": "flex"}},
        {"fault": "serve", "text": "Scripted."},
    ]
    assert steer(sim, "/sim/script", {"faults": faults}).json() == {"waiting": 2}
    chat = Chat(sim.base_url)
    assert chat.text(chat.plain()) == "Scripted."
    refused = raw(sim.url, "POST", Chat.path, chat.body({"service_tier": "flex"}))
    assert (refused.status, refused.headers["retry-after"]) == (429, "5")


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ({"fault": "status", "code": 503}, Fault.status(503)),
        ({"fault": "stall", "seconds": 2}, Fault.stall(2)),
        ({"fault": "cut"}, Fault.cut()),
        (
            {"fault": "stream_error", "after": 2, "how": "failed"},
            Fault.stream_error(2, how="failed"),
        ),
        ({"fault": "reset", "on": {"model": "o*"}}, Fault.reset().on(model="o*")),
        ({"fault": "serve", "usage": {"input_tokens": 3}}, Fault.serve(usage={"input_tokens": 3})),
    ],
    ids=str,
)
def test_json_means_the_fault(item: dict[str, Any], fault: Fault) -> None:
    """A fault's JSON has the name and the arguments of its class method; times repeats it."""
    assert read_faults([item]) == [fault]
    assert read_faults([{**item, "times": 3}]) == [fault] * 3


@pytest.mark.parametrize(
    ("faults", "problem"),
    [
        ("refuse", "must be a list"),
        ([{"fault": "rain"}], "must be one of serve, refuse"),
        (["refuse"], "must be one of"),
        ([{"fault": "refuse", "volume": 3}], "fault refuse: .*volume"),
        ([{"fault": "refuse", "on": {"colour": "red"}}], "fault refuse: .*colour"),
        ([{"fault": "refuse", "on": {"lane": "bus"}}], "lane must be one of"),
        ([{"fault": "refuse", "times": 0}], "times must be above 0"),
        ([{"fault": "status", "code": 200}], "code must be an error status"),
    ],
    ids=str,
)
def test_mistakes_in_faults_are_explained(sim: Simulator, faults: Any, problem: str) -> None:
    """A fault that cannot be is a 400 with the reason, and nothing is scripted."""
    with pytest.raises(ValueError, match=problem):
        read_faults(faults)
    assert steer(sim, "/sim/script", {"faults": faults}).status == 400
    assert Chat(sim.base_url).plain().model == "o3"


def test_weather_can_be_set_over_http(sim: Simulator) -> None:
    """Weather is taken as fields or as a line; mistakes are a 400 that names the field."""
    assert steer(sim, "/sim/weather", {"outages": [[10, 40]], "slots": 3}).status == 200
    assert sim.weather == Weather(outages=((10, 40),), slots=3)
    assert steer(sim, "/sim/weather", {"spec": "refuse=1"}).status == 200
    assert sim.weather == Weather(refuse=1.0)
    for mistake in ({"refuse": 2}, {"spec": "refuse=2"}):
        answer = steer(sim, "/sim/weather", mistake)
        assert answer.status == 400
        assert "refuse must be" in answer.json()["error"]["message"]
    assert sim.weather == Weather(refuse=1.0)


def test_books_can_be_reset_over_http(sim: Simulator) -> None:
    """A reset over HTTP is a reset."""
    Chat(sim.base_url).plain()
    assert steer(sim, "/sim/reset", {}).json() == {"reset": True}
    assert sim.requests == []


@pytest.mark.parametrize("path", ["/sim/script", "/sim/weather", "/sim/reset", "/sim/batches"])
def test_steering_needs_the_token(path: str, sim: Simulator) -> None:
    """Without it, or with another, nothing changes; reading needs none."""
    for token in ({}, {"x-flextier-token": "another"}):
        refused = raw(sim.url, "POST", path, {"slots": 0}, **token)
        assert refused.status == 403
        assert "x-flextier-token" in refused.json()["error"]["message"]
    assert sim.weather == Weather()
    assert raw(sim.url, "GET", "/stats").status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:8089"}, 403),  # a name that was rebound to 127.0.0.1
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "[::"}, 403),
        ({"host": "localhost:8089", "origin": "http://localhost:3000"}, 200),
    ],
)
def test_pages_of_other_sites(headers: dict[str, str], status: int, sim: Simulator) -> None:
    """A browser would send their requests; neither calls nor statistics are answered."""
    assert raw(sim.url, "GET", "/stats", **headers).status == status
    body = {"model": "o3", "input": "Hi."}
    assert raw(sim.url, "POST", "/v1/responses", body, **headers).status == status
    assert len(sim.requests) == (status == 200)
