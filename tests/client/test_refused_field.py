"""Servers that reject the field ``service_tier``: standard without it, known for later calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import openai
import pytest

from flextier.capacity import CAPACITY
from flextier.lanes.failures import Failure
from flextier.lanes.refused_field import refused_field
from tests.client.callers import FAST, KEY, Caller
from tests.client.hostile_server import chat, chat_events, response, response_events, sse

Refusal = tuple[int, Any]


def _extra(tier: str) -> list[dict[str, Any]]:
    """What Pydantic says of a field that a model forbids."""
    return [
        {
            "type": "extra_forbidden",
            "loc": ["body", "service_tier"],
            "msg": "Extra inputs are not permitted",
            "input": tier,
        }
    ]


def _openai_error(message: str, status: int = 400, **fields: Any) -> Refusal:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return status, {"error": error | fields}


SERVERS: dict[str, Callable[[str], Refusal]] = {
    "openai": lambda tier: _openai_error("Unrecognized request argument supplied: service_tier"),
    "azure": lambda tier: _openai_error(
        "Unknown parameter: 'service_tier'.", param="service_tier", code="unknown_parameter"
    ),
    "mistral": lambda tier: (
        422,
        {"object": "error", "message": {"detail": _extra(tier)}, "type": "invalid_request_error"},
    ),
    "vllm": lambda tier: (
        400,
        {"object": "error", "message": str(_extra(tier)), "type": "BadRequestError", "code": 400},
    ),
    "fastapi": lambda tier: (422, {"detail": _extra(tier)}),
    "gemini": lambda tier: (
        400,
        [{"error": {"code": 400, "message": 'Unknown name "service_tier": Cannot find field.'}}],
    ),
    "rust": lambda tier: (422, "Failed to deserialize: unknown field `service_tier` at column 20"),
    "go": lambda tier: (400, {"message": 'Bad request: json: unknown field "service_tier"\n'}),
    "groq": lambda tier: _openai_error("property 'service_tier' is unsupported"),
    "json-schema": lambda tier: _openai_error(
        "Additional properties are not allowed ('service_tier' was unexpected)"
    ),
}
"""How strict servers reject the field, by what they run on."""

LITELLM = "groq does not support parameters: ['service_tier'], for model=llama-3. Set drop_params."
REJECTS_VALUE = [
    "Unsupported service_tier: flex",
    "Invalid service_tier argument: 'flex'. Supported values are: 'auto' and 'default'.",
    "service_tier: unknown variant `flex`, expected one of `auto`, `default`",
    "[{'type': 'literal_error', 'loc': ('body', 'service_tier'), 'msg': 'Input should be auto'}]",
    "Flex is not available for this model.",
]


@dataclass
class StrictServer:
    """A server that answers, unless a request has a ``service_tier``."""

    url: str = ""
    tiers: list[str | None] = field(default_factory=list)
    """The tier of every request that arrived; None: without."""


@contextmanager
def strict(refusal: Callable[[str], Refusal], model: str = "") -> Iterator[StrictServer]:
    """A strict server; with ``model``, it is strict with that one only."""
    state = StrictServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Be quiet."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            tier = body.get("service_tier")
            state.tiers.append(tier)
            if tier is not None and model in ("", body["model"]):
                return self._send(*refusal(tier))
            is_chat = self.path.endswith("/chat/completions")
            if body.get("stream"):
                events = (chat_events if is_chat else response_events)("m", "default")
                return self._reply(200, sse(events) + b"data: [DONE]\n\n", "text/event-stream")
            return self._send(200, (chat if is_chat else response)("m", "default"))

        def _send(self, status: int, body: Any) -> None:
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self._reply(status, content, "application/json")

        def _reply(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        CAPACITY.reset()


STANDARD = FAST.replace(lanes=("standard",))


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", SERVERS)
def test_the_call_goes_to_standard_without_the_field(kind: str, caller: Caller) -> None:
    """After one refusal; the next call, of another model, does not send it at all."""
    with strict(SERVERS[kind]) as server:
        first = caller(server.url)
        second = caller(server.url, model="o4-mini")
    assert first.error is None
    assert first.outcomes == ["lane_unsupported", "served"]
    assert first.lanes == ["flex", "standard"]
    assert (first.report.lane, first.report.fallback) == ("standard", "lane_unsupported")
    assert second.outcomes == ["served"]
    assert (second.report.lane, second.report.fallback) == ("standard", "lane_unsupported")
    assert server.tiers == ["flex", None, None]


@pytest.mark.sampled(4)
@pytest.mark.parametrize("kind", SERVERS)
def test_a_policy_of_standard_alone_works_too(kind: str, caller: Caller) -> None:
    """The same lane again, without the field."""
    with strict(SERVERS[kind]) as server:
        first, second = (caller(server.url, STANDARD) for _ in range(2))
    assert first.error is None
    assert first.outcomes == ["lane_unsupported", "served"]
    assert (first.report.lane, first.report.fallback) == ("standard", None)
    assert second.outcomes == ["served"]
    assert server.tiers == ["default", None, None]


def test_a_gateway_that_rejects_it_for_one_model(caller: Caller) -> None:
    """The field is left out for that model only: a refusal of flex alone could be of the value."""
    with strict(lambda tier: _openai_error(LITELLM), model="llama-3") as server:
        outcomes = [
            caller(server.url, model=model).outcomes for model in ("llama-3",) * 2 + ("o3",)
        ]
    assert outcomes == [["lane_unsupported"] * 2 + ["served"], ["served"], ["served"]]
    assert server.tiers == ["flex", "default", None, None, "flex"]


def test_a_policy_of_flex_alone_raises_the_refusal(plain: Caller) -> None:
    """It excludes standard."""
    with strict(SERVERS["openai"]) as server:
        outcome = plain(server.url, FAST.replace(lanes=("flex",)))
    assert isinstance(outcome.error, openai.BadRequestError)
    assert outcome.outcomes == ["lane_unsupported"]


def test_a_tier_of_the_callers_own_is_not_left_out(plain: Caller) -> None:
    """The server's error is raised, as by the SDK."""
    with strict(SERVERS["azure"]) as server:
        outcomes = [plain(server.url, service_tier="priority") for _ in range(2)]
    assert [type(one.error) for one in outcomes] == [openai.BadRequestError] * 2
    assert server.tiers == ["priority"] * 2


def test_a_caller_that_omits_the_field_in_extra_body(plain: Caller) -> None:
    """What the SDK merges into the body is left out, too."""
    with strict(SERVERS["mistral"]) as server:
        outcome = plain(server.url, STANDARD, extra_body={"service_tier": "auto"})
    assert outcome.error is None
    assert server.tiers == ["default", None]


@pytest.mark.parametrize("message", REJECTS_VALUE)
def test_a_refusal_of_the_value_is_none_of_the_field(message: str) -> None:
    """Standard is asked for by name then: a project's own default may cost more."""
    for param in (None, "service_tier"):
        assert refused_field(Failure(400, param=param, message=message)) == ""


def test_other_fields_are_not_this_one() -> None:
    """A message that quotes the request may name it, but its param decides."""
    message = "Unknown parameter: 'colour' in {'service_tier': 'flex'}"
    assert refused_field(Failure(400, param="colour", message=message)) == ""
    assert refused_field(Failure(422, message="Unknown parameter: 'colour'")) == ""
    assert refused_field(Failure(500, message="Unknown parameter: service_tier")) == ""


def _langchain(url: str) -> tuple[str, Any]:
    from flextier.langchain import ChatOpenAIFlex

    llm = ChatOpenAIFlex(model="o3", base_url=url, api_key=KEY, policy=FAST)
    message = llm.invoke("Name a colour.")
    return message.text, message.response_metadata["flextier"]


def _llama_index(url: str) -> tuple[str, Any]:
    from flextier.llama_index import OpenAIFlex

    llm = OpenAIFlex(model="o3", api_base=url, api_key=KEY, policy=FAST)
    answer = llm.complete("Name a colour.")
    return answer.text, answer.additional_kwargs["flextier"]


FRAMEWORKS = {
    "langchain_openai": _langchain,
    "llama_index": _llama_index,
}


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if find_spec(name)])
def test_the_frameworks_go_to_standard_without_the_field(framework: str) -> None:
    """As a call of the SDK does."""
    with strict(SERVERS["vllm"]) as server:
        text, report = FRAMEWORKS[framework](server.url)
    assert "red" in text
    assert [one["outcome"] for one in report["attempts"]] == ["lane_unsupported", "served"]
    assert server.tiers == ["flex", None]
