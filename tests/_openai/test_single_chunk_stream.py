"""A plain answer as an event stream: what the SDK makes of it is the plain answer again."""

from __future__ import annotations

import json
from typing import Any, cast

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from flextier._openai.http_library import http
from flextier._openai.single_chunk_stream import as_event_stream
from flextier.transport.streams import StreamProgress

Json = dict[str, Any]
ASK: Any = {"model": "o3", "messages": [{"role": "user", "content": "?"}]}
ASK_RESPONSES: Any = {"model": "o3", "input": "?"}


class City(BaseModel):
    """What a caller of the SDK's parse helpers asks for."""

    name: str


# --- answers of Chat Completions --------------------------------------------------------------

USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def chat(*choices: Json, **other: Any) -> Json:
    """A chat completion with these choices."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": "o3-2025-04-16",
        "service_tier": "flex",
        "system_fingerprint": "fp_1",
        "choices": list(choices),
        "usage": USAGE,
        **other,
    }


def choice(index: int = 0, finish_reason: str = "stop", **message: Any) -> Json:
    """A choice as the API writes it, its nulls included."""
    return {
        "index": index,
        "finish_reason": finish_reason,
        "logprobs": None,
        "message": {"role": "assistant", "content": None, "refusal": None, **message},
    }


def tool_call(number: int, name: str, **arguments: Any) -> Json:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call_{number}", "type": "function", "function": function}


LOGPROBS = {
    "content": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}],
    "refusal": None,
}
CITATION = {
    "type": "url_citation",
    "url_citation": {"start_index": 0, "end_index": 5, "url": "https://x.test", "title": "X"},
}
CHATS = {
    "text": chat(choice(content="Paris — 巴黎 🗼, \u2028 and\r\n\na new line")),
    "empty text": chat(choice(content="")),
    "no content": chat(choice()),
    "tool calls": chat(
        choice(
            finish_reason="tool_calls",
            tool_calls=[tool_call(1, "weather", city="Paris"), tool_call(2, "time", zone="CET")],
        )
    ),
    "text and a tool call": chat(
        choice(content="One moment.", finish_reason="tool_calls", tool_calls=[tool_call(1, "now")])
    ),
    "n=2": chat(choice(content="heads"), choice(1, content="tails")),
    "n=2 with tools": chat(
        choice(finish_reason="tool_calls", tool_calls=[tool_call(1, "now")]),
        choice(1, finish_reason="tool_calls", tool_calls=[tool_call(2, "now", zone="CET")]),
    ),
    "refusal": chat(choice(refusal="I cannot help with that.")),
    "length": chat(choice(content="and so", finish_reason="length")),
    "content filter": chat(choice(content="", finish_reason="content_filter")),
    "logprobs": chat({**choice(content="Hi"), "logprobs": LOGPROBS}),
    "no choices": chat(),
    "no tier": {k: v for k, v in chat(choice(content="x")).items() if k != "service_tier"},
    "extra fields": chat(
        choice(content="x", reasoning_content="because", annotations=[CITATION]), provider="other"
    ),
}

# --- answers of Responses ---------------------------------------------------------------------


def response(*output: Json, **other: Any) -> Json:
    """A response with this output."""
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_750_000_000.0,
        "status": "completed",
        "model": "o3-2025-04-16",
        "service_tier": "flex",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "output": list(output),
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 3,
            "output_tokens_details": {"reasoning_tokens": 1},
            "total_tokens": 12,
        },
        **other,
    }


def message(*content: Json, **other: Any) -> Json:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": list(content),
        **other,
    }


def text(said: str, *annotations: Json) -> Json:
    return {"type": "output_text", "text": said, "annotations": list(annotations), "logprobs": []}


def citation(number: int) -> Json:
    where = {"start_index": number, "end_index": number + 1}
    return {"type": "url_citation", "url": f"https://{number}.test", "title": "X", **where}


REFUSAL = {"type": "refusal", "refusal": "I cannot help with that."}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [
        {"type": "summary_text", "text": "First this."},
        {"type": "summary_text", "text": "Then that."},
    ],
    "encrypted_content": "gAAA",
}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "call_1",
    "name": "weather",
    "arguments": '{"city": "Paris"}',
    "status": "completed",
}
CUSTOM_CALL = {
    "id": "ctc_1",
    "type": "custom_tool_call",
    "call_id": "call_2",
    "name": "shell",
    "input": "ls\n-l",
}
SEARCH = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "Paris"},
}
UNKNOWN = {"id": "nt_1", "type": "next_years_thing", "status": "completed", "payload": {"a": [1]}}
FAILED = response(status="failed", error={"code": "server_error", "message": "Sorry."})
INCOMPLETE = response(
    message(text("and so"), status="incomplete"),
    status="incomplete",
    incomplete_details={"reason": "max_output_tokens"},
)
RESPONSES = {
    "text": response(message(text("Paris — 巴黎 🗼, \u2028 and\r\n\na new line"))),
    "empty text": response(message(text(""))),
    "two parts": response(message(text("One."), text("Two."))),
    "annotations": response(message(text("So they say.", citation(1), citation(2)))),
    "refusal": response(message(REFUSAL)),
    "text and refusal": response(message(text("Well."), REFUSAL)),
    "function call": response(CALL),
    "custom tool call": response(CUSTOM_CALL),
    "reasoning": response(REASONING, message(text("So."))),
    "reasoning without summary": response({**REASONING, "summary": []}, message(text("So."))),
    "hosted tool": response(SEARCH, message(text("Found."))),
    "unknown item": response(UNKNOWN, message(text("Done."))),
    "everything": response(REASONING, SEARCH, UNKNOWN, CALL, CUSTOM_CALL, message(text("Done."))),
    "no output": response(),
    "incomplete": INCOMPLETE,
}


# --- the bytes, and what the SDK reads from them ----------------------------------------------


def events(answer: Json) -> list[Json]:
    """The events, parsed by the plain rules of server-sent events."""
    received: list[Json] = []
    blocks = as_event_stream(answer).decode().split("\n\n")
    assert blocks.pop() == ""
    for block in blocks:
        *names, data = block.split("\n")
        assert data.startswith("data: ")
        if data == "data: [DONE]":
            received.append({"done": True})
            continue
        received.append(json.loads(data.removeprefix("data: ")))
        assert names == ([f"event: {received[-1]['type']}"] if "type" in received[-1] else [])
    return received


def client(answer: Json) -> openai.OpenAI:
    """The plain SDK, before a server that streams ``answer`` if asked to, or else says it."""

    def serve(request: Any) -> Any:
        if not json.loads(request.content).get("stream"):
            return http.Response(200, json=answer)
        return http.Response(
            200,
            headers={"content-type": "text/event-stream; charset=utf-8"},
            content=as_event_stream(answer),
        )

    return openai.OpenAI(
        api_key="k", max_retries=0, http_client=http.Client(transport=http.MockTransport(serve))
    )


def plainly(value: BaseModel) -> Json:
    """A model as the JSON it came from, as far as the SDK keeps it."""
    return cast("Json", json.loads(value.to_json()))  # type: ignore[attr-defined]


@pytest.fixture(params=CHATS)
def chat_answer(request: pytest.FixtureRequest) -> Json:
    """Every chat answer."""
    return CHATS[request.param]


@pytest.fixture(params=RESPONSES)
def response_answer(request: pytest.FixtureRequest) -> Json:
    """Every answer of Responses that is one."""
    return RESPONSES[request.param]


# --- Chat Completions -------------------------------------------------------------------------


def test_chat_chunks(chat_answer: Json) -> None:
    """The answer, then the usage, then the end; each chunk says whose it is."""
    *chunks, end = events(chat_answer)
    assert end == {"done": True}
    assert chunks[-1]["choices"] == []
    assert chunks.pop()["usage"] == USAGE
    assert not any("usage" in chunk for chunk in chunks)
    finished = [
        (choice["index"], choice["finish_reason"])
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["finish_reason"]
    ]
    assert finished == [(said["index"], said["finish_reason"]) for said in chat_answer["choices"]]
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["id"] == "chatcmpl-1"
        assert chunk.get("service_tier") == chat_answer.get("service_tier")
        ChatCompletionChunk.model_validate(chunk)


def test_tool_calls_are_numbered() -> None:
    """They have an index, which a message's do not have, and come one in a chunk."""
    for name, expected in (("tool calls", [(0, 0), (0, 1)]), ("n=2 with tools", [(0, 0), (1, 0)])):
        choices = [choice for part in events(CHATS[name])[:-1] for choice in part["choices"]]
        calls = [(one["index"], one["delta"].get("tool_calls", [])) for one in choices]
        assert [(index, call["index"]) for index, said in calls for call in said] == expected
        assert max(len(said) for _, said in calls) == 1


def test_the_sdks_stream_reads_chat_chunks(chat_answer: Json) -> None:
    """``create(stream=True)`` gives chunks whose deltas add up to the messages."""
    collected: dict[int, dict[str, str]] = {}
    with client(chat_answer) as sdk:
        chunks = list(sdk.chat.completions.create(stream=True, **ASK))
    for part in (choice for chunk in chunks for choice in chunk.choices):
        words = collected.setdefault(part.index, {"content": "", "refusal": "", "arguments": ""})
        words["content"] += part.delta.content or ""
        words["refusal"] += part.delta.refusal or ""
        for call in part.delta.tool_calls or ():
            assert call.function is not None
            words["arguments"] += call.function.arguments or ""
    assert collected == {
        said["index"]: {
            "content": said["message"]["content"] or "",
            "refusal": said["message"]["refusal"] or "",
            "arguments": "".join(
                call["function"]["arguments"] for call in said["message"].get("tool_calls", ())
            ),
        }
        for said in chat_answer["choices"]
    }
    assert chunks[-1].usage is not None
    assert plainly(chunks[-1].usage) == USAGE


# The helper raises for these finish reasons, of any stream.
CUT = ("length", "content filter")


@pytest.mark.parametrize("name", [name for name in CHATS if name not in CUT])
def test_the_sdks_chat_helper_ends_with_the_plain_answer(name: str) -> None:
    """``stream()`` accumulates exactly what ``create()`` would have given."""
    answer = CHATS[name]
    with client(answer) as sdk:
        plain = sdk.chat.completions.create(**ASK)
        with sdk.chat.completions.stream(**ASK, stream_options={"include_usage": True}) as stream:
            final = stream.get_final_completion()
    assert _comparable(plainly(final)) == _comparable(plainly(plain))


def _comparable(completion: Json) -> Json:
    """A completion without what parsing and accumulating add: indexes, parsed, empty lists."""
    for choice in completion["choices"]:
        message = choice["message"]
        for call in message.get("tool_calls") or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        message.pop("parsed", None)
        choice["message"] = {k: v for k, v in message.items() if v is not None}
    return {k: v for k, v in completion.items() if v is not None}


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "refusal",
        "n=2",
        "tool calls",
        "text and a tool call",
        "n=2 with tools",
    ],
)
def test_the_sdks_chat_helper_exposes_the_response(name: str) -> None:
    """Each choice's content, refusal or calls arrive whole, and marked as done."""
    answer = CHATS[name]
    with client(answer) as sdk, sdk.chat.completions.stream(**ASK) as stream:
        received = [event for event in stream if event.type != "chunk"]
    said = [choice["message"] for choice in answer["choices"]]
    done = [event.content for event in received if event.type == "content.done"]
    assert done == [m["content"] for m in said if m["content"]]
    refused = [event.refusal for event in received if event.type == "refusal.done"]
    assert refused == [m["refusal"] for m in said if m["refusal"]]
    called = [
        (event.name, event.arguments)
        for event in received
        if event.type == "tool_calls.function.arguments.done"
    ]
    assert called == [
        (call["function"]["name"], call["function"]["arguments"])
        for m in said
        for call in m.get("tool_calls", ())
    ]


def test_structured_output_is_parsed() -> None:
    """A response format is applied to the one chunk."""
    answer = chat(choice(content='{"name": "Paris"}'))
    with (
        client(answer) as sdk,
        sdk.chat.completions.stream(**ASK, response_format=City) as stream,
    ):
        assert stream.get_final_completion().choices[0].message.parsed == City(name="Paris")


def test_structured_output_that_is_cut_raises() -> None:
    """A cut answer does not pass for a parsed one."""
    answer = chat(choice(content='{"name": "Par', finish_reason="length"))
    with (
        client(answer) as sdk,
        sdk.chat.completions.stream(**ASK, response_format=City) as stream,
        pytest.raises(openai.LengthFinishReasonError),
    ):
        stream.get_final_completion()


def test_custom_tool_calls_reach_the_caller() -> None:
    """They are in the delta as they were in the message, with an index."""
    call = {"id": "call_1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}
    answer = chat(choice(finish_reason="tool_calls", tool_calls=[call]))
    with client(answer) as sdk:
        chunk = next(iter(sdk.chat.completions.create(stream=True, **ASK)))
    assert plainly(chunk)["choices"][0]["delta"]["tool_calls"] == [{"index": 0, **call}]


content = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(content, min_size=1, max_size=3))
def test_any_text_survives(said: list[str]) -> None:
    """No character breaks the framing, and none is lost."""
    answer = chat(*(choice(index, content=words) for index, words in enumerate(said)))
    state = ChatCompletionStreamState()
    for chunk in events(answer)[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    final = state.get_final_completion()
    assert [choice.message.content for choice in final.choices] == said


# --- Responses --------------------------------------------------------------------------------

UNKNOWN_TO_THE_SDK = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
"""The SDK's helper warns of items that it does not know, in real streams as in these."""
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def test_response_events(response_answer: Json) -> None:
    """Numbered, each one of the API's events with all its fields, from created to the end."""
    received = events(response_answer)
    assert [event["sequence_number"] for event in received] == list(range(len(received)))
    assert received[0]["type"] == "response.created"
    assert received[0]["response"]["output"] == []
    assert received[0]["response"]["status"] == "in_progress"
    assert received[0]["response"]["usage"] is None
    assert received[-1]["type"] == f"response.{response_answer['status']}"
    assert received[-1]["response"] == response_answer
    for event in received:
        if (event.get("item") or {}).get("type") != UNKNOWN["type"] and "response" not in event:
            assert EVENT.validate_python(event).type == event["type"]


def test_items_come_one_after_another(response_answer: Json) -> None:
    """Each is added empty, filled, and done as it is in the answer."""
    received = events(response_answer)[1:-1]
    for index, item in enumerate(response_answer["output"]):
        mine = [event for event in received if event["output_index"] == index]
        assert mine[0]["type"] == "response.output_item.added"
        assert mine[-1]["type"] == "response.output_item.done"
        assert mine[-1]["item"] == item
        assert mine[0]["item"]["id"] == item["id"]
        assert all(event["item_id"] == item["id"] for event in mine[1:-1])
        assert received[: len(mine)] == mine
        received = received[len(mine) :]
    assert received == []


@pytest.mark.parametrize(
    ("item", "kinds", "emptied"),
    [
        (
            message(text("So.", citation(1))),
            [
                "content_part.added",
                "output_text.delta",
                "output_text.annotation.added",
                "output_text.done",
                "content_part.done",
            ],
            {"content": [], "status": "in_progress"},
        ),
        (
            message(REFUSAL),
            ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"],
            {"content": [], "status": "in_progress"},
        ),
        (
            CALL,
            ["function_call_arguments.delta", "function_call_arguments.done"],
            {"arguments": "", "status": "in_progress"},
        ),
        (
            CUSTOM_CALL,
            ["custom_tool_call_input.delta", "custom_tool_call_input.done"],
            {"input": "", "status": "in_progress"},
        ),
        (
            {**REASONING, "summary": REASONING["summary"][:1]},
            [
                "reasoning_summary_part.added",
                "reasoning_summary_text.delta",
                "reasoning_summary_text.done",
                "reasoning_summary_part.done",
            ],
            {"summary": []},
        ),
        (SEARCH, [], {}),
        (UNKNOWN, [], {}),
    ],
)
def test_what_fills_an_item(item: Json, kinds: list[str], emptied: Json) -> None:
    """The events of each kind of item; one that is not known is just added and done."""
    added, *parts, done = events(response(item))[1:-1]
    assert [part["type"] for part in parts] == [f"response.{kind}" for kind in kinds]
    assert added["item"] == {**item, **emptied}
    assert done["item"] == item


@pytest.mark.parametrize("logprobs", [[{"token": "So", "logprob": -0.1, "bytes": [83]}], [], None])
def test_logprobs_come_with_their_text(logprobs: list[Json] | None) -> None:
    """They are on the delta and at its end; a part that has none has an empty list there."""
    part = {**text("So"), "logprobs": logprobs}
    received = {event["type"]: event for event in events(response(message(part)))}
    assert received["response.output_text.delta"]["logprobs"] == (logprobs or [])
    assert received["response.output_text.done"]["logprobs"] == (logprobs or [])


def test_deltas_add_up(response_answer: Json) -> None:
    """What the deltas say is what the answer says, for callers who read nothing else."""
    spoken = {"text": "", "refusal": "", "arguments": "", "input": "", "summary": ""}
    kinds = {
        "response.output_text.delta": "text",
        "response.refusal.delta": "refusal",
        "response.function_call_arguments.delta": "arguments",
        "response.custom_tool_call_input.delta": "input",
        "response.reasoning_summary_text.delta": "summary",
    }
    for event in events(response_answer):
        if event["type"] in kinds:
            spoken[kinds[event["type"]]] += event["delta"]
    said = dict.fromkeys(spoken, "")
    for item in response_answer["output"]:
        parts = item["content"] if item["type"] == "message" else ()
        for part in (item, *parts):
            for field in ("text", "refusal", "arguments", "input"):
                said[field] += part.get(field, "")
        said["summary"] += "".join(part["text"] for part in item.get("summary", ()))
    assert spoken == said


@UNKNOWN_TO_THE_SDK
def test_the_sdks_response_helper_ends_with_the_plain_answer(response_answer: Json) -> None:
    """``stream()`` ends with exactly what ``create()`` would have given."""
    with client(response_answer) as sdk:
        plain = sdk.responses.create(**ASK_RESPONSES)
        with sdk.responses.stream(**ASK_RESPONSES) as stream:
            received = list(stream)
    final: Any = received[-1]
    assert final.type == f"response.{response_answer['status']}"
    assert _unparsed(plainly(final.response)) == _unparsed(plainly(plain))
    assert _unparsed(plainly(plain)) == _unparsed(response_answer)


def _unparsed(response: Json) -> Json:
    """A response without what parsing adds."""
    shown = cast("Json", json.loads(json.dumps(response)))
    for item in shown["output"]:
        item.pop("parsed_arguments", None)
        parts = item["content"] if item["type"] == "message" else ()
        for part in parts:
            part.pop("parsed", None)
    return shown


@UNKNOWN_TO_THE_SDK
def test_the_sdks_response_helper_accumulates_on_the_way() -> None:
    """Snapshots in the middle of the stream hold what has come so far."""
    answer = RESPONSES["everything"]
    with client(answer) as sdk, sdk.responses.stream(**ASK_RESPONSES) as stream:
        sent = list(stream)
    texts = [event.snapshot for event in sent if event.type == "response.output_text.delta"]
    assert texts == ["Done."]
    arguments = [
        event.snapshot for event in sent if event.type == "response.function_call_arguments.delta"
    ]
    assert arguments == [CALL["arguments"]]


def test_structured_responses_are_parsed() -> None:
    """A text format is applied to the streamed answer."""
    answer = response(message(text('{"name": "Paris"}')))
    with (
        client(answer) as sdk,
        sdk.responses.stream(**ASK_RESPONSES, text_format=City) as stream,
    ):
        assert stream.get_final_response().output_parsed == City(name="Paris")


def test_a_failed_response_ends_as_one() -> None:
    """It does not pass for complete."""
    received = events(FAILED)
    assert [event["type"] for event in received] == ["response.created", "response.failed"]
    assert received[-1]["response"]["error"]["code"] == "server_error"
    with client(FAILED) as sdk, sdk.responses.stream(**ASK_RESPONSES) as stream:
        assert [event.type for event in stream] == ["response.created", "response.failed"]


@given(content, content)
def test_any_text_survives_in_responses(said: str, asked: str) -> None:
    """No character breaks the framing, and none is lost."""
    answer = response(message(text(said)), {**CALL, "arguments": asked})
    received = {event["type"]: event for event in events(answer)}
    assert received["response.output_text.delta"]["delta"] == said
    assert received["response.function_call_arguments.delta"]["delta"] == asked
    assert received["response.completed"]["response"] == answer


# --- what flextier's own streams see ----------------------------------------------------------


def test_our_streams_find_them_whole(chat_answer: Json, response_answer: Json) -> None:
    """A one-chunk stream is complete, and has its tier and usage."""
    for answer, call in ((chat_answer, "chat"), (response_answer, "responses")):
        progress = StreamProgress()
        with client(answer) as sdk:
            if call == "chat":
                stream: Any = sdk.chat.completions.create(stream=True, **ASK)
            else:
                stream = sdk.responses.create(stream=True, **ASK_RESPONSES)
            for event in stream:
                progress.record(event)
        assert progress.complete == bool(answer.get("choices", True))
        assert progress.tier == answer.get("service_tier")
        assert progress.usage is not None
        assert (progress.usage.input_tokens, progress.usage.output_tokens) == (9, 3)
