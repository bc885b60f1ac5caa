"""Models that LlamaIndex's tables do not list, or not under that name: facts, requests, errors."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.indices.prompt_helper import PromptHelper
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.core.utils import get_tokenizer
from llama_index.llms.openai.utils import (
    ALL_AVAILABLE_MODELS,
    CHAT_MODELS,
    DISCONTINUED_MODELS,
    GPT3_5_MODELS,
    GPT3_MODELS,
    O1_MODELS,
    O1_MODELS_WITHOUT_FUNCTION_CALLING,
    RESPONSES_API_ONLY_MODELS,
)

from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.llama_index.model_info import FALLBACK_CONTEXT_WINDOW, model_info
from flextier.sim import Simulator
from tests.client.callers import KEY
from tests.llama_index.llms import OURS, THEIRS, make

# Newer than the tables: the first three are sold, the last is made up.
NEWER = ["gpt-6.2-sol", "gpt-6.1-terra", "gpt-6.2-chat-latest", "o5"]
# What a model is under a name that is in no table, and the listed model it is one of.
NAMED = {
    "o3-2027-01-01": "o3",
    "gpt-5-mini-2027-01-01": "gpt-5-mini",
    "gpt-4o-2027-01-01": "gpt-4o",
    "ft:o4-mini-2025-04-16:org::id": "o4-mini",
    "ft:gpt-5:org:name:id": "gpt-5",
    "ft:gpt-4o-mini-2024-07-18:org:name:id": "gpt-4o-mini",
    "ft:gpt-4.1-2027-01-01:org::id": "gpt-4.1",
    "gpt-4:ft-org-2024-05-05-05-05-05": "gpt-4",
    "gpt-3.5-turbo:ft-org:id": "gpt-3.5-turbo",
}
REASONING = [*NEWER, *(name for name, base in NAMED.items() if base in O1_MODELS)]
OTHERS = [name for name, base in NAMED.items() if base not in O1_MODELS]
GATEWAYS = ["openai/o3", "my-router", "llama-4-scout", "anthropic/claude-x"]
LIMIT = {OpenAIFlex: "max_tokens", OpenAIResponsesFlex: "max_output_tokens"}


def quietly(cls: Any, sim: Simulator, **settings: Any) -> Any:
    """An LLM whose warning about its size is another test's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the context size of")
        return make(cls, sim, **settings)


def asked(cls: Any, sim: Simulator, call: dict[str, Any] | None = None, **settings: Any) -> Any:
    """The body that a call sends."""
    quietly(cls, sim, **settings).complete("Hi.", **(call or {}))
    return sim.requests[-1].body


# --- what is known of a model ---------------------------------------------------------------------


def test_the_safe_size() -> None:
    """It is the least of any listed reasoning model that takes tools, and of the newer ones."""
    sizes = {
        name: size
        for name, size in {**O1_MODELS, **RESPONSES_API_ONLY_MODELS}.items()
        if name not in O1_MODELS_WITHOUT_FUNCTION_CALLING
    }
    assert min(sizes.values()) == FALLBACK_CONTEXT_WINDOW
    assert (
        min(size for name, size in sizes.items() if name.startswith("gpt-6"))
        > FALLBACK_CONTEXT_WINDOW
    )


@pytest.mark.parametrize("cls", OURS)
def test_listed_models_are_as_they_were(cls: Any) -> None:
    """All that LlamaIndex lists: the same metadata, or the same error, and no warning."""
    for model in {**ALL_AVAILABLE_MODELS, **{f"ft:{name}:o::i": 0 for name in CHAT_MODELS}}:
        ours, theirs = cls(model=model, api_key=KEY), THEIRS[cls](model=model, api_key=KEY)
        assert ours.metadata == theirs.metadata, model


@pytest.mark.parametrize("cls", OURS)
def test_a_size_of_the_callers_wins(cls: Any) -> None:
    """`context_window` is taken for any model, and changes nothing else of the metadata."""
    for model in ["o3", "gpt-4o", "gpt-3.5-turbo-instruct", "ft:gpt-4o:o::i"]:
        explicit, plain = (
            cls(model=model, api_key=KEY, context_window=size).metadata.model_dump()
            for size in (4321, None)
        )
        assert explicit.pop("context_window") == 4321
        assert plain.pop("context_window") != 4321
        assert explicit == plain


@pytest.mark.parametrize(("model", "base"), NAMED.items())
@pytest.mark.parametrize("cls", OURS)
def test_other_names_of_listed_models(cls: Any, model: str, base: str) -> None:
    """Snapshots and fine-tuned models are what they are made of; no warning."""
    ours = cls(model=model, api_key=KEY, **{LIMIT[cls]: 99}).metadata
    known = cls(model=base, api_key=KEY, **{LIMIT[cls]: 99}).metadata
    assert ours.model_name == model
    assert ours.context_window == known.context_window == ALL_AVAILABLE_MODELS[base]
    assert ours.is_function_calling_model == known.is_function_calling_model
    assert ours.is_chat_model is True
    assert ours.num_output == 99


@pytest.mark.parametrize("model", NEWER)
@pytest.mark.parametrize("cls", OURS)
def test_newer_models(cls: Any, model: str) -> None:
    """LlamaIndex fails at the first use; ours assumes a safe size, and says so in one warning."""
    with pytest.raises(ValueError, match="Unknown model"):
        _ = THEIRS[cls](model=model, api_key=KEY).metadata
    with pytest.warns(UserWarning, match=f"{re.escape(model)}.*context_window=") as warned:
        llm = cls(model=model, api_key=KEY)
    assert len(warned) == 1
    metadata = llm.metadata
    assert str(FALLBACK_CONTEXT_WINDOW) in str(warned[0].message)
    assert metadata.context_window == FALLBACK_CONTEXT_WINDOW
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model
    assert metadata.num_output == -1


@pytest.mark.parametrize(
    "cls",
    [
        OpenAIFlex,
        OpenAIResponsesFlex,
    ],
)
def test_where_the_warning_points(cls: Any) -> None:
    """It points at the line that made the LLM, so that Python shows it once for each such line."""

    def make_one() -> None:
        cls(model="o5", api_key=KEY)

    with pytest.warns(UserWarning, match="o5") as warned:
        make_one()
    assert warned[0].filename == __file__
    assert warned[0].lineno == make_one.__code__.co_firstlineno + 1


@pytest.mark.parametrize("model", NEWER)
@pytest.mark.parametrize("cls", OURS)
def test_newer_models_of_a_size(cls: Any, model: str) -> None:
    """With `context_window` there is nothing to warn of."""
    for size in (1_050_000, FALLBACK_CONTEXT_WINDOW):
        assert cls(model=model, api_key=KEY, context_window=size).metadata.context_window == size


@pytest.mark.parametrize("model", GATEWAYS)
@pytest.mark.parametrize("cls", OURS)
def test_models_that_are_not_openais(cls: Any, model: str) -> None:
    """No size is guessed for them: the error names the argument, and comes at construction."""
    with pytest.raises(ValueError, match=rf"{cls.__name__}\(context_window=<tokens>\)") as caught:
        cls(model=model, api_key=KEY)
    assert model in str(caught.value)
    assert KEY not in str(caught.value)
    metadata = cls(model=model, api_key=KEY, context_window=9000).metadata
    assert metadata.context_window == 9000
    assert metadata.is_chat_model
    assert metadata.is_function_calling_model


def test_a_misspelt_model() -> None:
    """The error says which one was probably meant."""
    with pytest.raises(ValueError, match=r"unknown to LlamaIndex: did you mean 'gpt-4o'\?$"):
        OpenAIFlex(model="gpt4o", api_key=KEY)


@pytest.mark.parametrize("model", [*RESPONSES_API_ONLY_MODELS, "gpt-5.4-pro-2027-01-01"])
def test_models_of_the_responses_api_only(model: str) -> None:
    """LlamaIndex's Responses class does not know their size, though it lists it; ours does."""
    with pytest.raises(ValueError, match="Unknown model"):
        _ = THEIRS[OpenAIResponsesFlex](model=model, api_key=KEY).metadata
    base = model.removesuffix("-2027-01-01")
    metadata = OpenAIResponsesFlex(model=model, api_key=KEY).metadata
    assert metadata.context_window == RESPONSES_API_ONLY_MODELS[base]
    assert metadata.is_chat_model


@pytest.mark.parametrize("model", RESPONSES_API_ONLY_MODELS)
def test_models_of_the_responses_api_only_in_the_other_class(model: str) -> None:
    """The other class refuses them, as LlamaIndex's does."""
    for cls in (OpenAIFlex, THEIRS[OpenAIFlex]):
        with pytest.raises(ValueError, match="only supported by the Responses API"):
            cls(model=model, api_key=KEY)


@pytest.mark.parametrize("model", DISCONTINUED_MODELS)
@pytest.mark.parametrize("cls", OURS)
def test_discontinued_models(cls: Any, model: str) -> None:
    """No size is assumed for them."""
    with pytest.raises(ValueError, match=model):
        cls(model=model, api_key=KEY)


@pytest.mark.parametrize("model", {**GPT3_MODELS, **GPT3_5_MODELS})
def test_models_of_the_older_api(model: str) -> None:
    """They are asked by the older Completions API, which has no lanes, as LlamaIndex asks them."""
    assert OpenAIFlex(model=model, api_key=KEY).metadata.is_chat_model is False
    assert OpenAIFlex(model=f"ft:{model}:o::i", api_key=KEY).metadata.is_chat_model is False


def test_snapshots_of_the_older_kind() -> None:
    """A snapshot named by month and day is of its model: small, and of the older API."""
    facts = model_info("gpt-3.5-turbo-instruct-0914")
    assert facts.context_window == ALL_AVAILABLE_MODELS["gpt-3.5-turbo-instruct"]
    assert not facts.is_chat


@pytest.mark.parametrize("model", ["gpt-3.5-turbo-2", "gpt-35-turbo-2"])
def test_the_safe_size_is_of_reasoning_models(model: str) -> None:
    """For an unlisted model of an older family the safe size would be too large."""
    assert not model_info(model).is_reasoning
    with pytest.raises(ValueError, match="context_window"):
        OpenAIFlex(model=model, api_key=KEY)


def test_facts_of_names() -> None:
    """Names that only resemble reasoning models are not taken for them."""
    assert not model_info("gpt-4o-2027-01-01").is_reasoning
    assert not model_info("gpt-4.7").is_reasoning
    assert not model_info("chatgpt-5").is_reasoning
    assert not model_info("gpt-oss-120b").is_reasoning
    assert not model_info("ollama-1").is_reasoning
    assert model_info("gpt-10").is_reasoning
    assert model_info("o12-mini").is_reasoning


# --- what is sent ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", REASONING)
def test_bodies_of_reasoning_models_in_chat(model: str, sim: Simulator) -> None:
    """Nothing that they refuse, and all that was asked for."""
    body = asked(OpenAIFlex, sim, model=model, max_tokens=300, reasoning_effort="low")
    assert body["max_completion_tokens"] == 300
    assert body["reasoning_effort"] == "low"
    assert body.keys() == {
        "max_completion_tokens",
        "messages",
        "model",
        "reasoning_effort",
        "service_tier",
        "stream",
    }


@pytest.mark.parametrize("model", REASONING)
def test_bodies_of_reasoning_models_in_responses(model: str, sim: Simulator) -> None:
    """The same for Responses."""
    options = {"effort": "low", "summary": "auto"}
    body = asked(
        OpenAIResponsesFlex, sim, model=model, max_output_tokens=300, reasoning_options=options
    )
    assert body["reasoning"] == options
    assert body["max_output_tokens"] == 300
    assert body.keys().isdisjoint({"temperature", "top_p"})
    assert asked(OpenAIResponsesFlex, sim, model=model).keys().isdisjoint({"temperature", "top_p"})


@pytest.mark.parametrize("cls", OURS)
def test_what_llama_index_sends_instead(cls: Any, sim: Simulator) -> None:
    """LlamaIndex sends a fine-tuned reasoning model what it refuses, and leaves the effort out."""
    given = {OpenAIFlex: {"reasoning_effort": "low"}, OpenAIResponsesFlex: {"top_p": 1.0}}[cls]
    theirs = make(THEIRS[cls], sim, model="ft:o4-mini:o::i", **{LIMIT[cls]: 300}, **given)
    theirs.complete("Hi.")
    body = sim.requests[-1].body or {}
    assert body["temperature"] == 0.1
    assert "reasoning_effort" not in body
    assert ("max_tokens" in body) == (cls is OpenAIFlex)
    assert ("top_p" in body) == (cls is OpenAIResponsesFlex)


@pytest.mark.usefixtures("flex_for_all")
@pytest.mark.parametrize("model", OTHERS)
@pytest.mark.parametrize("cls", OURS)
def test_bodies_of_other_models(cls: Any, model: str, sim: Simulator) -> None:
    """Models that take a temperature get LlamaIndex's body, but for the tier."""
    settings = {LIMIT[cls]: 300, "temperature": 0.1}
    ours = asked(cls, sim, model=model, **settings)
    make(THEIRS[cls], sim, model=NAMED[model], **settings).complete("Hi.")
    assert ours == {**(sim.requests[-1].body or {}), "model": model, "service_tier": "flex"}


@pytest.mark.parametrize("model", REASONING)
@pytest.mark.parametrize("cls", OURS)
def test_an_explicit_temperature(cls: Any, model: str, sim: Simulator) -> None:
    """A temperature that is set explicitly is sent, wherever it was set."""
    assert asked(cls, sim, model=model, temperature=0.7)["temperature"] == 0.7
    for given in ({"additional_kwargs": {"temperature": 0.1}}, {"call": {"temperature": 0.1}}):
        assert asked(cls, sim, model=model, **given)["temperature"] == 0.1


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "ft:gpt-5:o::i"])
def test_an_explicit_top_p(model: str, sim: Simulator) -> None:
    """So is `top_p`."""
    assert asked(OpenAIResponsesFlex, sim, model=model, top_p=0.5)["top_p"] == 0.5
    sent = asked(OpenAIResponsesFlex, sim, model=model, call={"top_p": 1.0})
    assert sent["top_p"] == 1.0


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "ft:o4-mini:o::i"])
def test_limits_by_any_name(model: str, sim: Simulator) -> None:
    """An explicit `max_completion_tokens` replaces `max_tokens`, as for listed models."""
    given = {"max_tokens": 300, "additional_kwargs": {"max_completion_tokens": 500}}
    newer, listed = (asked(OpenAIFlex, sim, model=name, **given) for name in (model, "o3"))
    assert newer["max_completion_tokens"] == listed["max_completion_tokens"] == 500
    assert "max_tokens" not in {**newer, **listed}
    called = asked(OpenAIFlex, sim, model=model, call={"max_tokens": 7})
    assert called["max_completion_tokens"] == 7
    assert "max_tokens" not in called


@pytest.mark.parametrize("model", ["ft:o4-mini:o::i", "o3-2027-01-01", "gpt-6.1-terra"])
def test_bodies_of_tool_calls(model: str, sim: Simulator) -> None:
    """Reasoning models are not sent `parallel_tool_calls`, which the o-series refuses."""
    bodies = []
    for name in (model, "o3"):
        llm = quietly(OpenAIFlex, sim, model=name, temperature=1.0)
        llm.chat_with_tools([FunctionTool.from_defaults(lambda x: x, name="f")], "Hi.")
        bodies.append({**(sim.requests[-1].body or {}), "model": ""})
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("cls", OURS)
async def test_every_way_of_a_newer_model(cls: Any, sim: Simulator) -> None:
    """Chat, streams, tools: nothing that it refuses in any of them."""
    llm = quietly(cls, sim, model="gpt-6.1-terra", **{LIMIT[cls]: 300})
    messages = [ChatMessage(role=MessageRole.USER, content="Hi.")]
    llm.chat(messages)
    list(llm.stream_chat(messages))
    await llm.achat(messages)
    async for _ in await llm.astream_chat(messages):
        pass
    llm.predict(PromptTemplate("Hi {name}."), name="you")
    llm.chat_with_tools([FunctionTool.from_defaults(lambda x: x, name="f")], "Hi.")
    assert len(sim.requests) == 6
    for request in sim.requests:
        assert request.tier == "flex"
        assert (request.body or {}).keys().isdisjoint({"temperature", "top_p", "max_tokens"})


# --- LlamaIndex's own use of the size -------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_prompts_are_packed_for_the_assumed_size(cls: Any, sim: Simulator) -> None:
    """The prompt helper repacks texts to fit; with a size of the caller's, to fit that one."""
    words = [f"word{n} " * 300 for n in range(120)]
    prompt = PromptTemplate("{context_str}")
    for size, given in ((FALLBACK_CONTEXT_WINDOW, {}), (9000, {"context_window": 9000})):
        llm = quietly(cls, sim, model="gpt-6.2-sol", **{LIMIT[cls]: 1000}, **given)
        helper = PromptHelper.from_llm_metadata(llm.metadata)
        assert helper.context_window == size
        packed = helper.repack(prompt, words, llm=llm)
        most = max(len(get_tokenizer()(text)) for text in packed)
        assert most <= size - 1000
        assert (len(packed) > 1) == (size == 9000)


@pytest.mark.parametrize("cls", OURS)
def test_a_query_engine_of_a_newer_model(cls: Any, sim: Simulator) -> None:
    """A query over more text than the size splits it into calls that fit, and answers."""
    documents = [Document(text=f"Part {n}. " + f"word{n} " * 400) for n in range(8)]
    llm = quietly(cls, sim, model="gpt-6.2-sol", context_window=2000, **{LIMIT[cls]: 200})
    answer = SummaryIndex.from_documents(documents).as_query_engine(llm=llm).query("What is it?")
    assert "[simulated]" in str(answer)
    assert len(sim.requests) > 4
    with pytest.raises(ValueError, match="Unknown model"):
        SummaryIndex.from_documents(documents).as_query_engine(
            llm=make(THEIRS[cls], sim, model="gpt-6.2-sol")
        )
