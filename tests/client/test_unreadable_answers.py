"""Bodies with HTTP 200 that are no answer: transient, for every way to make a call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest

from flextier import FlexOpenAI, track
from flextier._openai.http_library import http
from flextier.errors import MalformedAnswerError
from tests.client.callers import FAST, KEY
from tests.client.hostile_server import PAGES, Colour, chat, response, start

WAYS = [f"{api}-{way}" for api in ("chat", "responses") for way in ("create", "parse", "raw")]


def call(bodies: list[bytes], way: str, content_type: str = "application/json") -> Any:
    """The outcome of a call that is answered with these bodies, and its outcomes."""
    left: Iterator[bytes] = iter(bodies)

    def answer(request: Any) -> Any:
        return http.Response(200, content=next(left), headers={"content-type": content_type})

    client = FlexOpenAI(
        base_url="http://sim.invalid/v1",
        api_key=KEY,
        policy=FAST.replace(max_retries=len(bodies) - 1, lanes=("standard",)),
        http_client=http.Client(transport=http.MockTransport(answer)),
    )
    with client, track() as calls:
        try:
            outcome = start(client, way, 0)
        except Exception as error:  # noqa: BLE001 - the outcome under test
            outcome = error
    (report,) = calls
    return outcome, [attempt.outcome for attempt in report.attempts]


def answer_of(way: str) -> dict[str, Any]:
    """A right answer."""
    return (chat if way.startswith("chat") else response)("o3", "default")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: repr(page[:12]))
@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
@pytest.mark.sampled(3)
def test_they_are_retried(way: str, page: bytes, content_type: str) -> None:
    """The next attempt is answered."""
    whole = json.dumps(answer_of(way)).encode()
    outcome, outcomes = call([page, whole], way, content_type)
    assert not isinstance(outcome, Exception), repr(outcome)
    assert outcomes == ["transient", "served"]


@pytest.mark.parametrize("way", WAYS)
def test_the_error_of_the_last_attempt_says_what_came(way: str) -> None:
    """It is a connection error of the SDK, which frameworks know."""
    outcome, outcomes = call([b'{"error": "upstream failed"}'], way)
    assert isinstance(outcome, MalformedAnswerError)
    assert "upstream failed" in str(outcome)
    assert outcomes == ["transient"]


def test_a_choice_of_the_wrong_shape_is_transient() -> None:
    """The SDK's parser fails on it: that is no error of the caller's schema."""
    whole = answer_of("chat-parse")
    odd = {**whole, "choices": [{**whole["choices"][0], "message": {"tool_calls": [1]}}]}
    outcome, outcomes = call([json.dumps(x).encode() for x in (odd, whole)], "chat-parse")
    assert outcome.choices[0].message.parsed == Colour(colour="red")
    assert outcomes == ["transient", "served"]


def test_a_schema_that_rejects_a_readable_answer_is_the_callers_error() -> None:
    """It is served, and the error is raised as the SDK raises it."""
    whole = answer_of("chat-parse")
    whole["choices"][0]["message"]["content"] = "red"
    outcome, outcomes = call([json.dumps(whole).encode()], "chat-parse")
    assert isinstance(outcome, pydantic.ValidationError)
    assert outcomes == ["served"]
