"""Which of OpenAI's two APIs a call takes, over real sockets; nothing of a call is lost."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessage, FunctionMessage, HumanMessage
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import BaseChatOpenAI
from openai.resources.chat.completions import Completions
from openai.resources.responses import Responses

from flextier import FlexOpenAI, FlexPolicy, override
from flextier.background import poll_schedule
from flextier.errors import PolicyError
from flextier.lanes.responses_api import CHAT_NAMES, chat_only
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import BackgroundWeather, Simulator, Weather
from tests.batch.conftest import forget
from tests.langchain.helpers import Make, merged, report_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:calls that go to standard:UserWarning"),
    pytest.mark.filterwarnings("ignore:Parameters .* should be specified:UserWarning"),
]

NO_FLEX = "gpt-6.2-sol"
AUTO = {"lanes": "auto", "deadline": 3 * 3600}
QUESTION = "Name a colour."

# What one would pass for each parameter that the Responses API lacks.
VALUES: dict[str, Any] = {
    "audio": {"voice": "alloy", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
    "logit_bias": {"1734": -100},
    "logprobs": True,
    "modalities": ["text"],
    "n": 1,
    "prediction": {"type": "content", "content": "Blue."},
    "presence_penalty": 0.5,
    "seed": 7,
    "stop": ["\n\n"],
    "web_search_options": {},
}


@pytest.fixture
def sim(flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator whose background responses end at once, and are polled soon."""
    monkeypatch.setattr(poll_schedule, "MIN_POLL_INTERVAL", 0.01)
    forget()
    flextier_sim.weather = Weather(background=BackgroundWeather(seconds=0.02))
    yield flextier_sim
    forget()


def sent(sim: Simulator) -> tuple[str, dict[str, Any]]:
    """The API that the last model call took, and its body."""
    request = [request for request in sim.requests if request.method == "POST"][-1]
    assert request.body is not None
    return request.path.removeprefix("/v1/"), request.body


async def ask(model: Any, how: str, **kwargs: Any) -> Any:
    """The message of one call, made in one of the four ways."""
    match how:
        case "invoke":
            return model.invoke(QUESTION, **kwargs)
        case "ainvoke":
            return await model.ainvoke(QUESTION, **kwargs)
        case "stream":
            return merged(list(model.stream(QUESTION, **kwargs)))
        case _:
            return merged([chunk async for chunk in model.astream(QUESTION, **kwargs)])


WAYS = ("invoke", "ainvoke", "stream", "astream")


# --- the choice ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "policy", "api"),
    [
        (NO_FLEX, {"lanes": ("background", "standard")}, "responses"),
        ("o3", {"lanes": ("background-8h", "standard")}, "responses"),
        (NO_FLEX, AUTO, "responses"),
        ("o3", AUTO, "chat/completions"),
        ("o3", {**AUTO, "lane_support": {"o3": "background"}}, "responses"),
        (NO_FLEX, {}, "chat/completions"),
    ],
)
def test_the_responses_api_where_only_that_has_the_lanes(
    model: str, policy: dict[str, Any], api: str, make: Make, sim: Simulator
) -> None:
    """Only the Responses API has background lanes; ``use_responses_api`` is not overruled."""
    made = make(model=model, policy=policy)
    made.invoke(QUESTION)
    assert sent(sim)[0] == api
    assert made.use_responses_api is None
    make(model=model, policy=policy, use_responses_api=False).invoke(QUESTION)
    assert sent(sim)[0] == "chat/completions"


@pytest.mark.filterwarnings("ignore:gpt-6.2-sol has no flex:UserWarning")
def test_each_call_is_decided_by_its_policy_and_model(make: Make, sim: Simulator) -> None:
    """An override, a client's own policy and the model of one call count as the model's do."""
    model = make(model=NO_FLEX)
    with override(lanes="auto", deadline=3 * 3600):
        assert report_of(model.invoke(QUESTION))["lane"] == "background-2h"
    assert report_of(model.invoke(QUESTION))["lane"] == "standard"
    theirs = FlexOpenAI(
        api_key="k", base_url=sim.base_url, policy=FlexPolicy(lanes="background,standard")
    )
    given = ChatOpenAIFlex(
        model="o3", api_key="k", root_client=theirs, client=theirs.chat.completions
    )
    given.invoke(QUESTION)
    assert sent(sim)[0] == "responses"
    make(policy=AUTO).invoke(QUESTION, model=NO_FLEX)
    assert sent(sim)[0] == "responses"
    make(model=NO_FLEX, policy=AUTO).invoke(QUESTION, model="o3")
    assert sent(sim)[0] == "chat/completions"


def test_a_chosen_tier_needs_no_other_api(make: Make, sim: Simulator) -> None:
    """A call that stays on a tier of its own has no use for background lanes."""
    make(model=NO_FLEX, policy=AUTO, service_tier="priority").invoke(QUESTION)
    assert sent(sim)[0] == "chat/completions"


# --- what the Responses API lacks ----------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_a_parameter_that_the_responses_api_lacks(name: str, make: Make, sim: Simulator) -> None:
    """The call stays on Chat Completions with it, and ``why`` and one warning name it."""
    model = make(model=NO_FLEX, policy=AUTO).bind(**{name: VALUES[name]})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        reports = [report_of(model.invoke(QUESTION)) for _ in range(2)]
    api, body = sent(sim)
    assert (api, body[name]) == ("chat/completions", VALUES[name])
    reason = f"background responses need the Responses API, which has no {name}"
    assert [str(warning.message) for warning in caught if reason in str(warning.message)] == [
        f"calls that go to standard instead of background-2h: {reason}"
    ]
    for report in reports:
        assert report["lane"] == "standard"
        assert "only standard (100 %) is left" in report["why"]
        assert f"background-2h: {reason}" in report["why"]


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("place", ["field", "model_kwargs", "extra_body", "bind", "call"])
@pytest.mark.parametrize("name", ["stop", "seed"])
async def test_wherever_it_is_set(
    name: str, place: str, how: str, make: Make, sim: Simulator
) -> None:
    """On the model, in its dicts, bound, or passed with the call; plain and streamed."""
    given = {name: VALUES[name]}
    arguments = {"field": given, "model_kwargs": {"model_kwargs": given}} | {
        "extra_body": {"extra_body": given}
    }
    model: Any = make(model=NO_FLEX, policy=AUTO, **arguments.get(place, {}))
    if place == "bind":
        model = model.bind(**given)
    message = await ask(model, how, **(given if place == "call" else {}))
    api, body = sent(sim)
    assert (api, body[name]) == ("chat/completions", VALUES[name])
    assert f"which has no {name}" in report_of(message)["why"]


@pytest.mark.parametrize(
    ("message", "lacking"),
    [
        (HumanMessage(QUESTION, name="alice"), "names of messages"),
        (FunctionMessage("blue", name="colour"), "messages of functions"),
        (
            AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": "{}"}}),
            "messages of functions",
        ),
        (AIMessage("Blue.", additional_kwargs={"audio": {"id": "a"}}), "audio in messages"),
        (
            HumanMessage([{"type": "audio", "base64": "QQ==", "mime_type": "audio/wav"}]),
            "audio in messages",
        ),
        (AIMessage("Blue.", name="painter"), ""),
        (HumanMessage([{"type": "text", "text": "Red?"}]), ""),
    ],
)
def test_messages_that_the_responses_api_lacks(
    message: Any, lacking: str, make: Make, sim: Simulator
) -> None:
    """``ChatOpenAI`` leaves parts of messages out there without a word."""
    answer = make(model=NO_FLEX, policy=AUTO).invoke([HumanMessage("Hi."), message])
    assert sent(sim)[0] == ("chat/completions" if lacking else "responses")
    assert (f"which has no {lacking}" in report_of(answer)["why"]) is bool(lacking)


def test_named_lanes_say_why_too(make: Make, sim: Simulator) -> None:
    """``why`` is not for ``"auto"`` alone; with no lane left, the error says it."""
    model = make(policy={"lanes": ("background", "flex", "standard")})
    why = "not background-2h: background responses need the Responses API, which has no stop"
    with pytest.warns(UserWarning, match="flex instead of background-2h: .* has no stop"):
        report = report_of(model.invoke(QUESTION, stop=["."]))
    assert (report["lane"], report["why"]) == ("flex", why)
    model = make(policy={"lanes": ("background", "standard")})
    report = report_of(model.invoke(QUESTION, stop=["."]))
    assert (report["lane"], report["why"]) == ("standard", f"only standard is left; {why}")
    with pytest.raises(PolicyError, match="which has no stop"):
        make(policy={"lanes": "background"}).invoke(QUESTION, stop=["."])


# --- what the Responses API has ------------------------------------------------------------------


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"stream_options": {"include_usage": True}},
        {"response_format": {"type": "text"}},
        {"seed": None},
        {"extra_body": {"max_completion_tokens": 500, "reasoning_effort": "low"}},
        {"extra_body": {"metadata": {"job": "a"}, "verbosity": "low"}},
    ],
    ids=str,
)
async def test_what_only_has_another_name(
    arguments: dict[str, Any], how: str, make: Make, sim: Simulator
) -> None:
    """What the API has in other words, or by default, excludes no call from its lanes."""
    allowed = set(inspect.signature(Responses.create).parameters) | {"background_options"}
    made = make(model=NO_FLEX, policy=AUTO)
    for model in (made.bind(**arguments), made.model_copy(update={"model_kwargs": arguments})):
        assert report_of(await ask(model, how))["lane"] == "background-2h"
        api, body = sent(sim)
        assert api == "responses"
        assert set(body) <= allowed
        assert "stream_options" not in body


def test_a_message_that_only_the_responses_api_takes(make: Make, sim: Simulator) -> None:
    """``ChatOpenAI`` cannot make it a chat completion, so nothing is compared."""
    file = {"type": "file", "url": "https://example.invalid/a.pdf"}
    make(model=NO_FLEX, policy=AUTO).invoke([HumanMessage([file])])
    assert sent(sim)[0] == "responses"


async def test_a_stream_with_its_usage(make: Make, sim: Simulator) -> None:
    """``stream_usage`` is for Chat Completions; streams of the Responses API state it anyway."""
    model = make(model=NO_FLEX, policy=AUTO)
    for how in ("stream", "astream"):
        message = await ask(model, how, stream_usage=True)
        assert sent(sim)[0] == "responses"
        assert message.usage_metadata["output_tokens"] > 0


# --- the table, and the installed langchain-openai -----------------------------------------------


def test_the_table_has_what_the_sdk_has() -> None:
    """The names that Chat Completions has, and the Responses API has not."""
    chat = set(inspect.signature(Completions.create).parameters)
    assert chat - set(inspect.signature(Responses.create).parameters) == CHAT_NAMES
    assert set(VALUES) == CHAT_NAMES - RENAMED.keys()


RENAMED: dict[str, tuple[str, Any]] = {
    "max_tokens": ("max_output_tokens", 9),
    "max_completion_tokens": ("max_output_tokens", 9),
    "reasoning_effort": ("reasoning", "low"),
    "response_format": ("text", {"type": "json_object"}),
    "verbosity": ("text", "low"),
    "messages": ("input", None),
}
"""The name in the Responses API, and a value."""


@pytest.mark.parametrize("name", sorted(CHAT_NAMES))
def test_the_table_has_what_langchain_does(name: str) -> None:
    """What its payload builder translates, and what it drops or leaves to fail in the SDK."""
    model = ChatOpenAI(model=NO_FLEX, api_key="k", use_responses_api=True)
    new, value = RENAMED[name] if name in RENAMED else (None, VALUES[name])
    fields = {} if name == "messages" else {name: value}
    body = model._get_request_payload(QUESTION, **fields)
    known = set(inspect.signature(Responses.create).parameters)
    if new is None:
        assert set(body) - known <= {name}  # TypeError in the SDK, but for `stop`, which is dropped
        assert chat_only(fields) == [name]
    else:
        assert new in body
        assert set(body) <= known
        assert not chat_only(fields)


def test_the_table_has_every_field_of_the_model() -> None:
    """What ``ChatOpenAI`` sends of its fields is known to the Responses API, or in the table."""
    source: Any = BaseChatOpenAI._default_params
    fields = inspect.getclosurevars(source.fget).unbound & set(ChatOpenAI.model_fields)
    known = set(inspect.signature(Responses.create).parameters) | CHAT_NAMES
    assert fields - known - {"model_name", "streaming", "model_kwargs"} == set()
