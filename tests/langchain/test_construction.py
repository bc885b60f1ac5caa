"""How a ChatOpenAIFlex is made, copied, saved and traced."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from langchain_core.load import dumpd, dumps, load
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import SecretStr

from flextier import FlexOpenAI, FlexPolicy, PolicyError
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Simulator
from tests.langchain.conftest import KEY
from tests.langchain.helpers import Make, report_of

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


# --- construction -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_retries": 1, "policy": {"max_retries": 3}}, ("max_retries=1", "max_retries=3")),
        ({"policy": {"lanes": ["fast"]}}, ("fast", "FLEXTIER_LANES")),
    ],
)
def test_contradictions(arguments: dict[str, Any], words: tuple[str, ...]) -> None:
    """Errors name what contradicts what, and never print the arguments."""
    with pytest.raises(ValueError, match=words[0]) as caught:
        ChatOpenAIFlex(model="o3", api_key=SecretStr(KEY), **arguments)
    assert all(word in str(caught.value) for word in words)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("deadline", 'field of the policy: policy={"deadline": 60}'),
        ("polcy", "did you mean 'policy'"),
        ("max_retrys", "did you mean 'max_retries'"),
        ("temprature", "did you mean 'temperature'"),
        ("reasoning_efort", "did you mean 'reasoning_effort'"),
    ],
)
def test_a_misspelt_argument_is_an_error(name: str, hint: str) -> None:
    """It does not become an unknown parameter of the API, which fails in the first call."""
    for make in (ChatOpenAIFlex, lambda **values: ChatOpenAIFlex.model_validate(values)):
        with pytest.raises(TypeError) as caught:
            make(model="o3", api_key=SecretStr(KEY), **{name: 60})
        assert f"ChatOpenAIFlex() got an unexpected keyword argument {name!r}" in str(caught.value)
        assert hint in str(caught.value)
        assert KEY not in str(caught.value)


@pytest.mark.parametrize("name", ["policy", "deadline"])
async def test_a_call_has_no_policy(name: str, make: Make) -> None:
    """The error says where it goes instead."""
    llm = make()
    for call in (
        lambda: llm.invoke("Hi.", **{name: 60}),
        lambda: llm.bind(**{name: 60}).invoke("Hi."),
        lambda: list(llm.stream("Hi.", **{name: 60})),
    ):
        with pytest.raises(TypeError, match=rf"no argument '{name}'.*override\(deadline=\.\.\.\)"):
            call()
    with pytest.raises(TypeError, match=r'ChatOpenAIFlex\(policy={"deadline": \.'):
        await llm.ainvoke("Hi.", **{name: 60})


@pytest.mark.parametrize(
    "name", ["user", "prompt_cache_key", "modalities", "prediction", "safety_identifier", "foo"]
)
def test_parameters_of_the_api_are_passed_on_as_by_the_parent(name: str) -> None:
    """They go into ``model_kwargs``, with the parent's warning; so does what is no misspelling."""
    for cls in (ChatOpenAI, ChatOpenAIFlex):
        with pytest.warns(UserWarning, match=f"{name} is not default parameter"):
            assert cls(model="o3", api_key=SecretStr(KEY), **{name: "x"}).model_kwargs == {
                name: "x"
            }


def test_arguments_of_the_parent_set_the_policy(make: Make) -> None:
    """`timeout` and `max_retries` mean the matching fields."""
    for timeout, seconds in ((7, 7), ((1.0, 8.0), 8), (openai.Timeout(5, read=9), 9)):
        policy = make(timeout=timeout, max_retries=4).root_client.policy
        assert (policy.flex_timeout, policy.standard_timeout) == (seconds, seconds)
        assert policy.max_retries == 4


def test_the_environment(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything can come from variables."""
    monkeypatch.setenv("FLEXTIER_LANES", "standard")
    monkeypatch.setenv("FLEXTIER_DEADLINE", "50")
    policy = make().root_async_client.policy
    assert policy.lanes == ("standard",)
    assert policy.deadline == 50


def test_the_callers_clients(sim: Simulator) -> None:
    """A plain SDK client given to the model is routed; one of ours keeps its policy."""
    plain = openai.OpenAI(base_url=sim.base_url, api_key=KEY)
    model = ChatOpenAIFlex(
        model="o3", api_key=SecretStr(KEY), root_client=plain, client=plain.chat.completions
    )
    assert report_of(model.invoke("Hi."))["lane"] == "flex"
    assert model.root_client._client is plain._client
    with_options = plain.with_options(timeout=7, max_retries=5)
    model = ChatOpenAIFlex(
        model="o3",
        api_key=SecretStr(KEY),
        root_client=with_options,
        client=with_options.chat.completions,
    )
    assert model.root_client.policy == FlexPolicy(flex_timeout=7, standard_timeout=7, max_retries=5)

    ours = FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FlexPolicy(lanes=("standard",)))
    model = ChatOpenAIFlex(
        model="o3", api_key=SecretStr(KEY), root_client=ours, client=ours.chat.completions
    )
    assert report_of(model.invoke("Hi."))["lane"] == "standard"


def test_models_share_their_connections(make: Make) -> None:
    """As with ChatOpenAI, models with the same settings share an HTTP client, sync and async."""
    one, two, other = make(), make(model="o4-mini"), make(timeout=3)
    assert one.root_client._client is two.root_client._client
    assert one.root_async_client._client is two.root_async_client._client
    assert one.root_client._client is not other.root_client._client


def test_an_explicit_proxy(make: Make, sim: Simulator) -> None:
    """`openai_proxy` is used; the simulator answers the absolute form of a proxy request."""
    model = make(base_url="http://api.example.invalid/v1", openai_proxy=sim.url)
    assert model.invoke("Hi.").text


async def test_an_async_key(make: Make) -> None:
    """An async callable for the key works, and leaves the sync client out, as in the parent."""

    async def key() -> str:
        return KEY

    model = make(api_key=key)
    assert (await model.ainvoke("Hi.")).text
    assert model.root_client is None


# --- serialisation and tracing ------------------------------------------------------------------


def test_serialisation_has_no_secrets_and_comes_back(make: Make) -> None:
    """`dumps` names the key's variable only; `load` gives an equal model with the policy."""
    model = make(policy={"deadline": 99})
    assert KEY not in dumps(model)
    loaded = load(
        dumpd(model),
        valid_namespaces=["flextier"],
        allowed_objects=[ChatOpenAIFlex],
        secrets_map={"OPENAI_API_KEY": KEY},
    )
    assert isinstance(loaded, ChatOpenAIFlex)
    assert loaded.policy == model.policy
    assert loaded.root_client.policy == model.root_client.policy
    assert loaded.invoke("Hi.").text


def test_repr_shows_no_key(make: Make) -> None:
    """Neither does the repr."""
    assert KEY not in repr(make())


def test_langsmith_parameters_are_the_parents(make: Make, sim: Simulator) -> None:
    """Tracing sees the provider and model that it sees for ChatOpenAI."""
    parent = ChatOpenAI(model="o3", base_url=sim.base_url, api_key=SecretStr(KEY), temperature=0.5)
    ours = make(temperature=0.5)
    assert ours._get_ls_params(stop=["x"]) == parent._get_ls_params(stop=["x"])
    assert ours._llm_type == parent._llm_type


def test_azure_is_untouched() -> None:
    """Importing and using our class changes nothing for LangChain's Azure class."""
    azure = AzureChatOpenAI(
        azure_endpoint="https://example.invalid",
        api_key=SecretStr(KEY),
        api_version="2025-01-01",
        azure_deployment="d",
    )
    assert type(azure.root_client) is openai.AzureOpenAI
    assert type(ChatOpenAI(model="o3", api_key=SecretStr(KEY)).root_client) is openai.OpenAI


def test_a_policy_that_is_set_applies(make: Make) -> None:
    """To both clients, from then on; a dict becomes a policy, and a wrong one changes nothing."""
    model = make(timeout=7)
    model.policy = {"deadline": 50}
    assert model.policy == FlexPolicy(deadline=50)
    for client in (model.root_client, model.root_async_client, model.client._client):
        assert client.policy.deadline == 50
    with pytest.raises(PolicyError, match="dedline"):
        model.policy = {"dedline": 60}  # type: ignore[typeddict-unknown-key]  # not checked here
    assert model.policy.deadline == 50
    assert report_of(model.invoke("Hi."))["lane"] == "flex"


def test_another_policy_keeps_timeout_and_retries(make: Make) -> None:
    """Policy fields given as the model's own arguments stay in force under a new policy."""
    copy = make(timeout=7, max_retries=0).model_copy(update={"policy": {"patience": 1}})
    assert copy.root_client.policy.flex_timeout == 7
    assert copy.root_client.policy.max_retries == 0


def test_clients_that_do_things_their_way_are_left_alone() -> None:
    """A subclass such as Azure's does not turn into another client, and a warning says so."""
    azure = openai.AzureOpenAI(
        azure_endpoint="https://example.invalid", api_key=KEY, api_version="2025-01-01"
    )
    with pytest.warns(UserWarning, match="AzureOpenAI"):
        model = ChatOpenAIFlex(
            model="o3", api_key=SecretStr(KEY), root_client=azure, client=azure.chat.completions
        )
    assert model.root_client is azure
