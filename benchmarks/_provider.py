"""Who answers the benchmarks' calls: the simulator behind a socket, or a mock without one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

from flextier._openai.http_library import (
    http,  # httpx or httpx2, whichever the SDK at hand is built on
)

Served: TypeAlias = "AbstractContextManager[str]"

NO_SOCKET = "http://127.0.0.1:9/v1"
"""The base URL of clients that a mock answers."""

EVENTS = 200
"""How many events a mocked stream has."""

_HEAD: dict[str, Any] = {
    "id": "chatcmpl-benchmark",
    "created": 1_790_000_000,
    "model": "o3",
    "service_tier": "flex",
    "system_fingerprint": None,
}
_USAGE: dict[str, Any] = {
    "prompt_tokens": 9,
    "completion_tokens": 200,
    "total_tokens": 209,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 64,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


@contextmanager
def served_by(script: str, hint: str = "", *arguments: str) -> Iterator[str]:
    """The base URL that a script prints, run as a process of its own: its CPU time is not ours.

    Args:
        script: Serves until its standard input is closed.
        hint: What to say if it does not start.
        arguments: The script's.
    """
    with subprocess.Popen(
        [sys.executable, script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        base_url = child.stdout.readline().strip()
        if not base_url:
            raise RuntimeError(f"{script} did not start{hint}")
        try:
            yield base_url
        finally:
            child.stdin.close()


def simulator(weather: dict[str, Any] | None = None, speed: float = 1.0) -> Served:
    """The base URL of a simulator in a process of its own.

    Args:
        weather: The fields of its ``Weather``, as in JSON.
        speed: Seconds of the provider's time in a second.
    """
    settings = json.dumps({"weather": weather or {}, "speed": speed})
    return served_by(__file__, '; is "flextier[sim]" installed?', settings)


def _simulate(settings: str) -> None:
    """Serve until the parent closes its end of our standard input."""
    from flextier.sim import Simulator, Weather

    options = json.loads(settings)
    weather = Weather.from_dict(options["weather"])
    with Simulator(
        weather, speed=options["speed"], record_bodies=False, keep_requests=1, token="benchmarks"
    ) as served:
        print(served.base_url, flush=True)
        sys.stdin.read()


def mock_transport() -> Any:
    """A transport, sync and async, that answers every call from memory."""
    return http.MockTransport(_answer)


def _answer(request: Any) -> Any:
    if json.loads(request.content).get("stream"):
        return http.Response(
            200, headers={**_HEADERS, "content-type": "text/event-stream"}, stream=_Events()
        )
    headers = {**_HEADERS, "content-type": "application/json"}
    return http.Response(200, headers=headers, content=PLAIN)


class _Events(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]  # httpx or httpx2
    """A stream whose events arrive one at a time."""

    def __iter__(self) -> Iterator[bytes]:
        return iter(_STREAM)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for event in _STREAM:
            yield event


_HEADERS = {"x-request-id": "req_benchmark", "openai-processing-ms": "1"}
_MESSAGE: dict[str, Any] = {
    "role": "assistant",
    "content": "The sky is blue because air scatters blue light more than red.",
    "refusal": None,
    "annotations": [],
}
_CHOICE = {"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}
PLAIN = json.dumps(
    {**_HEAD, "object": "chat.completion", "choices": [_CHOICE], "usage": _USAGE}
).encode()


def _event(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


_STREAM = (
    _event({"role": "assistant", "content": "", "refusal": None}),
    *(_event({"content": f" word{number}"}) for number in range(EVENTS - 2)),
    _event({}, "stop"),
    b"data: [DONE]\n\n",
)

if __name__ == "__main__":
    _simulate(*sys.argv[1:])
