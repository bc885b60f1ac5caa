"""install(): which clients are ours, and that all else of the SDK's classes stays as it is."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import logging
import math
import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI as EarlierAsync
from openai import OpenAI as Earlier

import flextier
from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy, PolicyError, install, uninstall
from flextier.sim import Simulator

sdk_module: Any = sys.modules["openai._client"]


class Before(openai.OpenAI):
    """A subclass that was defined before anything was installed."""

    def __init__(self, label: str = "", **arguments: Any) -> None:
        self.label = label
        Earlier.__init__(self, **arguments)  # without super()


BUILDERS: dict[str, Callable[[], Any]] = {
    "OpenAI": lambda: openai.OpenAI(),
    "Client": lambda: openai.Client(),
    "_client.OpenAI": lambda: sdk_module.OpenAI(),
    "imported before": lambda: Earlier(),
    "subclass": lambda: Before("b"),
    "AsyncOpenAI": lambda: openai.AsyncOpenAI(),
    "AsyncClient": lambda: openai.AsyncClient(),
    "async, imported before": lambda: EarlierAsync(),
}


ASKED: list[Any] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """No client that was asked is open after its test."""
    yield
    for client in ASKED:
        if isinstance(client, openai.OpenAI):
            client.close()
    ASKED.clear()


def lane_of(client: Any) -> str | None:
    """The service tier of a call's answer; an async client is closed after it."""
    ASKED.append(client)
    answer = client.responses.create(model="o4-mini", input="Name a colour.")
    if inspect.isawaitable(answer):
        answer = asyncio.run(_answer_of_last(client, answer))
    return answer.service_tier  # type: ignore[no-any-return]


async def _answer_of_last(client: Any, call: Any) -> Any:
    async with client:
        return await call


# --- which clients ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILDERS)
def test_a_client_is_on_the_lanes(name: str, sim: Simulator) -> None:
    """By every name of the SDK's classes, as long as it is installed."""
    build = BUILDERS[name]
    before = build()
    install()
    ours = build()
    uninstall()
    after = build()

    assert [lane_of(client) for client in (before, ours, after)] == ["default", "flex", "default"]
    assert isinstance(ours, (FlexOpenAI, AsyncFlexOpenAI))
    assert not isinstance(before, (FlexOpenAI, AsyncFlexOpenAI))
    assert type(before) is type(after)
    for client in (before, ours, after):
        assert isinstance(client, (openai.OpenAI, openai.AsyncOpenAI))
        assert isinstance(client, type(before))


def test_the_module_level_client(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its settings stay those of the module, of which the SDK's defaults say nothing."""
    monkeypatch.setattr(openai, "_client", None)
    monkeypatch.setattr(openai, "http_client", None)  # the SDK sets it
    monkeypatch.setattr(openai, "api_key", "sk-fake")
    monkeypatch.setenv("FLEXTIER_FLEX_TIMEOUT", "1000")
    install()
    with flextier.track() as calls:
        assert lane_of(openai) == "flex"
    assert "flex_timeout 1000 s (FLEXTIER_FLEX_TIMEOUT)" in str(calls[0].limits)
    [client] = flextier.installed_clients()
    ASKED.append(client)


def test_a_subclass_that_is_defined_later(sim: Simulator) -> None:
    """It is the SDK's subclass, keeps its methods, and its instances are on the lanes."""
    install()

    class Logging(openai.OpenAI):
        def request(self, *args: Any, **kwargs: Any) -> Any:
            seen.append(kwargs)
            return super().request(*args, **kwargs)

    seen: list[Any] = []
    client = Logging(timeout=7)
    assert lane_of(client) == "flex"
    assert len(seen) == 1
    assert isinstance(client, Logging)
    assert (type(client).__name__, type(client).__module__) == ("Logging", __name__)
    assert isinstance(client.with_options(timeout=3), Logging)
    assert not issubclass(Logging, FlexOpenAI)


def test_a_subclass_that_permits_no_other_base(
    sim: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Its instances stay as they are, which the log says."""

    class Strict(openai.OpenAI):
        def __init_subclass__(cls, *, needed: int) -> None: ...

    install()
    assert lane_of(Strict()) == "default"
    assert "Strict stays as it is, its calls take no lanes" in caplog.text
    assert flextier.installed_clients() == []


def test_other_clients_are_left_alone(sim: Simulator) -> None:
    """Those for Azure, and flextier's own."""
    install(policy={"deadline": 60})
    azure = openai.AzureOpenAI(api_key="k", azure_endpoint="https://a.example", api_version="1")
    own = FlexOpenAI()
    assert type(azure) is openai.AzureOpenAI
    assert type(own) is FlexOpenAI
    assert own.policy == FlexPolicy()
    assert flextier.installed_clients() == []


# --- the classes stay what they are -------------------------------------------------------------


def test_names_signatures_and_pickles(sim: Simulator) -> None:
    """Libraries compare, inspect and pickle the classes."""
    names = (openai.OpenAI, openai.AsyncOpenAI, sdk_module.OpenAI, openai.Client)
    signatures = [inspect.signature(cls) for cls in names]
    install()
    assert (openai.OpenAI, openai.AsyncOpenAI, sdk_module.OpenAI, openai.Client) == names
    assert [inspect.signature(cls) for cls in names] == signatures
    assert pickle.loads(pickle.dumps(openai.OpenAI)) is Earlier


def test_copies(sim: Simulator) -> None:
    """They are on the lanes, too, under the same policy; pickling fails, as the SDK's does."""
    install(policy={"patience": 5})
    client: Any = openai.OpenAI()
    for copied in (client.copy(), client.with_options(timeout=9), copy.deepcopy(client)):
        assert lane_of(copied) == "flex"
        assert copied.policy.patience == 5
    with pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(client)


def test_wrong_arguments(sim: Simulator) -> None:
    """They are the error that the SDK raises, and leave nothing behind."""
    install()
    with pytest.raises(TypeError, match="colour"):
        openai.OpenAI(colour="red")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        openai.OpenAI("sk-fake")  # type: ignore[misc]
    assert flextier.installed_clients() == []


def test_a_library_that_wraps_the_constructor_meanwhile(
    sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its wrapper stays; what is inside does nothing until flextier is installed again."""
    install()
    inner = openai.OpenAI.__init__
    built: list[Any] = []

    def wrapper(self: Any, *args: Any, **kwargs: Any) -> None:
        built.append(self)
        inner(self, *args, **kwargs)

    monkeypatch.setattr(openai.OpenAI, "__init__", wrapper)
    lanes = [lane_of(openai.OpenAI())]
    uninstall()
    lanes.append(lane_of(openai.OpenAI()))
    install()
    lanes.append(lane_of(openai.OpenAI()))
    assert lanes == ["flex", "default", "flex"]
    assert openai.OpenAI.__init__ is wrapper
    assert len({id(client) for client in built}) == 3
    monkeypatch.undo()
    monkeypatch.setenv("PYTHONPATH", "")


# --- policies, and the list ---------------------------------------------------------------------


def test_the_policy(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the last install(), else of the environment; a client's own arguments override it."""
    monkeypatch.setenv("FLEXTIER_PATIENCE", "7")

    def built(**arguments: Any) -> FlexPolicy:
        return openai.OpenAI(**arguments).policy  # type: ignore[attr-defined, no-any-return]

    install()
    assert built().patience == 7
    install(policy={"patience": 8, "max_retries": 4})
    assert built().patience == 8
    assert built().max_retries == 4
    assert built(max_retries=0).max_retries == 0
    assert built(timeout=20).flex_timeout == 20
    assert built(timeout=math.inf, max_retries=math.inf).max_retries > 1000
    install(policy=FlexPolicy(lanes=("standard",)))
    assert built().lanes == ("standard",)


def test_a_wrong_policy(sim: Simulator) -> None:
    """It is an error at once, and nothing is installed."""
    with pytest.raises(PolicyError, match="patience"):
        install(policy={"patience": "soon"})
    assert type(openai.OpenAI()) is openai.OpenAI


def test_the_list_of_clients(sim: Simulator) -> None:
    """It keeps none alive."""
    install()
    one, two = openai.OpenAI(), openai.AsyncOpenAI()
    assert sorted(map(id, flextier.installed_clients())) == sorted(map(id, (one, two)))
    uninstall()
    del one
    gc.collect()
    assert flextier.installed_clients() == [two]


def test_the_log(sim: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    """A line when it begins, and at DEBUG one for each client."""
    caplog.set_level(logging.DEBUG, logger="flextier")
    install()
    install()
    client = openai.OpenAI()
    assert caplog.messages == [
        "openai.OpenAI and openai.AsyncOpenAI build flextier's clients from now on",
        f"built a client in place of the SDK's: {type(client).__name__}",
    ]
