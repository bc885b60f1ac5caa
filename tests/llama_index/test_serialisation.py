"""What is saved, shown, traced and copied of an LLM: all of it, but no secret."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms.loading import load_llm
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, ConfigDict

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier.llama_index import OpenAIFlex, OpenAIResponsesFlex
from flextier.sim import Simulator
from tests.client.callers import FAST
from tests.llama_index.llms import OURS, THEIRS, make

KEY = "sk-secret-key"
LIMIT = {OpenAIFlex: "max_tokens", OpenAIResponsesFlex: "max_output_tokens"}
# Everything that is secret says so.
HEADERS = {
    "Authorization": "Bearer secret-1",
    "Proxy-Authorization": "Basic secret-2",
    "api-key": "secret-3",
    "X-API-Key": "secret-4",
    "Cookie": "secret-5",
    "Set-Cookie": "secret-6",
    "X-Auth-Token": "secret-7",
    "X-Amz-Security-Token": "secret-8",
    "cf-aig-authorization": "Bearer secret-9",
    "Ocp-Apim-Subscription-Key": "secret-10",
    "Helicone-Auth": "Bearer secret-11",
    "X-Goog-Api-Key": "secret-12",
}
KEPT = {"X-Team": "ink", "OpenAI-Project": "proj_1", "OpenAI-Organization": "org_1"}
MCP = {
    "type": "mcp",
    "server_label": "docs",
    "server_url": "https://example.invalid/mcp",
    "authorization": "secret-13",
    "headers": {**HEADERS, **KEPT},
}
EXTRA = {
    "extra_headers": {**HEADERS, **KEPT},
    "extra_body": {"access_token": "secret-14", "prompt_cache_key": "kept"},
    "extra_query": {"api_key": "secret-15"},
    "tools": [MCP],
    "service_tier": "flex",
    "prompt_cache_key": "kept",
    "logit_bias": {"50256": -100},
}


def secretive(cls: Any, **settings: Any) -> Any:
    """An LLM with secrets wherever one can be put, and a value in every other place."""
    arguments: dict[str, Any] = {
        "model": "o3",
        "api_key": KEY,
        "temperature": 0.5,
        "default_headers": {**HEADERS, **KEPT},
        "additional_kwargs": copy.deepcopy(EXTRA),
        "system_prompt": "You are a squid.",
        "strict": True,
        "timeout": 7,
        "max_retries": 5,
        "context_window": 1234,
        "policy": {"deadline": 99, "lanes": ["flex"]},
        LIMIT[cls]: 77,
    }
    if cls is OpenAIResponsesFlex:
        arguments |= {"built_in_tools": [copy.deepcopy(MCP)], "user": "u1", "store": True}
    return cls(**{**arguments, **settings})


def fields(llm: Any) -> dict[str, Any]:
    """All fields of an LLM except those that LlamaIndex itself does not serialise."""
    excluded = {name for name, field in type(llm).model_fields.items() if field.exclude}
    return {name: getattr(llm, name) for name in type(llm).model_fields if name not in excluded}


# --- nothing secret gets out ----------------------------------------------------------------------


FORMS: dict[str, Any] = {
    "to_dict": lambda llm: str(llm.to_dict()),
    "to_json": lambda llm: llm.to_json(),
    "dict": lambda llm: str(llm.dict()),
    "json": lambda llm: llm.json(),
    "model_dump": lambda llm: str(llm.model_dump()),
    "model_dump of all": lambda llm: str(llm.model_dump(include=set(type(llm).model_fields))),
    "model_dump_json": lambda llm: llm.model_dump_json(),
    "to_payload": lambda llm: str(llm.to_payload()),
    "repr": repr,
    "str": str,
    "within another": lambda llm: str(llm.as_structured_llm(BaseModel).to_dict()),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("cls", OURS)
def test_no_secrets(cls: Any, form: str) -> None:
    """Not the key, nor what headers, fields and tools are given to carry."""
    llm = secretive(cls)
    shown = FORMS[form](llm)
    assert "secret" not in shown
    for wanted in ("o3", "1234"):
        assert wanted in shown
    # The LLM itself has them still, and so has the caller's dict.
    assert llm.api_key == KEY
    assert llm.default_headers["Authorization"] == "Bearer secret-1"
    assert llm.additional_kwargs == EXTRA


@pytest.mark.parametrize("cls", OURS)
def test_all_else_is_there(cls: Any) -> None:
    """What is named like tokens or keys but is no secret is kept, nested or not."""
    data = secretive(cls).to_dict()
    assert data[LIMIT[cls]] == 77
    assert data["default_headers"] == KEPT
    assert data["additional_kwargs"] == {
        "extra_headers": KEPT,
        "extra_body": {"prompt_cache_key": "kept"},
        "extra_query": {},
        "tools": [_without_secrets(MCP)],
        "service_tier": "flex",
        "prompt_cache_key": "kept",
        "logit_bias": {"50256": -100},
    }
    assert data["policy"] == {"deadline": 99.0, "lanes": ["flex"]}
    assert (data["timeout"], data["max_retries"], data["context_window"]) == (7, 5, 1234)
    if cls is OpenAIResponsesFlex:
        assert data["built_in_tools"] == [_without_secrets(MCP)]


def _without_secrets(tool: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in tool.items() if k != "authorization"}
    return {**kept, "headers": KEPT}


@pytest.mark.parametrize("cls", OURS)
def test_as_the_parent_but_for_secrets(cls: Any) -> None:
    """The same fields as LlamaIndex's `to_dict`, less the key, plus ours."""
    ours = set(cls(model="o3", api_key=KEY).to_dict())
    theirs = set(THEIRS[cls](model="o3", api_key=KEY).to_dict())
    assert theirs - ours == {"api_key"}
    assert ours - theirs <= {"policy", "context_window", "stream_usage"}


class RecordEvents(BaseEventHandler):
    """Keeps the events that are dispatched."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    events: list[Any] = []  # noqa: RUF012 - a pydantic field

    @classmethod
    def class_name(cls) -> str:
        """Its name."""
        return "RecordEvents"

    def handle(self, event: Any, **kwargs: Any) -> None:
        """Keep the event."""
        self.events.append(event)


@pytest.fixture
def recorded_events() -> Iterator[list[Any]]:
    """The events of LlamaIndex's instrumentation."""
    handler, root = RecordEvents(), get_dispatcher()
    root.add_event_handler(handler)
    yield handler.events
    root.event_handlers.remove(handler)


@pytest.mark.parametrize("cls", OURS)
def test_events_have_no_secrets(cls: Any, sim: Simulator, recorded_events: list[Any]) -> None:
    """Events and callbacks contain the model's name and no secret."""
    debug = LlamaDebugHandler(print_trace_on_end=False)
    manager = CallbackManager([debug])
    extra = {"service_tier": "flex", "extra_headers": HEADERS}
    llm = secretive(
        cls,
        api_base=sim.base_url,
        callback_manager=manager,
        additional_kwargs=extra,
        policy=FAST,
        **({"built_in_tools": None} if cls is OpenAIResponsesFlex else {}),
    )
    llm.complete("Hi.")
    list(llm.stream_complete("Hi."))
    llm.predict(PromptTemplate("Hi {name}."), name="you")
    starts = [event.model_dict for event in recorded_events if hasattr(event, "model_dict")]
    assert len(starts) == 3
    assert all(start["model_name"] == "o3" for start in starts)
    assert "secret" not in str([event.model_dump() for event in recorded_events])
    assert "secret" not in str([pair[0].payload for pair in debug.get_llm_inputs_outputs()])
    assert sim.requests[0].headers["helicone-auth"] == "Bearer secret-11"


# --- and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", OURS)
def test_a_round_trip(cls: Any) -> None:
    """`from_dict` and `from_json` give an equal LLM, once it has its secrets again."""
    llm = secretive(cls)
    secrets = {
        "api_key": KEY,
        "default_headers": llm.default_headers,
        "additional_kwargs": llm.additional_kwargs,
    }
    if cls is OpenAIResponsesFlex:
        secrets["built_in_tools"] = llm.built_in_tools
    for back in (cls.from_dict(llm.to_dict(), **secrets), cls.from_json(llm.to_json(), **secrets)):
        assert type(back) is cls
        assert fields(back) == fields(llm)
        assert back.policy.explicit == llm.policy.explicit
        assert back.metadata == llm.metadata
        assert back.to_dict() == llm.to_dict()


@pytest.mark.parametrize("cls", OURS)
def test_a_round_trip_without_settings(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What came from the environment is not saved: the new environment's holds."""
    monkeypatch.setenv("FLEXTIER_DEADLINE", "50")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    data = json.loads(cls(model="o3").to_json())
    assert data["policy"] == {}
    monkeypatch.setenv("FLEXTIER_DEADLINE", "60")
    assert cls.from_dict(data).policy.deadline == 60
    assert cls.from_dict(data).api_key == KEY


@pytest.mark.parametrize("cls", OURS)
def test_llama_indexes_saved_settings(cls: Any) -> None:
    """What LlamaIndex's class has saved makes one of ours."""
    theirs = THEIRS[cls](model="gpt-4o", temperature=0.3, timeout=7, api_key=KEY)
    ours = cls.from_dict(theirs.to_dict())
    assert (ours.model, ours.temperature, ours.timeout, ours.api_key) == ("gpt-4o", 0.3, 7, KEY)


@pytest.mark.parametrize("cls", OURS)
def test_the_class_name(cls: Any) -> None:
    """It is of our own: loading by name never gives LlamaIndex's class in our place."""
    data = cls(model="o3", api_key=KEY).to_dict()
    assert data["class_name"] == cls.class_name() != THEIRS[cls].class_name()
    assert cls.model_json_schema()["properties"]["class_name"]["default"] == cls.class_name()
    with pytest.raises(ValueError, match=cls.class_name()):
        load_llm(data)
    assert OpenAIFlex.class_name() != OpenAIResponsesFlex.class_name()


# --- copies --------------------------------------------------------------------------------------

COPIES: dict[str, Any] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda llm: llm.model_copy(),
    "deep model_copy": lambda llm: llm.model_copy(deep=True),
    "pickle": lambda llm: pickle.loads(pickle.dumps(llm)),
}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("cls", OURS)
async def test_copies(cls: Any, way: str, used: bool, sim: Simulator) -> None:
    """A copy has the same fields and works the same: sync, async and streamed."""
    llm = make(cls, sim, timeout=7, temperature=0.5, default_headers={"X-Team": "ink"})
    if used:
        llm.complete("Hi.")
        await llm.acomplete("Hi.")
    copied = COPIES[way](llm)
    assert type(copied) is cls
    assert fields(copied) == fields(llm)
    assert copied.api_key == llm.api_key
    sim.reset()
    for one in (llm, copied):
        assert one.complete("Hi.").additional_kwargs["flextier"]["lane"] == "flex"
        assert (await one.acomplete("Hi.")).additional_kwargs["flextier"]["lane"] == "flex"
        assert [*one.stream_complete("Hi.")][-1].additional_kwargs["flextier"]["lane"] == "flex"
    assert {request.headers["x-team"] for request in sim.requests} == {"ink"}
    assert copied._client.policy == llm._client.policy
    assert copied._aclient.policy == llm._aclient.policy


@pytest.mark.parametrize("cls", OURS)
def test_deep_copies_share_clients_only(cls: Any, sim: Simulator) -> None:
    """Connections cannot be copied; all else of a deep copy is its own."""
    llm = make(cls, sim, additional_kwargs={"metadata": {"a": "b"}})
    llm.complete("Hi.")
    for way in ("deepcopy", "deep model_copy"):
        copied = COPIES[way](llm)
        copied.additional_kwargs["metadata"]["a"] = "c"
        assert llm.additional_kwargs == {"metadata": {"a": "b"}}
        assert copied._client is llm._client


@pytest.mark.parametrize("cls", OURS)
async def test_deep_copies_with_http_clients(cls: Any, sim: Simulator) -> None:
    """The caller's HTTP clients are connections, too, sync and async."""
    async with httpx.AsyncClient() as ahttp:
        with httpx.Client() as http:
            llm = make(cls, sim, http_client=http, async_http_client=ahttp)
            copied = copy.deepcopy(llm)
            assert copied._http_client is http
            assert copied._async_http_client is ahttp
            assert copied.complete("Hi.").text == (await copied.acomplete("Hi.")).text


@pytest.mark.parametrize("cls", OURS)
def test_deep_copies_of_what_holds_llms(cls: Any, sim: Simulator) -> None:
    """What two LLMs share is shared by their copies, as Python's deep copies are."""
    manager = CallbackManager([])
    pair = [make(cls, sim, callback_manager=manager) for _ in range(2)]
    one, two = copy.deepcopy(pair)
    assert one.callback_manager is two.callback_manager
    assert one.callback_manager is not manager


@pytest.mark.parametrize("cls", OURS)
def test_pickling_is_no_louder_than_the_parents(
    cls: Any, sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """LlamaIndex logs what it leaves out; for ours it is the same, and loading says nothing."""
    logged = []
    for one in (cls, THEIRS[cls]):
        llm = make(one, sim)
        llm.complete("Hi.")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            COPIES["pickle"](llm)
        logged.append([record.getMessage() for record in caplog.records])
        llm._client.close()
    assert logged[0] == logged[1]
    assert all("_client" in line or "_aclient" in line for line in logged[0])


@pytest.mark.parametrize("cls", OURS)
def test_a_pickled_policy(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle goes to another process: its policy goes along whole, the environment's part too."""
    monkeypatch.setenv("FLEXTIER_DEADLINE", "50")
    state = pickle.dumps(cls(model="o3", api_key=KEY, policy={"patience": 1}))
    monkeypatch.delenv("FLEXTIER_DEADLINE")
    policy = pickle.loads(state).policy
    assert (policy.deadline, policy.patience) == (50, 1)
    assert policy.explicit == {"patience"}


@pytest.mark.parametrize("mode", PydanticProgramMode)
@pytest.mark.parametrize("cls", OURS)
def test_updates(cls: Any, mode: PydanticProgramMode, sim: Simulator) -> None:
    """`model_copy(update=...)` changes what LlamaIndex's does, on the same clients."""
    llm = make(cls, sim)
    llm.complete("Hi.")
    copied = llm.model_copy(update={"model": "o4-mini", "pydantic_program_mode": mode})
    copied.complete("Hi.")
    assert [request.model for request in sim.requests] == ["o3", "o4-mini"]
    assert copied.pydantic_program_mode is mode
    assert copied._client is llm._client


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    "policy",
    [{"lanes": ["standard"]}, FlexPolicy(lanes=("standard",))],
    ids=["dict", "policy"],
)
@pytest.mark.parametrize("cls", OURS)
async def test_another_policy(
    cls: Any, policy: Any, used: bool, deep: bool, sim: Simulator
) -> None:
    """A copy with another policy follows it on the same connections; the original is as it was."""
    llm = make(cls, sim)
    if used:
        llm.complete("Hi.")
        await llm.acomplete("Hi.")
    copied = llm.model_copy(update={"policy": policy}, deep=deep)
    assert copied.policy == FlexPolicy(lanes=("standard",))
    for one, lane in ((copied, "standard"), (llm, "flex")):
        assert one.complete("Hi.").additional_kwargs["flextier"]["lane"] == lane
        assert (await one.acomplete("Hi.")).additional_kwargs["flextier"]["lane"] == lane
    if used:
        assert copied._client._client is llm._client._client
        assert copied._aclient._client is llm._aclient._client


@pytest.mark.parametrize("cls", OURS)
def test_another_policy_keeps_timeout_and_retries(cls: Any, sim: Simulator) -> None:
    """Policy fields given as the LLM's own arguments stay in force under a new policy."""
    llm = make(cls, sim, timeout=7, max_retries=0).model_copy(update={"policy": {"patience": 1}})
    llm.complete("Hi.")
    policy = llm._client.policy
    assert (policy.flex_timeout, policy.max_retries, policy.patience) == (7, 0, 1)


@pytest.mark.parametrize(
    ("cls", "used"),
    [
        (OpenAIFlex, False),
        (OpenAIFlex, True),
        (OpenAIResponsesFlex, False),
        (OpenAIResponsesFlex, True),
    ],
)
def test_another_policy_that_says_otherwise(cls: Any, used: bool, sim: Simulator) -> None:
    """Shorter limits of a new policy win over older arguments, after a call and before."""
    llm = make(cls, sim, timeout=7)
    if used:
        llm.complete("Hi.")
    copied = llm.model_copy(update={"policy": {"flex_timeout": 5}})
    copied.complete("Hi.")
    policy = copied._client.policy
    assert (policy.flex_timeout, policy.standard_timeout) == (5, 7)


@pytest.mark.parametrize("cls", OURS)
def test_another_policy_for_clients_of_the_callers(cls: Any, sim: Simulator) -> None:
    """A copy with another policy asks by the caller's clients, which stay as they are."""
    client_options = {"base_url": sim.base_url, "api_key": "sk-theirs", "policy": FAST}
    client, aclient = FlexOpenAI(**client_options), AsyncFlexOpenAI(**client_options)
    llm = make(cls, sim, openai_client=client, async_openai_client=aclient)
    copied = llm.model_copy(update={"policy": {"lanes": ["standard"]}})
    copied.complete("Hi.")
    assert sim.requests[0].tier == "default"
    assert sim.requests[0].headers["authorization"] == "Bearer sk-theirs"
    assert client.policy == aclient.policy == FAST
