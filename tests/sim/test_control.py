"""Steering from another process."""

from __future__ import annotations

from typing import Any

import pytest

from flextier.sim import Fault, Simulator, Weather
from flextier.sim.behavior.from_json import read_faults

from .callers import Chat, Raw, raw


def steer(sim: Simulator, path: str, body: Any) -> Raw:
    """A POST to a control path, without a key."""
    return raw(sim.url, "POST", path, body, authorization="")


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
