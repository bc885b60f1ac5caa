"""Events that no OpenAI server sends, but gateways do: no crash, and the call has its report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.callers import FAST, Caller
from tests.client.servers import answering, chunk, event_stream, serving

ODD_CHUNKS = [
    chunk(choices=[None]),
    chunk(choices=[{}]),
    chunk(choices=5),
    chunk(choices=[{"index": [0], "delta": None, "finish_reason": None}]),
    chunk("", service_tier=5),
    chunk("", service_tier=["flex"]),
    chunk("", model=["o3"]),
    chunk("", usage="none"),
    chunk("", type=["chunk"]),
]
COMPLETED = {
    "type": "response.completed",
    "response": {"object": "response", "status": "completed", "model": "o3", "output": []},
}
ODD_EVENTS = [
    {"type": "response.completed"},
    {"type": "response.completed", "response": None},
    {"type": ["response.completed"]},
    {"type": "response.completed", "response": {"service_tier": [1], "model": {}, "usage": 5}},
]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("odd", ODD_CHUNKS)
@pytest.mark.parametrize("first", [True, False])
def test_odd_chunks(odd: Any, first: bool, is_async: bool) -> None:
    """A chat stream with an odd chunk is served, and its lane is the one that the others name."""
    events = [odd, chunk("Red")] if first else [chunk("Red"), odd]
    answer = event_stream(*events, chunk("", "stop"))

    with serving(answering(answer)) as address:
        caller = _Counting("chat", stream=True, is_async=is_async)
        result = caller(f"http://{address}/v1", FAST)

    assert (result.error, result.text) == (None, "3 events")
    assert (result.outcomes, result.report.lane) == (["served"], "flex")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("odd", ODD_EVENTS)
def test_odd_events(odd: Any, is_async: bool) -> None:
    """A Responses stream with an odd event is served."""
    answer = event_stream(odd, COMPLETED)

    with serving(answering(answer)) as address:
        caller = _Counting("responses", stream=True, is_async=is_async)
        result = caller(f"http://{address}/v1", FAST)

    assert (result.error, result.text) == (None, "2 events")
    assert result.outcomes == ["served"]


@pytest.mark.parametrize("odd", [{"type": "response.failed", "response": 5}, {"type": "error"}])
def test_odd_failures(odd: Any) -> None:
    """A failure without a body is a failure all the same."""
    with serving(answering(event_stream(odd))) as address:
        caller = Caller("responses", stream=True, is_async=False)
        result = caller(f"http://{address}/v1", FAST.replace(max_retries=0))

    assert result.outcomes == ["transient", "transient"]


class _Counting(Caller):
    def _text(self, answer: Any) -> str:
        return f"{len(list(answer))} events"
