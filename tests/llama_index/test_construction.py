"""How the LLMs are made: every argument of LlamaIndex's, ours, the environment, clients."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from llama_index.core import Settings
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.llms.utils import resolve_llm
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.prompts import PromptTemplate
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.core.types import PydanticProgramMode
from llama_index.llms.openai import OpenAI
from pydantic import BaseModel, ValidationError

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, PolicyError, override
from flextier._openai.wrap_client import FRAMEWORK_DEFAULTS
from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.llama_index.arguments import OpenAIArguments, OpenAIResponsesArguments
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY
from tests.llama_index.llms import OURS, THEIRS, make

STANDARD = FlexPolicy(lanes=("standard",))
CLIENTS = {"openai_client", "async_openai_client", "http_client", "async_http_client"}
# These two set the policy's fields: see below.
POLICY = {"timeout", "max_retries"}


class Note(BaseModel):
    """A note."""

    text: str


def to_prompt(messages: Any) -> str:
    """A prompt of messages."""
    return f"{len(messages)} messages"


def to_completion(prompt: str) -> str:
    """A prompt of a prompt."""
    return prompt.upper()


# A value for every argument that a constructor of LlamaIndex's names, or takes for its bases.
VALUES: dict[str, Any] = {
    "additional_kwargs": {"seed": 1},
    "api_base": "http://example.invalid/v1",
    "api_key": KEY,
    "api_version": "2026-01-01",
    "async_http_client": None,
    "async_openai_client": None,
    "audio_config": {"voice": "alloy"},
    "call_metadata": {"run": "1"},
    "callback_manager": CallbackManager([]),
    "completion_to_prompt": to_completion,
    "context_window": 1234,
    "default_headers": {"X-Team": "ink"},
    "http_client": None,
    "include": ["reasoning.encrypted_content"],
    "instructions": "Say it in Latin.",
    "logprobs": True,
    "max_output_tokens": 77,
    "max_retries": 4,
    "max_tokens": 77,
    "messages_to_prompt": to_prompt,
    "modalities": ["text"],
    "model": "gpt-4o",
    "openai_client": None,
    "output_parser": PydanticOutputParser(output_cls=Note),
    "previous_response_id": "resp_1",
    "pydantic_program_mode": PydanticProgramMode.FUNCTION,
    "query_wrapper_prompt": PromptTemplate("Q: {query_str}"),
    "rate_limiter": TokenBucketRateLimiter(requests_per_minute=60_000),
    "reasoning_effort": "low",
    "reasoning_options": {"effort": "low"},
    "reuse_client": False,
    "store": True,
    "strict": True,
    "system_prompt": "You are a squid.",
    "temperature": 0.7,
    "timeout": 7.0,
    "top_logprobs": 3,
    "top_p": 0.5,
    "track_previous_responses": True,
    "truncation": "auto",
    "user": "u1",
    "built_in_tools": [{"type": "web_search_preview"}],
}


def named(cls: Any) -> list[str]:
    """The arguments that LlamaIndex's constructor names, in order."""
    parameters = inspect.signature(THEIRS[cls].__init__).parameters
    return [name for name in parameters if name not in ("self", "kwargs")]


def accepted(cls: Any) -> list[str]:
    """Those, and the fields that its bases take."""
    return [*named(cls), *(name for name in THEIRS[cls].model_fields if name not in named(cls))]


def state(llm: Any, cls: Any) -> dict[str, Any]:
    """What an LLM of either class was made into, but for what sets the policy."""
    fields = {name: getattr(llm, name) for name in THEIRS[cls].model_fields if name not in POLICY}
    if fields["callback_manager"] is not VALUES["callback_manager"]:
        fields["callback_manager"] = type(fields["callback_manager"])  # each has one of its own
    return {**fields, "previous": getattr(llm, "_previous_response_id", None)}


def default(name: str) -> dict[str, Any]:
    """The fewest arguments that an LLM needs besides ``name``."""
    return {"api_key": KEY} if name != "api_key" else {}


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls in OURS for name in accepted(cls)], ids=str
)
def test_every_argument_of_the_parents(cls: Any, name: str) -> None:
    """Each alone has the effect that it has on LlamaIndex's class."""
    arguments = {**default(name), name: VALUES[name]}
    ours, theirs = cls(**arguments), THEIRS[cls](**arguments)
    assert state(ours, cls) == state(theirs, cls)
    assert ours.metadata == theirs.metadata
    if name not in CLIENTS | POLICY:
        assert ours._get_model_kwargs() == theirs._get_model_kwargs()


@pytest.mark.parametrize("cls", OURS)
def test_positional_arguments(cls: Any) -> None:
    """All of them at once, in LlamaIndex's order; ours go by name."""
    values = [VALUES[name] for name in named(cls)]
    ours, theirs = cls(*values, policy=FAST), THEIRS[cls](*values)
    assert state(ours, cls) == state(theirs, cls)
    assert ours.policy == FAST
    assert ours.timeout == VALUES["timeout"]
    assert ours.max_retries == VALUES["max_retries"]


@pytest.mark.parametrize("cls", OURS)
def test_an_argument_given_twice(cls: Any) -> None:
    """By place and by name is a TypeError, as in Python."""
    with pytest.raises(TypeError, match="model"):
        cls("o3", model="o4-mini", api_key=KEY)


@pytest.mark.parametrize("cls", OURS)
def test_the_defaults_are_the_parents(cls: Any) -> None:
    """Without arguments: the same model, the same settings."""
    ours, theirs = cls(api_key=KEY), THEIRS[cls](api_key=KEY)
    assert state(ours, cls) == state(theirs, cls)
    assert (ours.timeout, ours.max_retries) == (None, None)
    assert ours.policy == FlexPolicy()


def test_an_older_name_of_max_tokens() -> None:
    """`max_new_tokens` sets it still."""
    assert OpenAIFlex(api_key=KEY, max_new_tokens=9).max_tokens == 9


# --- the policy ---------------------------------------------------------------------------------


def policies(llm: Any) -> list[FlexPolicy]:
    """The policies in force on both clients of an LLM."""
    clients = (llm._client, llm._aclient)
    if isinstance(llm, OpenAIFlex):
        clients = (llm._get_client(), llm._get_aclient())
    return [client.policy for client in clients]


@pytest.mark.parametrize("given", [{"deadline": 99}, FlexPolicy(deadline=99)], ids=["dict", "made"])
@pytest.mark.parametrize("cls", OURS)
def test_a_policy(cls: Any, given: Any) -> None:
    """A FlexPolicy or a dict of its fields; both clients follow it."""
    llm = cls(api_key=KEY, policy=given)
    assert llm.policy == FlexPolicy(deadline=99)
    assert policies(llm) == [llm.policy] * 2


@pytest.mark.parametrize("cls", OURS)
def test_none_is_no_policy(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`policy=None` is the environment's, as without the argument."""
    monkeypatch.setenv("FLEXTIER_DEADLINE", "50")
    assert policies(cls(api_key=KEY, policy=None)) == [FlexPolicy()] * 2
    assert cls(api_key=KEY).policy.deadline == 50


@pytest.mark.parametrize("cls", OURS)
def test_timeout_and_max_retries_set_the_policy(cls: Any) -> None:
    """They mean the matching fields, on every lane."""
    for policy in policies(cls(api_key=KEY, timeout=7, max_retries=4, policy={"patience": 3})):
        assert (policy.flex_timeout, policy.standard_timeout) == (7, 7)
        assert (policy.max_retries, policy.patience) == (4, 3)


@pytest.mark.parametrize("cls", OURS)
def test_precedence(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An argument wins over its variable, and a variable over the default."""
    monkeypatch.setenv("FLEXTIER_LANES", "standard")
    monkeypatch.setenv("FLEXTIER_FLEX_TIMEOUT", "11")
    monkeypatch.setenv("FLEXTIER_MAX_RETRIES", "9")
    for policy in policies(cls(api_key=KEY)):
        assert (policy.lanes, policy.flex_timeout) == (("standard",), 11)
        assert (policy.max_retries, policy.patience) == (9, None)
    for policy in policies(cls(api_key=KEY, policy={"lanes": ["flex"], "flex_timeout": 5})):
        assert (policy.lanes, policy.flex_timeout, policy.max_retries) == (("flex",), 5, 9)
    for policy in policies(cls(api_key=KEY, timeout=7, max_retries=0)):
        assert (policy.flex_timeout, policy.max_retries) == (7, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_retries": 1, "policy": {"max_retries": 3}}, ("max_retries=1", "max_retries=3")),
        ({"policy": {"lanes": ["fast"]}}, ("fast", "FLEXTIER_LANES")),
        ({"policy": {"deadlin": 3}}, ("deadlin", "deadline")),
        ({"timeout": 0}, ("timeout=0", "seconds above 0")),
    ],
)
@pytest.mark.parametrize("cls", OURS)
def test_contradictions(cls: Any, arguments: dict[str, Any], words: tuple[str, ...]) -> None:
    """Errors come at construction, name what contradicts what, and print no key."""
    with pytest.raises(PolicyError) as caught:
        cls(model="o3", api_key=KEY, **arguments)
    assert all(word in str(caught.value) for word in words)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("cls", OURS)
def test_the_same_thing_twice(cls: Any) -> None:
    """An argument and a policy that say the same do not contradict each other."""
    llm = cls(api_key=KEY, timeout=5, policy={"flex_timeout": 5, "standard_timeout": 5})
    assert {policy.flex_timeout for policy in policies(llm)} == {5}


@pytest.mark.parametrize("cls", OURS)
async def test_max_retries_are_ours_alone(cls: Any, sim: Simulator) -> None:
    """What reaches the wire of a call that keeps failing: one owner's tries, on every lane."""
    llm = make(cls, sim, max_retries=1)
    asks = [llm.complete, llm.acomplete, llm.stream_complete, llm.astream_complete]
    for ask in asks:
        sim.reset()
        sim.script(*[Fault.status(500)] * 20)
        with pytest.raises(openai.InternalServerError):
            await _read(ask("Hi."))
        assert [request.tier for request in sim.requests] == ["flex"] * 2 + ["default"] * 2


async def _read(answer: Any) -> None:
    if inspect.isawaitable(answer):
        answer = await answer
    if hasattr(answer, "__aiter__"):
        _ = [chunk async for chunk in answer]
    elif isinstance(answer, Iterator):
        list(answer)


# --- clients of the caller's --------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
async def test_plain_clients_are_routed(cls: Any, sim: Simulator) -> None:
    """A plain SDK client keeps its connections, headers and key, and gets lanes."""
    client_options = {
        "base_url": sim.base_url,
        "api_key": "sk-theirs",
        "default_headers": {"X-Team": "ink"},
    }
    client, aclient = openai.OpenAI(**client_options), openai.AsyncOpenAI(**client_options)
    llm = make(cls, sim, openai_client=client, async_openai_client=aclient)
    assert isinstance(llm._client, FlexOpenAI)
    assert isinstance(llm._aclient, AsyncFlexOpenAI)
    assert llm._client._client is client._client
    assert llm._aclient._client is aclient._client
    assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "flex"
    assert (await llm.acomplete("Hi.")).additional_kwargs["flextier"]["lane"] == "flex"
    for request in sim.requests:
        assert request.headers["authorization"] == "Bearer sk-theirs"
        assert request.headers["x-team"] == "ink"
    await aclient.close()


@pytest.mark.parametrize("cls", OURS)
def test_options_of_a_plain_client(cls: Any, sim: Simulator) -> None:
    """A plain client's timeout and retries apply, unless the LLM has its own."""
    client_options = {"base_url": sim.base_url, "api_key": KEY, "timeout": 7, "max_retries": 5}
    clients = {
        "openai_client": openai.OpenAI(**client_options),
        "async_openai_client": openai.AsyncOpenAI(**client_options),
    }
    llm = cls(model="o3", api_key=KEY, **clients)
    for policy in policies(llm):
        assert (policy.flex_timeout, policy.standard_timeout, policy.max_retries) == (7, 7, 5)
    llm = cls(model="o3", api_key=KEY, **clients, timeout=3, max_retries=1)
    for policy in policies(llm):
        assert (policy.flex_timeout, policy.standard_timeout, policy.max_retries) == (3, 3, 1)
    llm = cls(model="o3", api_key=KEY, **clients, policy={"flex_timeout": 6})
    for policy in policies(llm):
        assert (policy.flex_timeout, policy.standard_timeout) == (6, 7)


@pytest.mark.parametrize("cls", OURS)
def test_a_client_that_llama_index_has_made(cls: Any) -> None:
    """Its fixed timeout and retries are no one's choice: the policy's apply."""
    theirs = OpenAI(model="o3", api_key=KEY)
    plain = theirs._get_client()
    assert (plain.timeout, plain.max_retries) == FRAMEWORK_DEFAULTS["llama_index"]
    llm = cls(model="o3", api_key=KEY, openai_client=plain)
    assert llm._client.policy == FlexPolicy()


@pytest.mark.parametrize("cls", OURS)
def test_our_clients_are_used_as_they_are(cls: Any, sim: Simulator) -> None:
    """A FlexOpenAI keeps its policy, unless the LLM is given one; then the client stays as is."""
    client_options = {"base_url": sim.base_url, "api_key": KEY, "policy": STANDARD}
    client, aclient = FlexOpenAI(**client_options), AsyncFlexOpenAI(**client_options)
    llm = cls(model="o3", api_key=KEY, openai_client=client, async_openai_client=aclient)
    assert (llm._client, llm._aclient) == (client, aclient)
    assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "standard"

    llm = make(cls, sim, openai_client=client, async_openai_client=aclient)
    assert policies(llm) == [FAST] * 2
    assert llm._client._client is client._client
    assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "flex"
    assert client.policy == aclient.policy == STANDARD


class Gateway(openai.OpenAI):
    """A client that does things its own way."""


class AsyncGateway(openai.AsyncOpenAI):
    """The async counterpart of ``Gateway``."""


@pytest.mark.parametrize("cls", OURS)
async def test_other_clients_are_left_alone(cls: Any, sim: Simulator) -> None:
    """A subclass of the SDK's goes its own way: a warning says so, and answers have no report."""
    client_options = {"base_url": sim.base_url, "api_key": KEY}
    client, aclient = Gateway(**client_options), AsyncGateway(**client_options)
    with pytest.warns(UserWarning, match="Gateway") as warned:
        llm = cls(model="o3", api_key=KEY, openai_client=client, async_openai_client=aclient)
    assert {"openai_client", "async_openai_client"} == {
        str(one.message).split(" ", 1)[0] for one in warned
    }
    assert (llm._client, llm._aclient) == (client, aclient)
    plain = THEIRS[cls](model="o3", api_key=KEY, openai_client=client, async_openai_client=aclient)
    for answer in (llm.complete("Hi."), await llm.acomplete("Hi."), [*llm.stream_complete("Hi.")]):
        last = answer[-1] if isinstance(answer, list) else answer
        assert "flextier" not in last.additional_kwargs
        assert last.text == plain.complete("Hi.").text
    assert {request.tier for request in sim.requests} == {None}
    assert llm.model_copy(update={"policy": FAST})._client is client
    await aclient.close()


@pytest.mark.parametrize("cls", OURS)
def test_azure_is_left_alone(cls: Any) -> None:
    """Azure's client is one of these."""
    azure = openai.AzureOpenAI(
        azure_endpoint="https://example.invalid", api_key=KEY, api_version="2025-01-01"
    )
    with pytest.warns(UserWarning, match="AzureOpenAI"):
        llm = cls(model="o3", api_key=KEY, openai_client=azure)
    assert llm._client is azure
    assert isinstance(llm._aclient or llm._get_aclient(), AsyncFlexOpenAI)


@pytest.mark.parametrize("cls", OURS)
async def test_http_clients(cls: Any, sim: Simulator) -> None:
    """The caller's HTTP clients are used, headers and all."""
    with httpx.Client(headers={"X-One": "1"}) as http:
        async with httpx.AsyncClient(headers={"X-One": "2"}) as ahttp:
            llm = make(cls, sim, http_client=http, async_http_client=ahttp)
            llm.complete("Hi.")
            await llm.acomplete("Hi.")
    assert [request.headers["x-one"] for request in sim.requests] == ["1", "2"]
    assert [request.tier for request in sim.requests] == ["flex", "flex"]


@pytest.mark.parametrize("cls", OURS)
def test_a_timeout_of_an_http_client(cls: Any, sim: Simulator) -> None:
    """As for the SDK, an HTTP client's own timeout counts where nothing else was said."""
    with httpx.Client(timeout=11) as http:
        llm = make(cls, sim, http_client=http, policy=None)
        assert policies(llm)[0].flex_timeout == 11


@pytest.mark.parametrize("cls", OURS)
def test_llms_share_no_policy(cls: Any, sim: Simulator) -> None:
    """Two LLMs with different policies do not get in each other's way."""
    one, two = make(cls, sim), make(cls, sim, policy=STANDARD)
    lanes = [llm.complete("Hi.").additional_kwargs["flextier"]["lane"] for llm in (one, two, one)]
    assert lanes == ["flex", "standard", "flex"]


async def test_a_client_for_each_call(sim: Simulator) -> None:
    """`reuse_client=False`: each call has a client of its own, as in LlamaIndex, with lanes."""
    llm, other = make(OpenAIFlex, sim, reuse_client=False), make(OpenAIFlex, sim)
    clients = {id(client) for client in [llm._get_client() for _ in range(3)]}
    assert len(clients) == 3
    assert llm._client is None
    asks = [llm.complete, llm.acomplete, llm.stream_complete, llm.astream_complete]
    for ask in [*asks, *asks, other.complete, other.acomplete]:
        await _read(ask("Hi."))
    assert [request.tier for request in sim.requests] == ["flex"] * 10


@pytest.mark.parametrize("cls", OURS)
def test_default_headers(cls: Any, sim: Simulator) -> None:
    """They go out with every call, on every lane."""
    llm = make(cls, sim, default_headers={"X-Team": "ink"})
    sim.script(Fault.unsupported())
    llm.complete("Hi.")
    assert [request.headers["x-team"] for request in sim.requests] == ["ink", "ink"]


# --- the environment, and LlamaIndex's settings ---------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
async def test_openais_variables(cls: Any, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENAI_API_KEY` and `OPENAI_API_BASE` are read, and arguments win over them."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-variable")
    monkeypatch.setenv("OPENAI_API_BASE", sim.base_url)
    llm = cls(model="o3")
    llm.complete("Hi.")
    await llm.acomplete("Hi.")
    cls(model="o3", api_key="sk-argument").complete("Hi.")
    keys = [request.headers["authorization"] for request in sim.requests]
    assert keys == ["Bearer sk-variable", "Bearer sk-variable", "Bearer sk-argument"]


@pytest.mark.parametrize("cls", OURS)
def test_without_a_key(cls: Any) -> None:
    """The same happens as in LlamaIndex: the error, or none, comes at the same place."""
    assert _outcome(cls) == _outcome(THEIRS[cls])


def _outcome(cls: Any) -> Any:
    try:
        cls(model="o3")
    except Exception as error:  # noqa: BLE001 - whatever LlamaIndex raises
        return type(error), str(error)
    return None


@pytest.fixture
def restored_settings() -> Iterator[None]:
    """LlamaIndex's settings as they were."""
    before = Settings._llm
    yield
    Settings._llm = before


@pytest.mark.parametrize("cls", OURS)
@pytest.mark.usefixtures("restored_settings")
def test_settings(cls: Any, sim: Simulator) -> None:
    """`Settings.llm = ...` takes it, and it is what `Settings.llm` gives."""
    llm = make(cls, sim)
    Settings.llm = llm
    assert Settings.llm is llm
    assert resolve_llm(llm) is llm
    assert isinstance(llm, LLM)
    assert isinstance(llm, THEIRS[cls])
    Settings.llm.complete("Hi.")
    assert sim.requests[0].tier == "flex"


@pytest.mark.parametrize("cls", OURS)
def test_override(cls: Any, sim: Simulator) -> None:
    """`override` around calls wins over the LLM's policy."""
    llm = make(cls, sim)
    with override(lanes=("standard",)):
        assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "standard"
        stream = llm.stream_complete("Hi.")
    assert [*stream][-1].additional_kwargs["flextier"]["lane"] == "standard"


def test_importing_ours_changes_nothing_of_theirs() -> None:
    """LlamaIndex's own class makes the SDK's own clients, next to ours."""
    assert type(OpenAI(api_key=KEY)._get_client()) is openai.OpenAI
    assert type(THEIRS[OpenAIResponsesFlex](api_key=KEY)._client) is openai.OpenAI


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 9},
        {"timeout": -1},
        {"max_retries": -1},
        {"context_window": 0},
        {"api_key": [KEY]},
        {"api_key": KEY.encode() + b"\xff"},
        {"additional_kwargs": KEY},
        {"default_headers": [KEY]},
        {"default_headers": {"Authorization": [KEY]}},
        {"strict": KEY},
    ],
)
@pytest.mark.parametrize("cls", OURS)
def test_errors_show_no_key(cls: Any, wrong: dict[str, Any]) -> None:
    """A validation error names the argument, and prints no value."""
    with pytest.raises(ValidationError) as caught:
        cls(**{"model": "gpt-4o", "api_key": KEY, **wrong})
    assert KEY not in str(caught.value)
    assert next(iter(wrong)) in str(caught.value)


@pytest.mark.parametrize("cls", OURS)
def test_an_error_shows_no_key_of_a_call(cls: Any, sim: Simulator) -> None:
    """Nor does what a failed call raises."""
    sim.script(Fault.quota())
    with pytest.raises(openai.RateLimitError) as caught:
        make(cls, sim).complete("Hi.")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("deadline", 'field of the policy: policy={"deadline": 60}'),
        ("polcy", "did you mean 'policy'"),
        ("max_retrys", "did you mean 'max_retries'"),
        ("temprature", "did you mean 'temperature'"),
        ("seed", "parameters of the API go into additional_kwargs"),
    ],
)
@pytest.mark.parametrize("cls", OURS)
def test_a_misspelt_argument_is_an_error(cls: Any, name: str, hint: str) -> None:
    """LlamaIndex ignores it."""
    with pytest.raises(TypeError) as caught:
        cls(model="o3", api_key=KEY, **{name: 60})
    assert f"{cls.__name__}() got an unexpected keyword argument {name!r}" in str(caught.value)
    assert hint in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("cls", OURS)
async def test_a_call_has_no_policy(cls: Any) -> None:
    """The error says where it goes instead."""
    llm = cls(model="o3", api_key=KEY)
    with pytest.raises(TypeError, match=r"no argument 'policy'.*override\(deadline=\.\.\.\)"):
        llm.complete("Hi.", policy={"deadline": 60})
    with pytest.raises(TypeError, match=f'{cls.__name__}\\(policy={{"lanes": ...}}\\)'):
        await llm.achat([], lanes="flex")


def test_an_old_name_of_llama_index_is_still_taken() -> None:
    """``max_new_tokens``, which its constructor replaces."""
    assert OpenAIFlex(model="o3", api_key=KEY, max_new_tokens=5).max_tokens == 5


@pytest.mark.parametrize(
    ("cls", "checked"),
    [(OpenAIFlex, OpenAIArguments), (OpenAIResponsesFlex, OpenAIResponsesArguments)],
)
def test_checkers_see_the_arguments_of_llama_index(cls: Any, checked: Any) -> None:
    """Those of its constructor, the fields that it takes for its bases, and ours."""
    parent = cls.__mro__[2]
    arguments = {*inspect.signature(parent.__init__).parameters, *cls.model_fields}
    first = {"model", "temperature", cls._max_tokens_field}
    assert checked.__annotations__.keys() | first == arguments - {"self", "kwargs"}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("cls", OURS)
def test_a_policy_that_is_set_applies(cls: Any, used: bool, sim: Simulator) -> None:
    """To both clients, from then on; a dict becomes a policy, and a wrong one changes nothing."""
    llm = make(cls, sim)
    if used:
        llm.complete("Hi.")
    llm.policy = {"lanes": "standard"}
    assert llm.policy == STANDARD
    assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "standard"
    with pytest.raises(PolicyError, match="dedline"):
        llm.policy = {"dedline": 60}
    assert [policy.lanes for policy in policies(llm)] == [("standard",), ("standard",)]
