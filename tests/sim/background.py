"""Background responses through the real SDK, whichever of its majors it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from flextier.sim import BackgroundWeather, Simulator, Weather

RESPONSES = "/v1/responses"
MODEL = "gpt-6.2"  # which has the windows of two and eight hours
QUESTION = "Where is the cat? It was here."
ENDED = ("completed", "failed", "incomplete", "cancelled")
HOUR = 3600.0


def asked(window: str | None = None, tie: str | None = None, **body: Any) -> dict[str, Any]:
    """The arguments of ``create``; openai 2.x does not know ``background_options``."""
    options = {"completion_window": window, "continuation_id": tie}
    given = {name: value for name, value in options.items() if value is not None}
    extra = {"extra_body": {"background_options": given}} if given else {}
    return {"model": MODEL, "input": QUESTION, "background": True, **extra, **body}


class Backgrounds:
    """One account's background responses."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client = client

    def create(self, window: str | None = None, tie: str | None = None, **body: Any) -> Any:
        return self.client.responses.create(**asked(window, tie, **body))

    def look(self, response: Any) -> Any:
        return self.client.responses.retrieve(response.id)

    def cancel(self, response: Any) -> Any:
        return self.client.responses.cancel(response.id)

    def delete(self, response: Any) -> None:
        self.client.responses.delete(response.id)


@contextmanager
def account(sim: Simulator, key: str = "k", **settings: Any) -> Iterator[Backgrounds]:
    """An account, through a client that does not retry."""
    given: dict[str, Any] = {"max_retries": 0, "timeout": 5, **settings}
    with openai.OpenAI(base_url=sim.base_url, api_key=key, **given) as client:
        yield Backgrounds(client)


def weather(**fields: Any) -> Weather:
    """Weather of background responses, by default 10 s queued and 100 s in progress."""
    return Weather(background=BackgroundWeather(**{"queued": 10, "seconds": 100, **fields}))
