"""The same call through LlamaIndex's class and ours: same answer, same request but for the tier."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel

from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Fault, Simulator
from tests.llama_index.llms import OURS, THEIRS, make

# LlamaIndex's structured LLM calls a method that pydantic deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The `json` method is deprecated")

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYA"
    "AjCB0C8AAAAASUVORK5CYII="
)
TOPIC = {"topic": "'ink'"}
PROMPT = PromptTemplate("Write about {topic}. Be short.")
CHAT_PROMPT = ChatPromptTemplate(
    message_templates=[
        ChatMessage(role=MessageRole.SYSTEM, content="You name colours."),
        ChatMessage(role=MessageRole.USER, content="A colour for {topic}?"),
    ]
)
# Headers that describe the client, not the call.
_OF_THE_CLIENT = {"content-length", "host", "user-agent", "x-stainless-read-timeout"}
# What is another one in every answer, or says which tier served it.
_OF_THE_ANSWER = {
    "call_id",
    "created",
    "created_at",
    "completed_at",
    "flextier",
    "id",
    "id_",
    "item_id",
    "service_tier",
    "tool_call_id",
    "tool_id",
}

_ADDED = ("service_tier", "stream_options")


class Colour(BaseModel):
    """A colour."""

    name: str
    warm: bool


def lookup(word: str) -> str:
    """Look a word up."""
    return f"{word}: a word"


def measure(word: str, unit: str = "cm") -> str:
    """Measure a word."""
    return f"{len(word)} {unit}"


def tools() -> list[FunctionTool]:
    """Two tools, new ones for each call, since LlamaIndex changes their schemas in place."""
    return [FunctionTool.from_defaults(lookup), FunctionTool.from_defaults(measure)]


def messages() -> list[ChatMessage]:
    """A conversation, a new list for each call, since LlamaIndex appends to it."""
    return [
        ChatMessage(role=MessageRole.SYSTEM, content="Be short."),
        ChatMessage(role=MessageRole.USER, content="Look up 'ink'. Then stop."),
    ]


def pictures() -> list[ChatMessage]:
    """A question with a picture, and an earlier answer."""
    blocks = [TextBlock(text="What is this? A picture."), ImageBlock(url=PIXEL, detail="low")]
    return [
        ChatMessage(role=MessageRole.USER, content="Hi."),
        ChatMessage(role=MessageRole.ASSISTANT, content="Hello."),
        ChatMessage(role=MessageRole.USER, blocks=blocks),
    ]


# --- every way to ask ---------------------------------------------------------------------------

Way = Callable[[Any], Any]
WAYS: dict[str, Way] = {
    "complete": lambda llm: llm.complete("Name a colour. Any will do."),
    "stream_complete": lambda llm: llm.stream_complete("Name a colour. Any will do."),
    "chat": lambda llm: llm.chat(messages()),
    "stream_chat": lambda llm: llm.stream_chat(messages()),
    "predict": lambda llm: llm.predict(PROMPT, **TOPIC),
    "stream": lambda llm: llm.stream(CHAT_PROMPT, **TOPIC),
    "chat_with_tools": lambda llm: with_calls(
        llm, llm.chat_with_tools(tools(), "Do lookup 'ink'.", chat_history=messages())
    ),
    "stream_chat_with_tools": lambda llm: llm.stream_chat_with_tools(
        tools(), "Do lookup and measure.", allow_parallel_tool_calls=True, tool_required=True
    ),
    "predict_and_call": lambda llm: llm.predict_and_call(tools(), "Do lookup 'ink'."),
    "structured_predict": lambda llm: llm.structured_predict(Colour, CHAT_PROMPT, **TOPIC),
    "stream_structured_predict": lambda llm: llm.stream_structured_predict(
        Colour, CHAT_PROMPT, **TOPIC
    ),
    "as_structured_llm": lambda llm: llm.as_structured_llm(Colour).chat(messages()),
    "as_structured_llm.complete": lambda llm: llm.as_structured_llm(Colour).complete("Red."),
    "as_structured_llm.stream_chat": lambda llm: llm.as_structured_llm(Colour).stream_chat(
        messages()
    ),
    "acomplete": lambda llm: llm.acomplete("Name a colour. Any will do."),
    "astream_complete": lambda llm: llm.astream_complete("Name a colour. Any will do."),
    "achat": lambda llm: llm.achat(messages()),
    "astream_chat": lambda llm: llm.astream_chat(messages()),
    "apredict": lambda llm: llm.apredict(CHAT_PROMPT, **TOPIC),
    "astream": lambda llm: llm.astream(PROMPT, **TOPIC),
    "achat_with_tools": lambda llm: llm.achat_with_tools(tools(), "Do lookup 'ink'.", strict=True),
    "astream_chat_with_tools": lambda llm: llm.astream_chat_with_tools(
        tools(), "Do lookup 'ink'.", tool_choice="lookup"
    ),
    "apredict_and_call": lambda llm: llm.apredict_and_call(
        tools(), "Do lookup and measure.", allow_parallel_tool_calls=True
    ),
    "astructured_predict": lambda llm: llm.astructured_predict(Colour, CHAT_PROMPT, **TOPIC),
    "astream_structured_predict": lambda llm: llm.astream_structured_predict(
        Colour, CHAT_PROMPT, **TOPIC
    ),
    "as_structured_llm.achat": lambda llm: llm.as_structured_llm(Colour).achat(messages()),
    "as_structured_llm.acomplete": lambda llm: llm.as_structured_llm(Colour).acomplete("Red."),
    "as_structured_llm.astream_chat": lambda llm: llm.as_structured_llm(Colour).astream_chat(
        messages()
    ),
    # What the structured ways do where the model's own JSON schemas are not to be used.
    "get_tool_calls_from_response": lambda llm: (
        llm.model_copy(update={"pydantic_program_mode": PydanticProgramMode.FUNCTION})
        .as_structured_llm(Colour)
        .chat(messages())
    ),
}
NO_CALLS = {
    "check_callback_manager": "a validator",
    "check_prompts": "a validator",
    "class_name": "test_serialisation.py",
    "convert_chat_messages": "changes messages only; not overridden",
    "custom_model_dump": "test_serialisation.py",
    "from_dict": "test_serialisation.py",
    "from_json": "test_serialisation.py",
    "metadata": "test_models.py",
    "process_response_event": "a static method that the streams above use; not overridden",
    "set_completion_to_prompt": "a validator",
    "set_messages_to_prompt": "a validator",
    "to_dict": "test_serialisation.py",
    "to_json": "test_serialisation.py",
    "to_payload": "test_serialisation.py",
}


def with_calls(llm: Any, response: Any) -> Any:
    """A response with what LlamaIndex reads out of it."""
    return response, llm.get_tool_calls_from_response(response)


@pytest.mark.parametrize("cls", OURS)
def test_every_public_method_is_compared(cls: Any) -> None:
    """A method that LlamaIndex adds is compared here, or there is a reason why not."""
    public = {
        name
        for name in dir(THEIRS[cls])
        if not name.startswith("_")
        and not hasattr(BaseModel, name)
        and _is_callable(inspect.getattr_static(THEIRS[cls], name))
    }
    assert public - set(WAYS) - set(NO_CALLS) == set()
    # What we add is the new arguments only; they are fields.
    assert {name for name in dir(cls) if not name.startswith("_")} - set(dir(THEIRS[cls])) == set()


def _is_callable(member: Any) -> bool:
    return callable(member) or isinstance(member, (classmethod, staticmethod, property))


# --- how two answers are compared ---------------------------------------------------------------


async def finished(answer: Any) -> Any:
    """What a way gives, awaited and with streams read to their end."""
    if isinstance(answer, Awaitable):
        answer = await answer
    if isinstance(answer, AsyncIterator):
        return [chunk async for chunk in answer]
    return list(answer) if isinstance(answer, Iterator) else answer


def comparable(value: Any) -> Any:
    """An answer as plain values, without what differs from one answer to the next."""
    if isinstance(value, BaseModel):
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return type(value).__name__, comparable({**fields, **(value.model_extra or {})})
    if isinstance(value, dict):
        return {k: comparable(v) for k, v in value.items() if k not in _OF_THE_ANSWER}
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        return comparable({"class": type(value).__name__, **vars(value)})
    return value


def wire(sim: Simulator) -> list[dict[str, Any]]:
    """What reached the server, but for the tier and the request for a chat stream's usage."""
    return [
        {
            "path": request.path,
            "body": {k: v for k, v in (request.body or {}).items() if k not in _ADDED},
            "headers": {k: v for k, v in request.headers.items() if k not in _OF_THE_CLIENT},
        }
        for request in sim.requests
    ]


async def close(llm: Any) -> None:
    """Close the clients that an LLM holds."""
    if llm._client is not None:
        llm._client.close()
    if llm._aclient is not None:
        await llm._aclient.close()


async def both(cls: Any, sim: Simulator, way: Way, **settings: Any) -> tuple[Any, Any]:
    """What ours and LlamaIndex's give and send: two pairs to compare."""
    outcomes = []
    for one in (cls, THEIRS[cls]):
        sim.reset()
        llm = make(one, sim, **settings)
        answer = await finished(way(llm))
        outcomes.append((comparable(answer), wire(sim)))
        tiers = {request.tier for request in sim.requests}
        assert tiers == {"flex" if one is cls else None}
        await close(llm)
    return outcomes[0], outcomes[1]


@pytest.mark.parametrize("model", ["o3", "gpt-5", "gpt-4o"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cls", OURS)
@pytest.mark.sampled(3)
@pytest.mark.usefixtures("flex_for_all")
async def test_each_way(cls: Any, way: str, model: str, sim: Simulator) -> None:
    """Bodies, paths and headers are the same, and so is all that comes back."""
    ours, theirs = await both(cls, sim, WAYS[way], model=model)
    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0]
    assert len(ours[1]) == 1


COMMON: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "strict": {"strict": True},
    "system prompt": {"system_prompt": "You are a squid."},
    "headers": {"default_headers": {"X-Team": "ink", "OpenAI-Project": "p"}},
    "additional": {"additional_kwargs": {"metadata": {"a": "b"}}},
    "extra": {
        "additional_kwargs": {
            "extra_headers": {"X-One": "1"},
            "extra_body": {"verbosity": "low"},
            "extra_query": {"q": "1"},
        }
    },
    "program mode": {"pydantic_program_mode": PydanticProgramMode.FUNCTION, "strict": True},
}
SETTINGS: dict[Any, dict[str, dict[str, Any]]] = {
    OpenAIFlex: {
        **COMMON,
        "max_tokens": {"max_tokens": 300},
        "max_new_tokens": {"max_new_tokens": 300},
        "both limits": {"max_tokens": 300, "additional_kwargs": {"max_completion_tokens": 500}},
        "effort": {"reasoning_effort": "low"},
        "no effort": {"reasoning_effort": "none"},
        "logprobs": {"logprobs": True, "top_logprobs": 2},
        "usage": {"additional_kwargs": {"stream_options": {"include_usage": True}}},
        "modalities": {"modalities": ["text"]},
        "audio settings": {"audio_config": {"voice": "alloy", "format": "wav"}},
        "version": {"api_version": "v1"},
        "seed": {"additional_kwargs": {"seed": 3, "stop": ["Then"]}},
    },
    OpenAIResponsesFlex: {
        **COMMON,
        "max_output_tokens": {"max_output_tokens": 300},
        "reasoning": {"reasoning_options": {"effort": "low", "summary": "auto"}},
        "instructions": {"instructions": "Say it in Latin."},
        "include": {"include": ["reasoning.encrypted_content"]},
        "built-in tools": {"built_in_tools": [{"type": "web_search_preview"}]},
        "store": {"store": True},
        "previous": {"previous_response_id": "resp_1", "track_previous_responses": True},
        "user": {"user": "u1", "call_metadata": {"run": "7"}, "truncation": "auto"},
        "top_p": {"top_p": 0.5},
        "window": {"context_window": 5000},
    },
}
ASKED: dict[str, Way] = {
    "chat": WAYS["chat"],
    "astream_chat": WAYS["astream_chat"],
    "structured_predict": WAYS["structured_predict"],
    "chat_with_tools": WAYS["chat_with_tools"],
}


@pytest.mark.parametrize(
    ("way", "model"), [*((way, "o3") for way in ASKED), ("chat", "gpt-4o")], ids=str
)
@pytest.mark.parametrize(
    ("cls", "setting"), [(cls, setting) for cls in OURS for setting in SETTINGS[cls]]
)
@pytest.mark.sampled(3)
@pytest.mark.usefixtures("flex_for_all")
async def test_each_setting(cls: Any, setting: str, way: str, model: str, sim: Simulator) -> None:
    """All constructor arguments reach the wire as LlamaIndex sends them."""
    ours, theirs = await both(cls, sim, ASKED[way], model=model, **SETTINGS[cls][setting])
    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0]


CALLS: dict[str, Way] = {
    "temperature": lambda llm: llm.chat(messages(), temperature=0.3),
    "pictures": lambda llm: llm.chat(pictures()),
    "pictures, streamed": lambda llm: llm.stream_chat(pictures()),
    "stop": lambda llm: llm.complete("One two three.", **_stop(llm)),
    "tools' answers": lambda llm: tool_loop(llm),
    "tools' answers, async": lambda llm: atool_loop(llm),
    "forced tool": lambda llm: llm.chat_with_tools(tools(), "Hi.", tool_choice="measure"),
    "no tool": lambda llm: llm.chat_with_tools(tools(), "Hi.", tool_choice="none"),
    "tools and headers": lambda llm: llm.chat_with_tools(
        tools(), "Hi.", extra_headers={"X-One": "1"}, timeout=17
    ),
    "llm_kwargs": lambda llm: llm.structured_predict(
        Colour, CHAT_PROMPT, {"user": "u", "extra_headers": {"X-One": "1"}}, **TOPIC
    ),
    "two turns": lambda llm: [llm.chat(messages()), llm.chat(messages())],
}


def _stop(llm: Any) -> dict[str, Any]:
    return {"stop": ["two"]} if isinstance(llm, THEIRS[OpenAIFlex]) else {"max_output_tokens": 20}


def tool_loop(llm: Any) -> list[Any]:
    """A tool called, its answer sent back."""
    history = messages()
    first = llm.chat_with_tools(tools(), chat_history=history)
    return [first, llm.chat_with_tools(tools(), chat_history=_answered(llm, history, first))]


async def atool_loop(llm: Any) -> list[Any]:
    """The same, async."""
    history = messages()
    first = await llm.achat_with_tools(tools(), chat_history=history)
    last = await llm.achat_with_tools(tools(), chat_history=_answered(llm, history, first))
    return [first, last]


def _answered(llm: Any, history: list[ChatMessage], first: Any) -> list[ChatMessage]:
    """The history with the tool's answer; ids are made equal, for the bodies to be."""
    for block in first.message.blocks:
        if hasattr(block, "tool_call_id"):
            block.tool_call_id = "call_1"
    call = llm.get_tool_calls_from_response(first)[0]
    answer = ChatMessage(
        role=MessageRole.TOOL,
        content=lookup(**call.tool_kwargs),
        additional_kwargs={"tool_call_id": call.tool_id},
    )
    return [*history, first.message, answer]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("cls", OURS)
async def test_arguments_of_a_call(cls: Any, call: str, sim: Simulator) -> None:
    """Arguments of one call, pictures and tools' answers are sent as LlamaIndex sends them."""
    ours, theirs = await both(cls, sim, CALLS[call])
    assert ours[1] == theirs[1]
    assert ours[0] == theirs[0]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
async def test_previous_responses_are_tracked(
    streamed: bool, is_async: bool, sim: Simulator
) -> None:
    """The second request names the first answer, and a third the second."""
    llm = make(OpenAIResponsesFlex, sim, track_previous_responses=True)
    ids = []
    for _ in range(3):
        name = ("a" if is_async else "") + ("stream_" if streamed else "") + "chat"
        answer = await finished(getattr(llm, name)(messages()))
        ids.append(answer[-1].raw.response.id if streamed else answer.raw.id)
    bodies = [request.body or {} for request in sim.requests]
    assert [body["previous_response_id"] for body in bodies] == [None, *ids[:2]]
    assert all(body["store"] for body in bodies)


@pytest.mark.parametrize("cls", OURS)
async def test_programs_over_text(cls: Any, sim: Simulator) -> None:
    """Structured output that is read out of plain text."""

    def ask(llm: Any) -> Any:
        sim.script(Fault.serve(text='{"name": "red", "warm": true}'))
        prompt = PromptTemplate("A colour for {topic}?")  # of its own: its parser is put on it
        return LLM.structured_predict(llm, Colour, prompt, **TOPIC)

    ours, theirs = await both(cls, sim, ask, pydantic_program_mode=PydanticProgramMode.LLM)
    assert ours == theirs
    assert ours[0] == ("Colour", {"name": "red", "warm": True})


# --- the tier, which is the one difference --------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cls", OURS)
@pytest.mark.sampled(2)
async def test_a_tier_of_the_callers(cls: Any, way: str, sim: Simulator) -> None:
    """A `service_tier` in `additional_kwargs` is sent as LlamaIndex sends it, where it does."""
    llm = make(cls, sim, additional_kwargs={"service_tier": "priority"})
    await finished(WAYS[way](llm))
    assert {request.tier for request in sim.requests} == {"priority"}


@pytest.mark.parametrize("tier", ["default", "priority", "flex", "auto"])
@pytest.mark.parametrize("cls", OURS)
async def test_a_tier_of_one_call(cls: Any, tier: str, sim: Simulator) -> None:
    """A call's own tier wins over the constructor's; `flex` and `auto` leave the choice to us."""
    llm = make(cls, sim, additional_kwargs={"service_tier": "priority"})
    llm.chat(messages(), service_tier=tier)
    await llm.achat(messages(), service_tier=tier)
    list(llm.stream_chat(messages(), service_tier=tier))
    llm.complete("Hi.", service_tier=tier)
    llm.chat_with_tools(tools(), "Hi.", service_tier=tier)
    llm.structured_predict(Colour, CHAT_PROMPT, {"service_tier": tier}, **TOPIC)
    llm.as_structured_llm(Colour).chat(messages(), service_tier=tier)
    sent = "flex" if tier == "auto" else tier
    assert [request.tier for request in sim.requests] == [sent] * 7


@pytest.mark.parametrize("cls", OURS)
def test_llm_kwargs_are_not_changed(cls: Any, sim: Simulator) -> None:
    """A dict that the caller keeps is as it was, where LlamaIndex leaves it so."""
    llm = make(cls, sim, additional_kwargs={"service_tier": "flex"})
    given: dict[str, Any] = {"user": "u"}
    theirs: dict[str, Any] = {"user": "u"}
    llm.structured_predict(Colour, CHAT_PROMPT, given, **TOPIC)
    make(THEIRS[cls], sim).structured_predict(Colour, CHAT_PROMPT, theirs, **TOPIC)
    assert given == theirs


# --- the older Completions API, which has no lanes ------------------------------------------------


def _older(request: httpx.Request) -> httpx.Response:
    """Answers Completions, plain and streamed, as OpenAI documents them."""
    body = json.loads(request.content)
    choice = {"index": 0, "text": f"{body['prompt']} said", "finish_reason": "stop"}
    if body.get("logprobs"):
        choice["logprobs"] = {"tokens": ["a"], "top_logprobs": [{"a": -0.1, "b": -2.0}]}
    answer = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": body["model"],
        "choices": [choice],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    if not body.get("stream"):
        return httpx.Response(200, json=answer)
    events = f"data: {json.dumps(answer)}\n\ndata: [DONE]\n\n"
    return httpx.Response(200, text=events, headers={"content-type": "text/event-stream"})


@pytest.mark.parametrize("settings", [{}, {"logprobs": True, "top_logprobs": 2}])
@pytest.mark.parametrize(
    "way", [name for name in WAYS if name.endswith(("complete", "chat")) and "." not in name]
)
async def test_older_completions(way: str, settings: dict[str, Any], sim: Simulator) -> None:
    """Calls to models of the Completions API pass as LlamaIndex sends them, without a tier."""
    outcomes = []
    for cls in (OpenAIFlex, THEIRS[OpenAIFlex]):
        seen: list[Any] = []

        def answer(request: httpx.Request, seen: list[Any] = seen) -> httpx.Response:
            seen.append((request.url.path, json.loads(request.content)))
            return _older(request)

        async def aanswer(request: httpx.Request, answer: Any = answer) -> httpx.Response:
            return answer(request)

        llm = make(
            cls,
            sim,
            model="gpt-3.5-turbo-instruct",
            max_tokens=20,
            http_client=httpx.Client(transport=httpx.MockTransport(answer)),
            async_http_client=httpx.AsyncClient(transport=httpx.MockTransport(aanswer)),
            **settings,
        )
        ask = getattr(llm, way)
        said = await finished(ask("Hi." if way.endswith("complete") else messages()))
        outcomes.append((comparable(said), seen))
        await close(llm)
    assert outcomes[0] == outcomes[1]
    assert all("service_tier" not in body for _, body in outcomes[0][1])
