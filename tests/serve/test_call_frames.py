"""What the gateway sends to flextier's own clients."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator
from tests.serve.conftest import Served

BODY = {"model": "gpt-5-mini", "input": "Why is it blue?"}


def frames(url: str, call_id: str, **body: Any) -> list[tuple[str, Any]]:
    """The frames of a call, and its body's parts."""
    headers = {"x-flextier-frames": "1", "x-flextier-call": call_id}
    answer = http.post(f"{url}/v1/responses", json={**BODY, **body}, headers=headers, timeout=60)
    assert answer.status_code == 200
    data, found = answer.content, []
    while data:
        line, _, data = data.partition(b"\n")
        [(kind, value)] = json.loads(line).items()
        if kind == "bytes":
            value, data = data[:value], data[value:]
        found.append((kind, value))
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_frames_of_an_answer(shared: Served, flextier_sim: Simulator, stream: bool) -> None:
    """Retries as they happen, and the report before the last part of the body; also once more."""
    flextier_sim.script(Fault.refuse(), Fault.serve())
    found = frames(shared.url, f"frames-{stream}", stream=stream)
    kinds = [kind for kind, _ in found]
    assert kinds[:2] == ["retry", "head"]
    last = next(part for part in found if part[0] == "bytes" and b"completed" in part[1])
    assert kinds.index("report") < found.index(last)
    assert kinds[-1] == "end"
    values = dict(found)
    assert values["retry"]["error"]["class"] == "RateLimitError"
    assert values["head"][0] == 200
    assert [one["outcome"] for one in values["report"]["attempts"]] == ["capacity", "served"]
    again = frames(shared.url, f"frames-{stream}", stream=stream)
    assert b"".join(v for k, v in again if k == "bytes") == b"".join(
        v for k, v in found if k == "bytes"
    )


def test_frames_of_an_error(shared: Served, flextier_sim: Simulator) -> None:
    """Its class and fields, and the upstream's answer."""
    flextier_sim.script(Fault.status(400, message="no such thing"))
    values = dict(frames(shared.url, "frames-of-an-error"))
    assert values.keys() == {"report", "error", "end"}
    assert values["error"]["status"] == 400
    assert values["error"]["error"]["class"] == "BadRequestError"
    assert values["report"]["error"] == "BadRequestError"


def test_the_upstreams_are_listed_for_clients(shared: Served, flextier_sim: Simulator) -> None:
    """With their paths."""
    listed = http.get(f"{shared.url}/flextier/upstreams").json()["upstreams"]
    assert listed == [{"name": "", "path": "/v1", "base_url": flextier_sim.base_url}]
