"""Batches through the real SDK: files of lines, polling, and a clock that a test sets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import openai

from flextier.sim import Simulator

from .callers import eventually

CHAT = "/v1/chat/completions"
RESPONSES = "/v1/responses"
EMBEDDINGS = "/v1/embeddings"
MODEL = "gpt-5-mini"
ENDED = ("completed", "failed", "expired", "cancelled")


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def body(endpoint: str = CHAT, text: str = "Where is the cat?", **more: Any) -> dict[str, Any]:
    """A body for an endpoint."""
    prompt: dict[str, Any] = {"input": text}
    if endpoint == CHAT:
        prompt = {"messages": [{"role": "user", "content": text}]}
    return {"model": MODEL, **prompt, **more}


def line(number: int = 0, endpoint: str = CHAT, **more: Any) -> dict[str, Any]:
    """A line of a batch's file; ``more`` replaces its fields, None leaves one out."""
    whole = {
        "custom_id": f"row-{number}",
        "method": "POST",
        "url": endpoint,
        "body": body(endpoint, f"Where is cat {number}?"),
        **more,
    }
    return {name: value for name, value in whole.items() if value is not None}


def lines(count: int, endpoint: str = CHAT) -> list[dict[str, Any]]:
    """So many lines."""
    return [line(number, endpoint) for number in range(count)]


def encoded(rows: Iterable[Any]) -> bytes:
    """Lines as a file; bytes are taken as they are."""
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in rows)


class Batches:
    """One account's files and batches."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client = client

    def upload(self, rows: Iterable[Any], name: str = "rows.jsonl") -> str:
        return self.client.files.create(file=(name, encoded(rows)), purpose="batch").id

    def create(self, rows: Iterable[Any], endpoint: str = CHAT, **more: Any) -> Any:
        return self.start(self.upload(rows), endpoint, **more)

    def start(self, file_id: str, endpoint: str = CHAT, **more: Any) -> Any:
        asked: dict[str, Any] = {"completion_window": "24h", **more}
        return self.client.batches.create(input_file_id=file_id, endpoint=endpoint, **asked)

    def look(self, batch: Any) -> Any:
        """The batch, once all is done that is due: a look does some milliseconds' worth of it."""
        seen = self.client.batches.retrieve(batch.id)
        while (again := self.client.batches.retrieve(batch.id)) != seen:
            seen = again
        return seen

    def ended(self, batch: Any) -> Any:
        """The batch once it has ended; it may take a moment."""
        assert eventually(lambda: self.look(batch).status in ENDED)
        return self.look(batch)

    def run(self, rows: Iterable[Any], endpoint: str = CHAT, **more: Any) -> Any:
        return self.ended(self.create(rows, endpoint, **more))

    def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a file; none without one."""
        if file_id is None:
            return []
        content = self.client.files.content(file_id).read()
        assert content.endswith(b"\n")
        return [json.loads(row) for row in content.splitlines()]


@contextmanager
def account(sim: Simulator, key: str = "k", **settings: Any) -> Iterator[Batches]:
    """An account's batches, through a client that does not retry."""
    given: dict[str, Any] = {"max_retries": 0, "timeout": 5, **settings}
    with openai.OpenAI(base_url=sim.base_url, api_key=key, **given) as client:
        yield Batches(client)


def ids(rows: Iterable[dict[str, Any]]) -> set[str]:
    """The custom_ids of some lines."""
    return {row["custom_id"] for row in rows}
