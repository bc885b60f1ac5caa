"""LangChain's caches: the keys are those of `ChatOpenAI`, whatever the policy says."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration
from langchain_core.runnables import ConfigurableField
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from flextier import FlexPolicy, override
from flextier.langchain import ChatOpenAIFlex, get_flex_cost_callback
from flextier.sim import Simulator
from tests.langchain.conftest import FAST, KEY
from tests.langchain.helpers import Make, report_of

pytestmark = [
    # LangChain's SQLite cache reads what it has written by functions that are in beta, and keeps
    # parsed answers in a field that pydantic does not expect.
    pytest.mark.filterwarnings("ignore:The function `loads?` is in beta"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects` will change"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

# Each is another policy; none asks for another answer.
POLICIES: dict[str, Any] = {
    "none": {},
    "deadline": {"policy": {**FAST, "deadline": 600}},
    "another deadline": {"policy": {**FAST, "deadline": 601.5, "patience": 3}},
    "budget": {"policy": {**FAST, "budget": 5, "lanes": ["standard"]}},
}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "none": {},
    "sampling": {"model": "gpt-4o", "temperature": 0, "max_tokens": 30, "seed": 7},
    "a name": {"name": "writer"},
    "the name of our class": {"name": "ChatOpenAIFlex"},
    "limits": {"timeout": 20, "max_retries": 4},
    "a tier": {"service_tier": "flex"},
    "the watchdog": {"stream_chunk_timeout": 5},
    "another API": {"use_responses_api": True, "reasoning": {"effort": "low"}},
    "headers": {"default_headers": {"X-Team": '---"ink"---'}},
    "biases": {"logit_bias": {50256: -100, 9: 1}},
    "fields of the body": {"extra_body": {"lc": 1, "policy": {"a": "ä"}}, "streaming": True},
    "a kind of endpoint": {"organization": "org-1", "openai_proxy": "http://localhost:1"},
}

CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stop": {"stop": ["."]},
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}], "service_tier": "flex"},
}


@pytest.fixture(params=["memory", "SQLite"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> BaseCache:
    """LangChain's own caches."""
    if request.param == "memory":
        return InMemoryCache()
    if find_spec("langchain_community") is None:
        pytest.skip("langchain-community is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is no longer maintained, and says so
        from langchain_community.cache import SQLiteCache
    cache: BaseCache = SQLiteCache(str(tmp_path / "cache.db"))
    return cache


@pytest.fixture
def plain(sim: Simulator) -> Callable[..., ChatOpenAI]:
    """Makes models of LangChain's own class."""

    def make_model(**arguments: Any) -> ChatOpenAI:
        defaults = {"model": "o3", "base_url": sim.base_url, "api_key": KEY}
        return ChatOpenAI(**{**defaults, **arguments})

    return make_model


def key_of(model: ChatOpenAI, **call: Any) -> str:
    """The key of a call, as LangChain makes it."""
    return model._get_llm_string(**call)


# --- keys ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_keys_are_the_parents(arguments: str) -> None:
    """For the same arguments the key is `ChatOpenAI`'s, to the letter."""
    given = {"model": "o3", "api_key": KEY, **ARGUMENTS[arguments]}
    theirs = ChatOpenAI(**given)
    for policy in POLICIES.values():
        ours = ChatOpenAIFlex(**given, **policy)
        for call in (*CALLS.values(), {}):
            assert key_of(ours, **call) == key_of(theirs, **call)


def test_keys_of_subclasses() -> None:
    """A class of the caller's has the key that it would have on top of `ChatOpenAI`."""
    made = []
    for base in (ChatOpenAI, ChatOpenAIFlex):

        class Mine(base):  # type: ignore[misc, valid-type]  # mypy wants one base
            style: str = "plain"

        made.append(Mine(model="o3", api_key=KEY, style="bold"))
    theirs, ours = made
    assert key_of(ours) == key_of(theirs)
    assert key_of(ours) != key_of(ChatOpenAIFlex(model="o3", api_key=KEY))


def test_keys_of_subclasses_that_are_not_serialised() -> None:
    """LangChain makes their keys from the request's fields alone."""

    class Private(ChatOpenAIFlex):
        @classmethod
        def is_lc_serializable(cls) -> bool:
            return False

    one, other = (Private(model="o3", api_key=KEY, policy={"deadline": d}) for d in (60, 70))
    assert key_of(one) == key_of(other) != key_of(Private(model="o4-mini", api_key=KEY))


def test_what_is_saved_keeps_the_policy() -> None:
    """A key leaves the policy where `dumps` and callbacks find it."""
    model = ChatOpenAIFlex(model="o3", api_key=KEY, policy={"deadline": 600})
    key_of(model)
    saved = dumpd(model)
    assert saved["id"] == ["flextier", "langchain", "ChatOpenAIFlex"]
    assert saved["kwargs"]["policy"] == {"deadline": 600}
    assert model._serialized["kwargs"]["policy"] == {"deadline": 600}
    loaded = load(
        saved,
        valid_namespaces=["flextier"],
        allowed_objects=[ChatOpenAIFlex],
        secrets_map={"OPENAI_API_KEY": KEY},
    )
    assert loaded.policy == model.policy
    assert key_of(loaded) == key_of(model)


@pytest.mark.parametrize("other", [{"model": "o4-mini"}, {"temperature": 1}, {"n": 2}])
def test_what_asks_for_another_answer_counts(other: dict[str, Any]) -> None:
    """Arguments that go into the request are in the key."""
    given = {"model": "o3", "api_key": KEY}
    assert key_of(ChatOpenAIFlex(**given)) != key_of(ChatOpenAIFlex(**{**given, **other}))


# --- caches -------------------------------------------------------------------------------------


class Colour(BaseModel):
    """A colour."""

    name: str


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "invoke": lambda model: model.invoke("Hi."),
    "generate": lambda model: model.generate([[HumanMessage("Hi.")]]).generations,
    "batch": lambda model: model.batch(["Hi.", "Ho."]),
    "bind": lambda model: model.bind(stop=["!"], service_tier="flex").invoke("Hi."),
    "tools": lambda model: model.bind_tools([Colour]).invoke("Hi."),
    "structured": lambda model: model.with_structured_output(Colour).invoke("Hi."),
    "chain": lambda model: (model | (lambda message: message.text)).invoke("Hi."),
}


def shown(answer: Any) -> Any:
    """What a program sees of an answer that a cache repeats."""
    if isinstance(answer, list):
        return [shown(one) for one in answer]
    message = answer.message if isinstance(answer, ChatGeneration) else answer
    if isinstance(message, AIMessage):
        return message.content, message.tool_calls
    return answer


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_cache_of_the_parents(
    program: str,
    streaming: bool,
    cache: BaseCache,
    plain: Callable[..., ChatOpenAI],
    make: Make,
    sim: Simulator,
) -> None:
    """What `ChatOpenAI` has paid for is not paid for again after the swap, nor after going back."""
    given = {"cache": cache, "streaming": streaming}
    run = PROGRAMS[program]
    first = run(plain(**given))
    paid = len(sim.requests)
    assert paid >= 1
    for other in POLICIES.values():
        with get_flex_cost_callback() as costs:
            assert shown(run(make(**given, **other))) == shown(first)
        assert costs.totals.calls == 0
    assert len(sim.requests) == paid
    cache.clear()
    ours = run(make(**given))
    assert len(sim.requests) == 2 * paid
    with get_flex_cost_callback() as costs:
        assert shown(run(plain(**given))) == shown(ours)
    assert costs.totals.calls == 0
    assert len(sim.requests) == 2 * paid


@pytest.mark.parametrize("streaming", [False, True])
async def test_async_calls(
    streaming: bool,
    cache: BaseCache,
    plain: Callable[..., ChatOpenAI],
    make: Make,
    sim: Simulator,
) -> None:
    """Async calls find what sync ones have paid for, and the other way about."""
    given = {"cache": cache, "streaming": streaming}
    first = plain(**given).invoke("Hi.")
    assert (await make(**given, policy={"deadline": 600}).ainvoke("Hi.")).text == first.text
    second = await make(**given, policy={"deadline": 601}).ainvoke("Ho.")
    assert plain(**given).invoke("Ho.").text == second.text
    assert len(sim.requests) == 2


def test_every_way_to_set_a_policy(
    cache: BaseCache, make: Make, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arguments, variables, copies, configurable fields and blocks: none costs a cached answer."""
    model = make(cache=cache)
    model.invoke("Hi.")
    model.model_copy(update={"policy": {"deadline": 60}}).invoke("Hi.")
    configurable = model.configurable_fields(policy=ConfigurableField(id="policy"))
    configurable.invoke("Hi.", {"configurable": {"policy": FlexPolicy(patience=1)}})
    with override(deadline=50, lanes=("standard",)):
        model.invoke("Hi.")
    monkeypatch.setenv("FLEXTIER_DEADLINE", "70")
    make(cache=cache).invoke("Hi.")
    assert len(sim.requests) == 1


@pytest.mark.parametrize("streaming", [False, True])
def test_the_report_stays_with_its_call(
    streaming: bool, cache: BaseCache, make: Make, sim: Simulator
) -> None:
    """The answer that was paid for keeps its report; the ones from the cache have none."""
    model = make(cache=cache, streaming=streaming)
    first, *others = [model.invoke("Hi.") for _ in range(3)]
    assert report_of(first)["lane"] == "flex"
    assert not any("flextier" in other.response_metadata for other in others)
    assert len(sim.requests) == 1
