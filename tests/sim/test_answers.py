"""What the simulated model says."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field

from flextier.sim import Simulator

from .callers import Caller, Chat, Responses, raw


def function(name: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """A tool of Chat Completions."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def flat(tool: dict[str, Any]) -> dict[str, Any]:
    """The same tool for Responses."""
    return {"type": "function", **tool["function"]}


NUMBER = {"type": "number"}
TEXT = {"type": "string"}
ADD = function("add", a=NUMBER, b=NUMBER)
WEATHER = function("get_weather", city=TEXT)


def calls_of(caller: Caller, answer: Any) -> list[tuple[str, Any]]:
    """(name, arguments) of every tool call of an answer."""
    if caller.path == Chat.path:
        found = [call.function for call in answer.choices[0].message.tool_calls or []]
    else:
        found = [item for item in answer.output if item.type == "function_call"]
    return [(call.name, json.loads(call.arguments)) for call in found]


def tools(caller: Caller, *offered: dict[str, Any]) -> list[dict[str, Any]]:
    """Tools as the endpoint takes them."""
    return list(offered) if caller.path == Chat.path else [flat(tool) for tool in offered]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Where is it? It was here.", "[simulated] Where is it?"),
        ("Version 3.5 is out.\nRead on.", "[simulated] Version 3.5 is out."),
        ("no end", "[simulated] no end"),
        ("  spaced \n out ", "[simulated] spaced out"),
        ("   ", "[simulated] an empty message"),
        ("x" * 1000, "[simulated] " + "x" * 240),
    ],
)
def test_text_is_the_first_sentence_of_the_question(
    caller: Caller, question: str, said: str
) -> None:
    """The default text repeats the last user message's first sentence, marked as simulated."""
    assert caller.text(caller.plain(question=question)) == said


def test_text_is_about_the_last_user_message(sim: Simulator) -> None:
    """Instructions and earlier turns are not repeated."""
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "One."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": "Two."}]},
    ]
    chat = Chat(sim.base_url)
    assert chat.text(chat.plain(messages=messages)) == "[simulated] Two."


def test_every_answer_says_it_is_simulated(sim: Simulator) -> None:
    """Headers and fingerprint say so, and no two answers share a request id."""
    body = Chat(sim.base_url).body({})
    first, second = (raw(sim.url, "POST", Chat.path, body) for _ in range(2))
    assert first.headers["x-flextier-simulated"] == "true"
    assert first.json()["system_fingerprint"] == "flextier-simulator"
    assert int(first.headers["openai-processing-ms"]) >= 0
    ids = [first.headers["x-request-id"], second.headers["x-request-id"]]
    assert ids == [request.request_id for request in sim.requests]
    assert len(set(ids)) == 2


def test_agent_loop_ends(sim: Simulator) -> None:
    """A tool is called with arguments from the question; its result is answered in text."""
    messages: list[Any] = [{"role": "user", "content": "What is 3 plus 4.5?"}]
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        first = client.chat.completions.create(model="o3", messages=messages, tools=[ADD])
        (choice,) = first.choices
        (call,) = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        assert json.loads(call.function.arguments) == {"a": 3, "b": 4.5}
        messages += [
            choice.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "7.5"},
        ]
        last = client.chat.completions.create(model="o3", messages=messages, tools=[ADD])
    assert last.choices[0].message.content == "[simulated] The tool answered: 7.5"
    assert last.choices[0].finish_reason == "stop"


def test_agent_loop_ends_on_responses(sim: Simulator) -> None:
    """The same over Responses, whose output items go back in as they came."""
    items: list[Any] = [{"role": "user", "content": "What is 3 plus 4?"}]
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        first = client.responses.create(model="o3", input=items, tools=[flat(ADD)])
        (call,) = (item for item in first.output if item.type == "function_call")
        items += [item.model_dump(exclude_none=True) for item in first.output]
        items.append({"type": "function_call_output", "call_id": call.call_id, "output": "7"})
        last = client.responses.create(model="o3", input=items, tools=[flat(ADD)])
    assert last.output_text == "[simulated] The tool answered: 7"


def test_tool_choice_is_honoured(caller: Caller) -> None:
    """None calls nothing, a named tool is the one called, required always calls."""
    offered = tools(caller, ADD, WEATHER)
    forced: dict[str, Any] = {"type": "function", "name": "get_weather"}
    if caller.path == Chat.path:
        forced = {"type": "function", "function": {"name": "get_weather"}}
    answer = caller.plain(tools=offered, tool_choice="none")
    assert caller.text(answer).startswith("[simulated]")
    ((name, _),) = calls_of(caller, caller.plain(tools=offered, tool_choice=forced))
    assert name == "get_weather"
    assert len(calls_of(caller, caller.plain(tools=offered, tool_choice="required"))) == 1


def test_required_calls_end_with_the_last_tool(sim: Simulator) -> None:
    """Where every step must call a tool, the one that ends an agent follows the first result, and
    the agent ends: LangChain's ToolStrategy, smolagents and pydantic-ai put it last."""
    final = function("answer", person=TEXT)
    messages: list[Any] = [{"role": "user", "content": "How is the weather for 'Ada'?"}]
    items: list[Any] = list(messages)
    options: dict[str, Any] = {"model": "o3", "tool_choice": "required"}
    called: list[str] = []
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        for _ in range(2):
            chat = client.chat.completions.create(
                messages=messages, tools=[WEATHER, ADD, final], **options
            )
            message = chat.choices[0].message
            response = client.responses.create(
                input=items, tools=[flat(WEATHER), flat(ADD), flat(final)], **options
            )
            for call in message.tool_calls or ():
                messages.append(message.model_dump(exclude_none=True))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": "wet"})
                called.append(call.function.name)
            for item in response.output:
                if item.type == "function_call":
                    items.append(item.model_dump(exclude_none=True))
                    output = {"call_id": item.call_id, "output": "wet"}
                    items.append({"type": "function_call_output", **output})
                    called.append(item.name)
    assert called == ["get_weather", "get_weather", "answer", "answer"]


def test_functions_of_before_there_were_tools(sim: Simulator) -> None:
    """`functions` are called as tools are, one at a time, plain and streamed; `function_call`
    is honoured; a function's result is answered in text."""
    chat = Chat(sim.base_url)
    offered = [ADD["function"], WEATHER["function"]]
    question = "Call add with 1 and 2, or get_weather."
    answer = chat.plain(question=question, functions=offered).choices[0]
    assert answer.finish_reason == "function_call"
    call = answer.message.function_call
    assert (call.name, json.loads(call.arguments)) == ("add", {"a": 1, "b": 2})
    chunks = chat.stream(question=question, functions=offered)
    deltas = [chunk.choices[0].delta.function_call for chunk in chunks]
    assert "".join(delta.arguments for delta in deltas if delta) == call.arguments
    assert [delta.name for delta in deltas if delta and delta.name] == ["add"]
    assert chunks[-1].choices[0].finish_reason == "function_call"
    forced = chat.plain(functions=offered, function_call={"name": "get_weather"}).choices[0]
    assert forced.message.function_call.name == "get_weather"
    off = chat.plain(functions=offered, function_call="none").choices[0]
    assert off.message.content.startswith("[simulated]")
    messages = [
        {"role": "user", "content": question},
        answer.message.model_dump(exclude_none=True),
        {"role": "function", "name": "add", "content": "3"},
    ]
    last = chat.plain(messages=messages, functions=offered)
    assert chat.text(last) == "[simulated] The tool answered: 3"


def test_tools_named_in_the_question_are_called_in_parallel(caller: Caller) -> None:
    """Several tools named are called together, unless parallel calls are off."""
    offered = tools(caller, ADD, WEATHER)
    question = "Call add with 1 and 2, and get_weather for 'Paris'."
    both = calls_of(caller, caller.plain(question=question, tools=offered))
    assert both == [("add", {"a": 1, "b": 2}), ("get_weather", {"city": "Paris"})]
    single = caller.plain(question=question, tools=offered, parallel_tool_calls=False)
    assert len(calls_of(caller, single)) == 1


@pytest.mark.parametrize(
    ("question", "called"),
    [
        ("How is the weather?", "get_weather"),
        ("What is the sum of 1 and 2?", "add"),
        ("Hello!", "add"),
        ("", "add"),
    ],
)
def test_tool_that_suits_the_question_best_is_called(
    caller: Caller, question: str, called: str
) -> None:
    """Words of its name and description decide; where none fits, the first tool is called."""
    add = {**ADD, "function": {**ADD["function"], "description": "The sum of two numbers."}}
    answer = caller.plain(question=question, tools=tools(caller, add, WEATHER))
    assert [name for name, _ in calls_of(caller, answer)] == [called]


def test_tools_without_a_function_are_not_called(sim: Simulator) -> None:
    """Tools that OpenAI runs itself are left out; where there are no others comes text."""
    responses = Responses(sim.base_url)
    search = {"type": "web_search"}
    assert responses.text(responses.plain(tools=[search])).startswith("[simulated]")
    answer = responses.plain(tools=[search, flat(ADD)])
    assert [name for name, _ in calls_of(responses, answer)] == ["add"]


def test_pictures_leave_a_note_in_the_text(sim: Simulator) -> None:
    """The texts of a message's parts are joined; a picture among them is named."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}
    parts = [{"type": "text", "text": "Look at"}, picture, {"type": "text", "text": "this."}]
    chat = Chat(sim.base_url)
    answer = chat.plain(messages=[{"role": "user", "content": parts}])
    assert chat.text(answer) == "[simulated] Look at [image input] this."


def test_streamed_text_comes_word_by_word(sim: Simulator) -> None:
    """Every chunk brings one word, the space after it included."""
    chat = Chat(sim.base_url)
    texts = [chunk.choices[0].delta.content for chunk in chat.stream(question="One two.")]
    assert list(filter(None, texts)) == ["[simulated] ", "One ", "two."]


def test_streamed_tool_calls_add_up(sim: Simulator) -> None:
    """Arguments streamed in fragments are the arguments of the plain call."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        messages = [{"role": "user", "content": "What is 3 plus 4?"}]
        with client.chat.completions.stream(model="o3", messages=messages, tools=[ADD]) as stream:
            (call,) = stream.get_final_completion().choices[0].message.tool_calls
        with client.responses.stream(model="o3", input="3 plus 4?", tools=[flat(ADD)]) as stream:
            output = stream.get_final_response().output
    assert json.loads(call.function.arguments) == {"a": 3, "b": 4}
    assert json.loads(output[-1].arguments) == {"a": 3, "b": 4}


class Person(BaseModel):
    """What is to be extracted."""

    name: str
    age: int = Field(ge=0, le=150)
    mood: Literal["happy", "sad"]
    friends: list[str]


def test_structured_output_fits_its_schema(sim: Simulator) -> None:
    """The SDK parses strict JSON schema output of both endpoints, filled from the question."""
    question = "'Ada' is 36 years old and sad."
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        messages = [{"role": "user", "content": question}]
        completion = client.chat.completions.parse(
            model="o3", messages=messages, response_format=Person
        )
        response = client.responses.parse(model="o3", input=question, text_format=Person)
    for person in (completion.choices[0].message.parsed, response.output_parsed):
        assert (person.name, person.age, person.mood) == ("Ada", 36, "sad")


@pytest.mark.parametrize(
    "schema", [{"anyOf": [{"$ref": "#"}]}, {"type": "string", "minLength": "long"}, {"enum": 3}]
)
def test_schema_that_cannot_be_filled(caller: Caller, schema: dict[str, Any]) -> None:
    """A schema that makes no sense is a 400, not a crash."""
    form: dict[str, Any] = {"type": "json_schema", "name": "x", "schema": schema}
    asked: dict[str, Any] = {"text": {"format": form}}
    if caller.path == Chat.path:
        asked = {"response_format": {"type": "json_schema", "json_schema": form}}
    with pytest.raises(openai.BadRequestError, match="cannot be filled"):
        caller.plain(**asked)


def test_json_mode_takes_its_keys_from_the_question(sim: Simulator) -> None:
    """JSON mode answers with the keys in quotes; without any, with a message."""
    chat = Chat(sim.base_url)
    form = {"type": "json_object"}
    keyed = chat.plain(question="JSON with 'name' and \"age\", please.", response_format=form)
    free = chat.plain(question="Some JSON.", response_format=form)
    assert json.loads(chat.text(keyed)) == {"name": "simulated name", "age": "simulated age"}
    assert json.loads(chat.text(free)) == {"message": "[simulated] Some JSON."}


def test_json_mode_fills_the_schema_in_the_prompt(sim: Simulator) -> None:
    """A schema in an instruction or in the question itself is filled, whether examples stand before
    it (LangChain) or after it (Guardrails), and what stands in it is not taken for the question's
    own numbers and texts."""
    chat = Chat(sim.base_url)
    form = {"type": "json_object"}
    schema = json.dumps(Person.model_json_schema())
    asked = "'Ada' is 36 years old and sad."
    example = 'An example: {"properties": {"foo": {}}}.'
    rules = f"As JSON. {example} The schema:\n```{schema}```"
    reverse = f"As JSON. The schema:\n```{schema}```\n{example}"
    apart = [{"role": "system", "content": rules}, {"role": "user", "content": asked}]
    together = [{"role": "user", "content": f"{rules}\n{asked}"}]
    for messages in (apart, together, [{"role": "user", "content": f"{asked}\n{reverse}"}]):
        text = chat.text(chat.plain(messages=messages, response_format=form))
        person = Person.model_validate_json(text)
        assert (person.name, person.age, person.mood) == ("Ada", 36, "sad")
    broken = [{"role": "user", "content": 'JSON {"properties": {"a": and {'}]
    text = chat.text(chat.plain(messages=broken, response_format=form))
    assert json.loads(text) == {"properties": "simulated properties", "a": "simulated a"}


def test_json_mode_wants_the_word_json(sim: Simulator) -> None:
    """As at OpenAI, JSON mode without the word 'json' in the messages is a 400."""
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        Chat(sim.base_url).plain(response_format={"type": "json_object"})


def test_limit_cuts_the_answer(sim: Simulator) -> None:
    """Output tokens are limited under every name, reasoning included, and the answer says so."""
    with openai.OpenAI(base_url=sim.base_url, api_key="k") as client:
        for model in ("gpt-4o", "o3"):
            messages = [{"role": "user", "content": "a " * 100}]
            for name in ("max_tokens", "max_completion_tokens"):
                cut = client.chat.completions.create(model=model, messages=messages, **{name: 16})
                assert cut.choices[0].finish_reason == "length"
                assert cut.usage.completion_tokens == 16
            response = client.responses.create(model=model, input="a " * 100, max_output_tokens=16)
            assert (response.status, response.usage.output_tokens) == ("incomplete", 16)
            assert response.incomplete_details.reason == "max_output_tokens"
            assert response.output_text.startswith("[simulated]"[: 4 * 8])


def test_cut_stream_ends_incomplete(sim: Simulator) -> None:
    """A Responses stream that hits the limit ends with response.incomplete."""
    events = Responses(sim.base_url).stream(question="a " * 100, max_output_tokens=16)
    assert events[-1].type == "response.incomplete"


@pytest.mark.parametrize("stop", ["cat", ["it", "cat"], ["dog", "cat"]])
def test_stop_ends_the_answer(sim: Simulator, stop: Any) -> None:
    """The answer ends before the first stop text."""
    chat = Chat(sim.base_url)
    answer = chat.plain(question="Where is the cat, is it here?", stop=stop)
    assert chat.text(answer) == "[simulated] Where is the "
    assert answer.choices[0].finish_reason == "stop"


def test_several_choices(sim: Simulator) -> None:
    """Several choices are answered, streamed and billed that many times."""
    chat = Chat(sim.base_url)
    one, three = chat.plain(), chat.plain(n=3)
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert three.usage.completion_tokens == 3 * one.usage.completion_tokens
    ends = [c.index for e in chat.stream(n=3) for c in e.choices if c.finish_reason]
    assert ends == [0, 1, 2]


def test_logprobs_have_their_shape(sim: Simulator) -> None:
    """Log probabilities come for every word when asked for, and only then."""
    chat = Chat(sim.base_url)
    assert chat.plain().choices[0].logprobs is None
    answer = chat.plain(logprobs=True)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == chat.text(answer)


def test_reasoning_item_and_summary(sim: Simulator) -> None:
    """A reasoning model's response begins with reasoning, with a summary when asked for."""
    responses = Responses(sim.base_url)
    item = responses.plain(include=["reasoning.encrypted_content"]).output[0]
    assert (item.type, item.summary) == ("reasoning", [])
    assert item.encrypted_content
    events = responses.stream(reasoning={"summary": "auto"})
    deltas = [e.delta for e in events if e.type == "response.reasoning_summary_text.delta"]
    assert "".join(deltas) == events[-1].response.output[0].summary[0].text
    assert responses.plain(model="gpt-4o").output[0].type == "message"
