"""The SDK's surface on our clients: everything that works on the SDK's own works here."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from flextier import (
    AsyncFlexOpenAI,
    CallReport,
    FlexOpenAI,
    FlexPolicy,
    PolicyError,
    override,
    track,
)
from flextier._openai.http_library import http
from flextier.calls.context import listen
from flextier.routing.timeout_args import warn_overridden
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, MESSAGES
from tests.client.hostile_server import chat, response


class Colour(BaseModel):
    """What structured answers are parsed into."""

    name: str
    warm: bool


def make(sim: Simulator, **arguments: Any) -> FlexOpenAI:
    """A sync client of the simulator."""
    return FlexOpenAI(**{"base_url": sim.base_url, "api_key": KEY, "policy": FAST, **arguments})


def make_async(sim: Simulator, **arguments: Any) -> AsyncFlexOpenAI:
    """An async client of the simulator."""
    return AsyncFlexOpenAI(
        **{"base_url": sim.base_url, "api_key": KEY, "policy": FAST, **arguments}
    )


def test_they_are_the_sdks_clients(sim: Simulator) -> None:
    """Code that checks for the SDK's classes takes ours."""
    with make(sim) as client:
        assert isinstance(client, openai.OpenAI)
        assert isinstance(client.with_options(timeout=3), FlexOpenAI)
    assert isinstance(make_async(sim), openai.AsyncOpenAI)


async def test_deep_copies(sim: Simulator) -> None:
    """They have the same settings, and share the HTTP client: connections cannot be copied."""
    client = make(sim, default_headers={"X-Team": "a"}, policy=FAST.replace(patience=7))
    several = copy.deepcopy([client, client])
    assert several[0] is several[1]
    assert several[0] is not client
    assert several[0].policy == client.policy
    assert several[0]._client is client._client
    several[0].responses.create(model="o3", input="Hi.")
    assert sim.requests[-1].headers["x-team"] == "a"
    await copy.deepcopy(make_async(sim)).responses.create(model="o3", input="Hi.")


def test_parse(sim: Simulator) -> None:
    """`parse` gives the parsed object, after a refusal too."""
    sim.script(Fault.refuse(), Fault.serve(), Fault.refuse(), Fault.serve())
    with make(sim) as client:
        chat = client.chat.completions.parse(model="o3", messages=MESSAGES, response_format=Colour)
        response = client.responses.parse(model="o3", input="A colour.", text_format=Colour)
    assert isinstance(chat.choices[0].message.parsed, Colour)
    assert isinstance(response.output_parsed, Colour)
    assert len(sim.requests) == 4


def test_a_parsers_own_error_is_not_tried_again(sim: Simulator) -> None:
    """The answer was paid for: that it does not parse is for the caller to see, once."""
    sim.script(Fault.serve(text="this is no colour"))
    with make(sim) as client, track() as calls, pytest.raises(ValueError, match="JSON"):
        client.chat.completions.parse(model="o3", messages=MESSAGES, response_format=Colour)
    assert len(sim.requests) == 1
    assert calls[0].served
    assert calls[0].usage is not None
    assert calls[0].lane == "flex"


def test_with_raw_response(sim: Simulator) -> None:
    """Raw responses keep headers and the parsed answer, and count the attempts."""
    sim.script(Fault.status(503))
    with make(sim) as client:
        raw = client.chat.completions.with_raw_response.create(model="o3", messages=MESSAGES)
    assert raw.headers["x-flextier-simulated"] == "true"
    assert raw.parse().service_tier == "flex"
    assert raw.retries_taken == 1
    assert [x.headers["x-stainless-retry-count"] for x in sim.requests] == ["0", "1"]


def test_with_streaming_response(sim: Simulator) -> None:
    """The caller reads the body; the status decides about retries."""
    sim.script(Fault.refuse())
    with (
        make(sim) as client,
        client.chat.completions.with_streaming_response.create(
            model="o3", messages=MESSAGES
        ) as response,
    ):
        assert b"chat.completion" in response.read()
    assert len(sim.requests) == 2


async def test_with_streaming_response_async(sim: Simulator) -> None:
    """The async version."""
    sim.script(Fault.refuse())
    async with (
        make_async(sim) as client,
        client.responses.with_streaming_response.create(model="o3", input="Hi.") as response,
    ):
        assert b'"response"' in await response.read()
        assert response.retries_taken == 1
    assert len(sim.requests) == 2


def test_everything_else_passes_untouched(sim: Simulator) -> None:
    """Embeddings, models and files are the SDK's own calls: no tier, no report, its retries."""
    sim.script(Fault.refuse())
    with make(sim, max_retries=0) as client, track() as calls:
        assert client.embeddings.create(model="text-embedding-3-small", input="x").data
        assert client.models.list().data
        file = client.files.create(file=("lines.jsonl", b"{}"), purpose="batch")
        assert client.files.delete(file.id).deleted
    assert calls == []
    assert [request.tier for request in sim.requests] == [None] * 4


def test_with_options_and_copy(sim: Simulator) -> None:
    """A copy has the other options, keeps the rest, and shares the connections."""
    with make(sim, policy=FlexPolicy(patience=7)) as client:
        copy = client.with_options(timeout=11, max_retries=5)
        assert copy.policy == FlexPolicy(
            patience=7, flex_timeout=11, standard_timeout=11, max_retries=5
        )
        assert client.policy == FlexPolicy(patience=7)
        other = client.copy(policy=FlexPolicy(lanes=("standard",)), default_headers={"x-a": "b"})
        other.chat.completions.create(model="o3", messages=MESSAGES)
        again = client.copy().copy()
        assert again.policy == client.policy
        assert again._client is client._client
    assert sim.requests[-1].tier == "default"
    assert sim.requests[-1].headers["x-a"] == "b"


def test_a_calls_own_timeout_wins(sim: Simulator) -> None:
    """`timeout=` of one call is that call's attempt timeout, whatever the client's says."""
    sim.script(Fault.stall())
    with make(sim, policy=FAST.replace(patience=0.1)) as client, track() as calls:
        client.chat.completions.create(model="o3", messages=MESSAGES, timeout=0.5)
    assert [a.outcome for a in calls[0].attempts] == ["timeout", "served"]


def test_timeout_and_retries_of_the_client_set_the_policy(sim: Simulator) -> None:
    """The SDK's own arguments mean the matching fields."""
    with make(sim, policy=None, timeout=openai.Timeout(5, read=90), max_retries=4) as client:
        assert client.policy.flex_timeout == client.policy.standard_timeout == 90
        assert client.policy.max_retries == 4


def test_a_contradiction_names_both(sim: Simulator) -> None:
    """An argument and an explicit field that differ are an error that names the two."""
    with pytest.raises(PolicyError, match=r"max_retries=1 and FlexPolicy\(max_retries=2\)"):
        make(sim, policy=FlexPolicy(max_retries=2), max_retries=1)


LONG = {"lanes": "flex", "flex_timeout": 60, "patience": 0, "max_retries": 0}


@pytest.mark.parametrize(
    ("client", "options", "inside", "call"),
    [
        ({"policy": FlexPolicy(**LONG), "timeout": 0.1}, {}, {}, {}),
        ({"policy": FlexPolicy(**LONG)}, {"timeout": 0.1}, {}, {}),
        ({"timeout": 0.1}, {"policy": FlexPolicy(**LONG)}, {}, {}),
        ({"policy": FlexPolicy(**LONG)}, {}, {}, {"timeout": 0.1}),
        ({"timeout": 0.1}, {}, LONG, {}),
        ({"timeout": 50}, {}, LONG, {"timeout": 0.1}),
    ],
    ids=["class", "with_options", "new policy", "call", "override", "call in override"],
)
def test_a_timeout_bounds_attempts_wherever_it_was_given(
    client: Any, options: Any, inside: Any, call: Any, sim: Simulator
) -> None:
    """A longer field of the policy is overridden, and warned about once."""
    warn_overridden.cache_clear()
    sim.script(*[Fault.stall()] * 2)

    def ask() -> None:
        with make(sim, **client).with_options(**options) as made, override(**inside):
            for _ in range(2):
                with pytest.raises(openai.APITimeoutError):
                    made.chat.completions.create(model="o3", messages=MESSAGES, **call)

    with pytest.warns(UserWarning, match="timeout=0.1 overrides FlexPolicy") as warned:
        ask()
    assert [str(warning.message).count("flex_timeout=60") for warning in warned] == [1]


def test_of_a_timeout_and_a_field_the_shorter_applies(sim: Simulator) -> None:
    """Both limits hold: a field that is shorter is not overridden."""
    with make(sim, policy=FlexPolicy(flex_timeout=9), timeout=50) as client:
        assert (client.policy.flex_timeout, client.policy.standard_timeout) == (9, 50)
        other = client.with_options(timeout=70)
        assert (other.policy.flex_timeout, other.policy.standard_timeout) == (9, 70)


def test_an_argument_beats_the_environment(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is no contradiction: what the code says counts."""
    monkeypatch.setenv("FLEXTIER_FLEX_TIMEOUT", "9")
    with make(sim, policy=None, timeout=5) as client:
        assert client.policy.flex_timeout == 5


def test_the_environment_is_enough(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, address and policy can all come from variables."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", sim.base_url)
    monkeypatch.setenv("FLEXTIER_LANES", "standard")
    with FlexOpenAI() as client:
        client.responses.create(model="o3", input="Hi.")
    assert sim.requests[0].tier == "default"


def test_threads_share_a_client(sim: Simulator) -> None:
    """Many threads on one client: each call answered, each with its own report."""
    sim.script(*[Fault.refuse(), Fault.serve()] * 8)
    reports: list[CallReport] = []

    def call(_: int) -> None:
        with track() as calls:
            client.chat.completions.create(model="o3", messages=MESSAGES)
        reports.extend(calls)

    with make(sim) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(32)))

    assert len(reports) == 32
    assert all(report.served for report in reports)
    assert sum(len(report.attempts) for report in reports) == len(sim.requests)


def test_one_async_client_under_loops_one_after_another(sim: Simulator) -> None:
    """`asyncio.run` twice on one client: connections of a dead loop are never used again."""
    client = make_async(sim)

    async def call() -> str | None:
        answer = await client.chat.completions.create(model="o3", messages=MESSAGES)
        return answer.choices[0].message.content

    assert asyncio.run(call()) == asyncio.run(call())


def test_one_async_client_under_loops_at_once(sim: Simulator) -> None:
    """Event loops in several threads share a client."""
    client = make_async(sim)
    answers: list[int] = []

    async def call() -> None:
        for _ in range(5):
            await client.responses.create(model="o3", input="Hi.")
            answers.append(1)

    threads = [threading.Thread(target=asyncio.run, args=(call(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20


def test_nested_tracks_and_failed_calls(sim: Simulator) -> None:
    """Every `track` around a call gets its report, also if it failed."""
    sim.script(Fault.serve(), Fault.status(404))
    with make(sim) as client, track() as outer:
        client.chat.completions.create(model="o3", messages=MESSAGES)
        with track() as inner, pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="o3", messages=MESSAGES)
    assert [report.served for report in outer] == [True, False]
    assert inner == outer[1:]


def test_a_failed_response_with_status_200_is_tried_again(sim: Simulator) -> None:
    """`status: "failed"` for want of capacity is a refusal; the last one is handed over."""
    failed = {"id": "r", "object": "response", "status": "failed", "output": [],
              "error": {"code": "flex_unavailable", "message": "no"}}  # fmt: skip
    with _answering([failed, {**failed, "status": "completed", "error": None}]) as client:
        assert client.responses.create(model="o3", input="Hi.").status == "completed"
    with _answering([failed]) as client:
        with track() as calls:
            answer = client.with_options(policy=FAST.replace(patience=0, lanes=("flex",)))
            assert answer.responses.create(model="o3", input="Hi.").status == "failed"
        assert [a.outcome for a in calls[0].attempts] == ["capacity"]


def _answering(bodies: list[dict[str, Any]]) -> FlexOpenAI:
    """A client of a transport that gives these answers in turn: the simulator makes no such one."""
    left = iter(bodies)
    transport = http.MockTransport(lambda request: http.Response(200, json=next(left)))
    return FlexOpenAI(
        base_url="http://sim.invalid/v1",
        api_key=KEY,
        policy=FAST,
        http_client=http.Client(transport=transport),
    )


def test_an_answer_that_was_cut_is_still_billed(sim: Simulator) -> None:
    """`parse` raises for an answer cut by its length; the report has what it was billed for."""
    with make(sim) as client, track() as calls, pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(
            model="o3", messages=MESSAGES, response_format=Colour, max_completion_tokens=1
        )
    assert calls[0].served
    assert calls[0].usage is not None
    assert calls[0].usage.output_tokens == 1


def test_html_is_no_answer_under_strict_validation_either(sim: Simulator) -> None:
    """With the SDK's strict validation, a page of HTML is as transient as without."""
    sim.script(Fault.not_json())
    with make(sim, _strict_response_validation=True) as client, track() as calls:
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert [a.outcome for a in calls[0].attempts] == ["transient", "served"]


def test_beta_responses_are_routed(sim: Simulator) -> None:
    """The beta namespace posts to the same endpoint with a query."""
    with make(sim) as client, track() as calls:
        if not hasattr(client.beta, "responses"):
            pytest.skip("this SDK has no client.beta.responses")
        client.beta.responses.create(model="o3", input="Hi.")
    assert [request.tier for request in sim.requests] == ["flex"]
    assert len(calls) == 1


def test_a_policy_may_be_a_dict(sim: Simulator) -> None:
    """As for the LangChain model."""
    arguments: Any = {"deadline": 120}
    with make(sim, policy=arguments) as client:
        assert client.policy == FlexPolicy(deadline=120)


def test_a_new_policy_keeps_the_clients_own_arguments(sim: Simulator) -> None:
    """The client's own `timeout` and `max_retries` hold, unless the new policy says otherwise."""
    with make(sim, policy=None, timeout=5, max_retries=0) as client:
        copy = client.copy(policy=FlexPolicy(patience=1))
        assert (copy.policy.flex_timeout, copy.policy.max_retries) == (5, 0)
        assert copy.policy.patience == 1
        other = client.copy(policy=FlexPolicy(flex_timeout=4, max_retries=1))
        assert (other.policy.flex_timeout, other.policy.standard_timeout) == (4, 5)
        assert other.policy.max_retries == 1


def test_the_http_clients_timeout_counts(sim: Simulator) -> None:
    """As in the SDK: an HTTP client with a timeout of its own brings it along."""
    with http.Client(timeout=7) as own, make(sim, policy=None, http_client=own) as client:
        assert client.policy.flex_timeout == 7


def test_usage_that_cannot_be_read_is_unknown() -> None:
    """A gateway's nonsense in `usage` or `service_tier` costs the accounts, not the answer."""
    body = {**chat("o3", "flex"), "service_tier": ["flex"], "usage": {"prompt_tokens": "abc"}}
    with _answering([body]) as client, track() as calls:
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert calls[0].usage is None
    assert calls[0].lane == "flex"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_an_impossible_usage_is_one_request(api: str) -> None:
    """Numbers without end, as JSON readers take them: one request, one answer, usage unknown."""
    usage = {"prompt_tokens": 1e999, "input_tokens": 1e999, "output_tokens": 1, "total_tokens": 1}
    body = json.dumps({**(chat if api == "chat" else response)("o3", "flex"), "usage": usage})
    transport = http.MockTransport(lambda request: http.Response(200, content=body))
    with (
        FlexOpenAI(
            base_url="http://sim.invalid/v1",
            api_key=KEY,
            policy=FAST.replace(max_retries=0),
            http_client=http.Client(transport=transport),
        ) as client,
        track() as calls,
    ):
        if api == "chat":
            client.chat.completions.create(model="o3", messages=MESSAGES)
        else:
            client.responses.create(model="o3", input="Hi.")
    assert [(len(call.attempts), call.usage) for call in calls] == [(1, None)]


@pytest.mark.parametrize("action", ["default", "error"])
def test_a_listener_that_raises_harms_no_call(
    action: Any, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The call returns and the others are notified; a warning reports it, or the log."""

    def raising(report: Any) -> None:
        raise ZeroDivisionError

    with make(sim) as client, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter(action)
        with listen(raising), track() as calls:
            assert client.chat.completions.create(model="o3", messages=MESSAGES).choices
    assert len(calls) == 1
    said = [str(one.message) for one in warned] + caplog.messages
    assert any("ZeroDivisionError" in one for one in said)
