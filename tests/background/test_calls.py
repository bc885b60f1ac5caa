"""Every way to make a Responses call, and what it sends on a background lane."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pydantic
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, PolicyError, continuation
from flextier._openai.http_library import http
from flextier.sim import Fault, Simulator
from tests.background.asking import (
    ALONE,
    ANSWER,
    CANCEL,
    LOOK,
    POLICY,
    QUESTION,
    SLOW,
    Asker,
    CallOutcome,
    aask,
    ask,
    body_of,
    cancels,
    created,
    creations,
    looks,
    options,
    quick_clock,
    served,
    statuses,
)
from tests.batch.crowd import seen


def of(sim: Simulator) -> dict[str, Any]:
    """The body of the one request that created something."""
    (request,) = seen(sim, "POST", "/responses")
    body: dict[str, Any] = request.body
    return body


def test_a_stream_comes_in_one_chunk(asker: Asker, sim: Simulator) -> None:
    """``create(stream=True)``: the events of a stream, the text in one of them."""

    def call(client: FlexOpenAI) -> list[Any]:
        return list(client.responses.create(**body_of({"stream": True})))

    async def acall(client: AsyncFlexOpenAI) -> list[Any]:
        stream: Any = await client.responses.create(**body_of({"stream": True}))
        return [event async for event in stream]

    events = asker.run(options(sim), call, acall)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert deltas == [ANSWER]
    assert events[-1].type == "response.completed"
    assert "stream" not in of(sim)
    assert served(sim) == {"background-2h": 1}


def test_a_stream_of_a_streaming_response(asker: Asker, sim: Simulator) -> None:
    """``with_streaming_response.create(stream=True)``, as the Agents SDK streams."""
    body = body_of({"stream": True})

    def call(client: FlexOpenAI) -> list[Any]:
        with client.responses.with_streaming_response.create(**body) as response:
            stream: Any = response.parse()
            return list(stream)

    async def acall(client: AsyncFlexOpenAI) -> list[Any]:
        async with client.responses.with_streaming_response.create(**body) as response:
            stream: Any = await response.parse()
            return [event async for event in stream]

    events = asker.run(options(sim), call, acall)
    assert events[-1].response.output_text == ANSWER
    assert served(sim) == {"background-2h": 1}


def test_the_stream_helper(asker: Asker, sim: Simulator) -> None:
    """``responses.stream()``: its final response is the one that was made."""

    def call(client: FlexOpenAI) -> Any:
        with client.responses.stream(**body_of({})) as stream:
            return stream.until_done().get_final_response()

    async def acall(client: AsyncFlexOpenAI) -> Any:
        async with client.responses.stream(**body_of({})) as stream:
            await stream.until_done()
            return await stream.get_final_response()

    response = asker.run(options(sim), call, acall)
    assert (response.output_text, response.status) == (ANSWER, "completed")
    assert created(sim) == 1


def test_an_incomplete_stream(asker: Asker, sim: Simulator) -> None:
    """It ends with the event that says so, as a stream of its own would."""

    def call(client: FlexOpenAI) -> list[Any]:
        return list(client.responses.create(**body_of({"stream": True, "max_output_tokens": 16})))

    async def acall(client: AsyncFlexOpenAI) -> list[Any]:
        body = body_of({"stream": True, "max_output_tokens": 16})
        stream: Any = await client.responses.create(**body)
        return [event async for event in stream]

    sim.script(Fault.serve(text="One two three four five six seven eight nine ten. " * 9))
    events = asker.run(options(sim), call, acall)
    assert events[-1].type in ("response.incomplete", "response.completed")


class Colour(pydantic.BaseModel):
    """What is wanted."""

    name: str


def test_parse(asker: Asker, sim: Simulator) -> None:
    """``parse`` reads the finished object; one that does not fit is paid for, and raised."""
    sim.script(Fault.serve(text='{"name": "red"}'), Fault.serve(text="none"))

    def call(client: FlexOpenAI) -> Any:
        good = client.responses.parse(**body_of({"text_format": Colour}))
        with pytest.raises(pydantic.ValidationError) as bad:
            client.responses.parse(**body_of({"text_format": Colour}))
        return good, bad.value

    async def acall(client: AsyncFlexOpenAI) -> Any:
        good = await client.responses.parse(**body_of({"text_format": Colour}))
        with pytest.raises(pydantic.ValidationError) as bad:
            await client.responses.parse(**body_of({"text_format": Colour}))
        return good, bad.value

    good, bad = asker.run(options(sim), call, acall)
    assert good.output_parsed == Colour(name="red")
    assert [one.outcome for one in bad.report.attempts] == ["served"]
    assert (bad.report.lane, served(sim)) == ("background-2h", {"background-2h": 2})


def test_raw_responses(asker: Asker, sim: Simulator) -> None:
    """``with_raw_response``: the headers are those of the last look."""

    def call(client: FlexOpenAI) -> Any:
        return client.responses.with_raw_response.create(**body_of({}))

    async def acall(client: AsyncFlexOpenAI) -> Any:
        return await client.responses.with_raw_response.create(**body_of({}))

    raw = asker.run(options(sim), call, acall)
    assert raw.parse().output_text == ANSWER
    assert json.loads(raw.text)["background"] is True
    assert raw.headers["x-request-id"] == seen(sim, "GET", LOOK)[-1].request_id


def test_bodies_that_are_read_as_they_come(asker: Asker, sim: Simulator) -> None:
    """``with_streaming_response`` goes to the next lane, and says so once."""

    def call(client: FlexOpenAI) -> str:
        with client.responses.with_streaming_response.create(**body_of({})) as response:
            return str(response.parse().output_text)

    async def acall(client: AsyncFlexOpenAI) -> str:
        async with client.responses.with_streaming_response.create(**body_of({})) as response:
            return str((await response.parse()).output_text)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        texts = [asker.run(options(sim), call, acall) for _ in range(2)]
    assert texts == [ANSWER] * 2
    assert [str(one.message) for one in warned if "background-2h" in str(one.message)] == [
        "calls that go to standard instead of background-2h: a background response has no body "
        "that the caller reads"
    ]
    assert (created(sim), served(sim)) == (0, {"default": 2})


CHAT = {"model": "gpt-6.2-sol", "messages": [{"role": "user", "content": QUESTION}]}


def test_chat_completions(asker: Asker, sim: Simulator) -> None:
    """They go to the next lane, and say once why, and what would help."""

    def call(client: FlexOpenAI) -> list[Any]:
        return [client.chat.completions.create(**CHAT) for _ in range(3)]  # type: ignore[call-overload]

    async def acall(client: AsyncFlexOpenAI) -> list[Any]:
        return [await client.chat.completions.create(**CHAT) for _ in range(3)]  # type: ignore[call-overload]

    with pytest.warns(UserWarning, match="use_responses_api=True") as warned:
        answers = asker.run(options(sim), call, acall)
    assert [answer.choices[0].message.content for answer in answers] == [ANSWER] * 3
    assert len(warned) == 1
    assert (created(sim), served(sim)) == (0, {"default": 3})


def test_chat_completions_with_no_other_lane(asker: Asker, sim: Simulator) -> None:
    """Then the error says it, before anything is sent."""

    def call(client: FlexOpenAI) -> None:
        with pytest.raises(PolicyError, match="OpenAIResponsesFlex"):
            client.chat.completions.create(**CHAT)  # type: ignore[call-overload]

    async def acall(client: AsyncFlexOpenAI) -> None:
        with pytest.raises(PolicyError, match="OpenAIResponsesFlex"):
            await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]

    asker.run(options(sim, ALONE), call, acall)
    assert sim.requests == []


def test_headers_and_query_of_the_call(asker: Asker, sim: Simulator) -> None:
    """Whose response it is, is said whenever it is asked about, and when it is cancelled."""
    sim.weather = SLOW
    asked: list[Any] = []

    async def anote(request: Any) -> None:
        asked.append(request)

    own: Any = (
        http.AsyncClient(event_hooks={"request": [anote]})
        if asker.is_async
        else http.Client(event_hooks={"request": [asked.append]})
    )
    result = asker(
        sim,
        POLICY.replace(background_timeout=20.0),
        {"http_client": own, "organization": "org-client", "clock": quick_clock()},
        extra_headers={"OpenAI-Organization": "org-call", "X-Gateway": "a"},
        extra_query={"route": "eu"},
    )
    assert (result.report.lane, statuses(sim)) == ("standard", {"cancelled": 1})
    assert looks(sim) >= 1
    assert cancels(sim) == 1
    for request in asked:
        assert request.headers["openai-organization"] == "org-call"
        assert request.headers["x-gateway"] == "a"
        assert dict(request.url.params) == {"route": "eu"}
        assert request.headers["authorization"].startswith("Bearer ")


def test_the_options_of_the_caller_win(asker: Asker, sim: Simulator) -> None:
    """A continuation id of the caller's is kept beside the window."""
    extra = {"background_options": {"continuation_id": "mine"}}
    with continuation("ours"):
        result = asker(sim, extra_body=extra)
    assert result.report.lane == "background-2h"
    body = of(sim)
    assert body["background"] is True
    assert body["background_options"] == {"continuation_id": "mine", "completion_window": "2h"}
    assert body["service_tier"] == "default"


def test_calls_of_one_run(asker: Asker, sim: Simulator) -> None:
    """They share an id; another run has another one."""
    with continuation("first"):
        asker.many(sim, count=2)
    with continuation("second"):
        asker(sim)
    asker(sim)
    bodies = [request.body["background_options"] for request in seen(sim, "POST", "/responses")]
    ids = [body.get("continuation_id") for body in bodies]
    assert ids[0] == ids[1] is not None
    assert ids[2] not in (ids[0], None)
    assert ids[3] is None
    assert sim.stats()["background"]["follow_ups"] == 1


@pytest.mark.parametrize(
    "own",
    [{"background": True}, {"extra_body": {"background": True}}],
    ids=["argument", "extra-body"],
)
def test_a_background_response_of_the_callers(
    own: dict[str, Any], asker: Asker, sim: Simulator
) -> None:
    """A response that the caller sends to the background passes unchanged and is not polled."""
    with pytest.warns(UserWarning, match="the call itself sets background or completion_window"):
        result = asker(sim, **own)
    assert result.answer.status == "queued"
    assert (creations(sim), looks(sim), cancels(sim)) == (1, 0, 0)
    assert "background_options" not in of(sim)


def test_a_call_that_is_not_to_be_in_the_background(asker: Asker, sim: Simulator) -> None:
    """Who says so is answered on a connection, by the next lane."""
    with pytest.warns(UserWarning, match="the call itself sets background or completion_window"):
        result = asker(sim, background=False)
    assert result.answer.status == "completed"
    assert (result.report.lane, created(sim), looks(sim)) == ("standard", 0, 0)


def test_a_tier_of_the_callers(asker: Asker, sim: Simulator) -> None:
    """Who has chosen a tier, has chosen no window."""
    result = asker(sim, service_tier="priority")
    assert (result.report.lane, created(sim)) == ("priority", 0)


def test_a_conversation(asker: Asker, sim: Simulator) -> None:
    """A response goes on from one that was made in the background."""

    def call(client: FlexOpenAI) -> list[CallOutcome]:
        first = ask(client)
        return [first, ask(client, previous_response_id=first.answer.id)]

    async def acall(client: AsyncFlexOpenAI) -> list[CallOutcome]:
        first = await aask(client)
        return [first, await aask(client, previous_response_id=first.answer.id)]

    first, second = asker.run(options(sim), call, acall)
    assert second.report.lane == "background-2h"
    assert second.answer.usage.input_tokens > first.answer.usage.input_tokens


def test_a_key_function_is_called_for_each_request(asker: Asker, sim: Simulator) -> None:
    """Each look has a fresh key: a response may outlive the one that created it."""
    keys: list[str] = []

    def fresh() -> str:
        keys.append(f"sk-{len(keys)}")
        return "sk-one-account"

    async def afresh() -> str:
        return fresh()

    result = asker(sim, POLICY, {"api_key": afresh if asker.is_async else fresh})
    assert result.report.lane == "background-2h"
    assert len(keys) == len(sim.requests) >= 2


def test_paths_that_are_asked_for(asker: Asker, sim: Simulator) -> None:
    """Creation, looks, and nothing else: what has ended is not cancelled."""
    result = asker(sim)
    assert result.report.lane == "background-2h"
    assert {(one.method, one.path.rpartition("/")[0]) for one in sim.requests} == {
        ("POST", "/v1"),
        ("GET", "/v1/responses"),
    }
    assert len(seen(sim, "POST", CANCEL)) == 0
