"""One owner of retries: what reaches the wire is what the report says, and who sets how much."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import openai
import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from flextier import FlexPolicy, PolicyError, track
from flextier.routing.timeout_args import warn_overridden
from flextier.sim import Fault, Simulator
from flextier.transport.attempt_limits import TaskLimit
from tests.client.callers import FAST, KEY
from tests.llama_index.callers import (
    CALLERS,
    CHAT,
    COMPLETE,
    PROMPT,
    LlamaCaller,
    aclosed,
    closed,
)
from tests.llama_index.llms import OURS, THEIRS, make

pytestmark = pytest.mark.sampled(2)

over_chats = pytest.mark.parametrize("caller", CALLERS, ids=str)
over_classes = pytest.mark.parametrize("cls", OURS)

# Both of LlamaIndex's owners, its tenacity and the SDK, wait what the server says: next to nothing.
REFUSED = [Fault.refuse(retry_after=0.001)] * 200
SHORT = FAST.replace(lanes=("flex",), patience=0.05)


def _ask(llm: Any, caller: LlamaCaller) -> None:
    """Make the call in the caller's way on any LLM."""
    if caller.is_async:
        asyncio.run(_aask(llm, caller))
        return
    with closed(llm):
        answer = getattr(llm, caller.name)(caller.question)
        if caller.stream:
            list(answer)


async def _aask(llm: Any, caller: LlamaCaller) -> None:
    async with aclosed(llm):
        answer = await getattr(llm, caller.name)(caller.question)
        if caller.stream:
            _ = [one async for one in answer]


@pytest.mark.parametrize("caller", CALLERS + COMPLETE, ids=str)
def test_llama_indexs_own_retries_multiply(caller: LlamaCaller, sim: Simulator) -> None:
    """Its tenacity tries 3 times what the SDK tries 4 times: 12 requests; a stream's are 4."""
    sim.script(*REFUSED)

    with pytest.raises(openai.RateLimitError):
        _ask(make(THEIRS[caller.cls], sim), caller)

    assert len(sim.requests) == (4 if caller.stream else 12)


@pytest.mark.parametrize("caller", CALLERS + COMPLETE, ids=str)
def test_ours_sends_what_the_report_says(caller: LlamaCaller, sim: Simulator) -> None:
    """On the same 429 that does not end, every request is an attempt of the one report."""
    sim.script(*REFUSED)

    outcome = caller(sim.base_url, SHORT)

    assert isinstance(outcome.error, openai.RateLimitError)
    assert len(outcome.report.attempts) == len(sim.requests)
    assert set(outcome.outcomes) == {"capacity"}


@over_chats
def test_a_retry_is_not_llama_indexs_on_any_failure_it_retries(
    caller: LlamaCaller, sim: Simulator
) -> None:
    """Lost connections, timeouts and 5xx end in as many requests as `max_retries` allows."""
    policy = FAST.replace(lanes=("standard",), max_retries=1, standard_timeout=0.2)
    for faults in ([Fault.reset()] * 2, [Fault.stall()] * 2, [Fault.status(500)] * 2):
        sim.reset()
        sim.script(*faults)

        outcome = caller(sim.base_url, policy)

        assert isinstance(outcome.error, openai.APIError)
        assert len(sim.requests) == len(outcome.report.attempts) == 2


class Colour(BaseModel):
    """A colour."""

    name: str


STRUCTURED = PromptTemplate(PROMPT)


@over_classes
def test_structured_answers_have_one_owner_too(cls: Any, sim: Simulator) -> None:
    """`structured_predict`, async and streamed too, sends exactly the attempts that it reports."""

    async def asynchronous(llm: Any) -> None:
        async with aclosed(llm):
            await llm.astructured_predict(Colour, STRUCTURED)

    with track() as calls:
        for ask in (
            lambda llm: llm.structured_predict(Colour, STRUCTURED),
            lambda llm: list(llm.stream_structured_predict(Colour, STRUCTURED)),
            lambda llm: asyncio.run(asynchronous(llm)),
        ):
            sim.script(*REFUSED)
            llm = make(cls, sim, policy=SHORT)
            with closed(llm), pytest.raises(openai.RateLimitError):
                ask(llm)
            sim.script()

    assert len(calls) == 3
    assert len(sim.requests) == sum(len(call.attempts) for call in calls)


# --- the constructor's arguments ----------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
@over_chats
def test_max_retries_is_the_policys(retries: int, caller: LlamaCaller, sim: Simulator) -> None:
    """`max_retries` of the constructor is how often each lane is tried again."""
    sim.script(*[Fault.status(500)] * 10)

    outcome = caller(sim.base_url, llm={"max_retries": retries})

    tries = retries + 1
    assert outcome.lanes == ["flex"] * tries + ["standard"] * tries
    assert len(sim.requests) == 2 * tries


@over_chats
def test_timeout_is_the_policys(caller: LlamaCaller, sim: Simulator) -> None:
    """`timeout` of the constructor ends an attempt on any lane."""
    sim.script(Fault.stall(), Fault.stall())

    outcome = caller(sim.base_url, FAST.replace(patience=0), llm={"timeout": 0.2, "max_retries": 0})

    assert isinstance(outcome.error, openai.APITimeoutError)
    assert outcome.outcomes == ["timeout", "timeout"]
    assert outcome.lanes == ["flex", "standard"]


@over_classes
def test_retries_that_contradict_the_policy(cls: Any, sim: Simulator) -> None:
    """Two values for one thing are an error that names both, before any call."""
    with pytest.raises(PolicyError, match=r"max_retries=1.*max_retries=2"):
        make(cls, sim, policy=FlexPolicy(max_retries=2), max_retries=1)


@over_classes
def test_a_timeout_overrides_a_longer_field(cls: Any, sim: Simulator) -> None:
    """The warning names both, before any call."""
    warn_overridden.cache_clear()
    with pytest.warns(UserWarning, match=r"timeout=5 overrides FlexPolicy\(flex_timeout=6\)"):
        make(cls, sim, policy=FlexPolicy(flex_timeout=6), timeout=5)


def _policy(llm: Any, is_async: bool) -> FlexPolicy:
    client = llm._aclient if is_async else llm._client
    if client is None:
        client = llm._get_aclient() if is_async else llm._get_client()
    policy: FlexPolicy = client.policy
    return policy


@pytest.mark.parametrize("is_async", [False, True])
@over_classes
def test_llama_indexs_minute_is_not_the_limit(cls: Any, is_async: bool, sim: Simulator) -> None:
    """LlamaIndex's default of 60 s would end most flex answers: ours is the policy's."""
    assert make(THEIRS[cls], sim).timeout == 60

    default = _policy(make(cls, sim, policy=None), is_async)
    given = _policy(make(cls, sim, policy=None, timeout=7), is_async)

    assert (default.flex_timeout, default.standard_timeout) == (900, 600)
    assert (given.flex_timeout, given.standard_timeout) == (7, 7)


@over_classes
def test_the_timeout_on_the_wire_is_the_lanes(cls: Any, sim: Simulator) -> None:
    """The SDK's header says how long a read may take: 900 s on flex, 600 s on standard."""
    sim.script(Fault.refuse())

    # An HTTP client of the caller's own: ours end attempts by themselves, and have no such timer.
    llm = make(cls, sim, policy=FlexPolicy(patience=0), http_client=httpx.Client())
    theirs = make(THEIRS[cls], sim)
    with closed(llm, theirs):
        llm.chat(CHAT)
        theirs.chat(CHAT)

    timeouts = [request.headers["x-stainless-read-timeout"] for request in sim.requests]
    assert [float(seconds) for seconds in timeouts] == [900, 600, 60]


@pytest.mark.parametrize("stream", [False, True])
@over_classes
def test_an_async_attempt_has_the_lanes_time(
    cls: Any, stream: bool, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The async clients end attempts themselves, after 900 s on flex and 600 s on standard."""
    sim.script(Fault.refuse())
    limits: list[float] = []
    enter = TaskLimit.__enter__

    def noted(limit: TaskLimit) -> None:
        if limit._seconds >= 60:
            limits.append(limit._seconds)
        enter(limit)

    monkeypatch.setattr(TaskLimit, "__enter__", noted)
    LlamaCaller(cls, "chat", stream=stream, is_async=True)(sim.base_url, FlexPolicy(patience=0))

    # An attempt's time, and for a stream what is left of it at each event.
    assert list(dict.fromkeys(round(limit) for limit in limits)) == [900, 600]


# --- the older Completions API ------------------------------------------------------------------

COMPLETION = {
    "id": "cmpl-1",
    "object": "text_completion",
    "created": 1,
    "model": "gpt-3.5-turbo-instruct",
    "choices": [{"index": 0, "text": "Blue.", "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 6, "completion_tokens": 2, "total_tokens": 8},
}


class Completions(BaseHTTPRequestHandler):
    """A server of `/v1/completions`, which the simulator lacks; it fails as often as set."""

    failures = 0
    bodies: list[dict[str, Any]]

    def do_POST(self) -> None:
        """Note the request, and answer or fail."""
        assert self.path == "/v1/completions"
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.bodies.append(body)
        if len(self.bodies) <= self.failures:
            self._send(500, "application/json", b"{}")
        elif body.get("stream"):
            event = f"data: {json.dumps(COMPLETION)}\n\ndata: [DONE]\n\n"
            self._send(200, "text/event-stream", event.encode())
        else:
            self._send(200, "application/json", json.dumps(COMPLETION).encode())

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(content)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def completions() -> Iterator[tuple[type[Completions], str]]:
    """A server of completions, and its base URL."""

    class Handler(Completions):
        bodies: list[dict[str, Any]] = []  # noqa: RUF012 - of this test alone

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield Handler, f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


LEGACY = [
    caller
    for caller in CALLERS + COMPLETE
    if caller.cls is OURS[0]  # OpenAIResponses has no such models
]


def _legacy(url: str, **arguments: Any) -> Any:
    settings = {"model": "gpt-3.5-turbo-instruct", "api_key": KEY, "max_tokens": 16}
    return OURS[0](**{**settings, "api_base": url, "policy": FAST, **arguments})


@pytest.mark.parametrize("caller", LEGACY, ids=str)
def test_the_older_completions_pass_untouched(
    caller: LlamaCaller, completions: tuple[type[Completions], str]
) -> None:
    """A model of the Completions API has no lanes: no tier in the body, no report."""
    server, url = completions

    with track() as calls:
        _ask(_legacy(url), caller)

    assert calls == []
    [body] = server.bodies
    assert "service_tier" not in body
    assert body["model"] == "gpt-3.5-turbo-instruct"


@pytest.mark.parametrize(("given", "requests"), [({}, 3), ({"max_retries": 1}, 2)])
@pytest.mark.parametrize("caller", LEGACY, ids=str)
def test_the_older_completions_have_the_sdks_retries(
    caller: LlamaCaller,
    given: dict[str, Any],
    requests: int,
    completions: tuple[type[Completions], str],
) -> None:
    """One owner there, too: the SDK, with its own default or the constructor's number."""
    server, url = completions
    server.failures = 100

    with pytest.raises(openai.InternalServerError):
        _ask(_legacy(url, **given), caller)

    assert len(server.bodies) == requests


def test_an_older_completion_says_what_it_said(
    completions: tuple[type[Completions], str],
) -> None:
    """The answer after a retry is LlamaIndex's own, with nothing of ours in it."""
    server, url = completions
    server.failures = 1
    llm = _legacy(url)

    with closed(llm):
        answer = llm.complete(PROMPT)
        chat = llm.chat(CHAT)
        *_, chunk = llm.stream_complete(PROMPT)

    assert (answer.text, chunk.text, chat.message.content) == ("Blue.", "Blue.", "Blue.")
    assert "flextier" not in answer.additional_kwargs
    assert "flextier" not in chunk.additional_kwargs
    assert len(server.bodies) == 4
