"""Input and output files of batches, and a clock that advances only when a test sleeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai

from flextier._utils.clock import Clock
from flextier.sim import Simulator

MODEL = "gpt-5-mini"
CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"


class Time:
    """A clock that goes forward by what is slept, for us and for the simulated provider."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.clock = Clock(now=self, sleep=self.sleep, random=lambda: 0.5)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@contextmanager
def plain_client(sim: Simulator, **more: Any) -> Iterator[openai.OpenAI]:
    """The SDK's own."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k", **more) as client:
        yield client


def body(number: int, **more: Any) -> dict[str, Any]:
    """What one line asks for."""
    said = {"messages": [{"role": "user", "content": f"Where is cat {number}?"}]}
    return {"model": MODEL, **said, **more}


def line(number: int, **more: Any) -> dict[str, Any]:
    """A whole line; ``more`` replaces its fields, ... leaves one out."""
    whole = {"custom_id": f"cat-{number}", "method": "POST", "url": CHAT, "body": body(number)}
    return {name: value for name, value in {**whole, **more}.items() if value is not ...}


def written(path: Path, lines: list[Any]) -> Path:
    """A file of lines; bytes go in as they are."""
    whole_lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines]
    path.write_bytes(b"\n".join(whole_lines) + b"\n")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file."""
    content = path.read_bytes()
    assert not content or content.endswith(b"\n")
    return [json.loads(one) for one in content.splitlines()]


def stayed_empty(sim: Simulator) -> bool:
    """Whether nothing was sent."""
    return not sim.requests
