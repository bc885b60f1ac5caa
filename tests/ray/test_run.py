"""The arguments of run(), with what Ray would be given; Ray itself is not needed for that."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import flextier.ray
from flextier import FlexPolicy
from flextier.bulk import BulkError
from flextier.errors import PolicyError
from flextier.ray import GatewayAddress, RowWorker, cluster_gateway
from flextier.sim import Simulator


class Dataset:
    """Remembers what it is mapped with."""

    def __init__(self, *columns: str, id_column: str | None = None) -> None:
        self._columns = list(columns) or None
        config = None if id_column is None else SimpleNamespace(id_column=id_column)
        self.context = SimpleNamespace(checkpoint_config=config)

    def columns(self, *, fetch_if_missing: bool) -> list[str] | None:
        assert not fetch_if_missing  # that would run it
        return self._columns

    def map_batches(self, worker: type, **arguments: Any) -> Any:
        assert worker is RowWorker
        return arguments


@pytest.fixture(autouse=True)
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for Ray where it is not installed."""
    package, data = ModuleType("ray"), ModuleType("ray.data")
    data.ActorPoolStrategy = dict  # type: ignore[attr-defined]
    package.data = data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", package)
    monkeypatch.setitem(sys.modules, "ray.data", data)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the gateway of the cluster would be started with."""
    asked: list[Any] = []

    def start(*settings: Any) -> GatewayAddress:
        asked.append(settings)
        return GatewayAddress("http://10.0.0.1:8484", "secret", "https://api.example/v1")

    monkeypatch.setattr(sys.modules["flextier.ray.run"], "cluster_gateway", start)
    return asked


def run(target: Any = "chain:chain", dataset: Any = None, **arguments: Any) -> Any:
    """The arguments of the workers, and those of the map."""
    mapped: Any = flextier.ray.run(dataset or Dataset(), target, **arguments)
    return mapped["fn_constructor_kwargs"], mapped


def test_what_ray_is_given() -> None:
    """As many actors as asked for, async, with rows for all their slots."""
    _, mapped = run(workers=4, concurrency=100)
    assert mapped["batch_size"] == 100
    assert mapped["num_cpus"] == 0.5
    assert mapped["fn_constructor_args"] == ("chain:chain",)
    compute = mapped["compute"]
    assert (compute["min_size"], compute["max_size"]) == (4, 4)
    assert compute["max_concurrent_calls_per_actor"] > 1
    assert run(workers=(1, 8))[1]["compute"]["max_size"] == 8


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        ImportError, match=r'flextier.ray needs Ray Data: pip install "ray\[data\]"'
    ):
        run()


def test_the_gateway_of_the_cluster(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the journal and the budget; the rest of the policy goes with the calls."""
    worker, _ = run(policy={"lanes": ("flex",), "journal": "/j.db", "budget": 5}, key="id")
    [(journal, budget)] = started
    assert (journal, int(budget)) == ("/j.db", 5)
    assert worker["gateway"].url == "http://10.0.0.1:8484"
    assert worker["policy"]["lanes"] == ("flex",)
    monkeypatch.setenv("FLEXTIER_JOURNAL", "/other.db")
    run(key="id")
    assert started[-1] == ("/other.db", None)


def test_a_gateway_that_is_given(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument, policy or variable, its token by a variable."""
    monkeypatch.setenv("FLEXTIER_GATEWAY_TOKEN", "secret")
    url = "http://gateway:8484"
    for arguments in ({"gateway": f"{url}/v1"}, {"policy": FlexPolicy(gateway=url)}):
        worker, _ = run(**arguments)
        assert worker["gateway"] == GatewayAddress(url, "secret")
        assert worker["gateway"].base_url is None
    with pytest.raises(PolicyError, match="journal of calls through a gateway is set there"):
        run(gateway=url, policy={"journal": "j.db"}, key="id")
    monkeypatch.setenv("FLEXTIER_GATEWAY", url)
    assert run()[0]["gateway"].url == url
    assert run(gateway=False)[0]["gateway"] is None
    assert not started
    assert "secret" not in repr(worker)


def test_the_names_of_calls() -> None:
    """Are new in each run, unless there is a journal to find their responses in."""
    assert run(key="id")[0]["namespace"] != run(key="id")[0]["namespace"]
    assert run(key="id", policy={"journal": "j.db"})[0]["namespace"] == ""
    assert run(key="id", policy={"journal_namespace": "night"})[0]["namespace"] == "night"
    with pytest.raises(BulkError, match="a journal needs key"):
        run(policy={"journal": "j.db"})
    assert run(dataset=Dataset(id_column="id"))[0]["key"] == "id"


def test_what_is_wrong_is_said_at_once(started: list[Any]) -> None:
    """Before anything is started."""
    with pytest.raises(BulkError, match="key: no column 'id'; the columns are: 'text'"):
        run(dataset=Dataset("text"), key="id")
    with pytest.raises(BulkError, match="two columns 'output'"):
        run(dataset=Dataset("output"))
    with pytest.raises(BulkError, match="give MODULE:NAME"):
        run("chain")
    with pytest.raises(BulkError, match="a function without arguments that returns the target"):
        run(lambda row: row)
    with pytest.raises(BulkError, match="a list cannot be sent to the workers"):
        run([])
    assert not started


# --- the actor of the gateway ---------------------------------------------------------------------


def test_the_actor_serves(
    flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """With the key of the program that has started it, for those that know its token."""
    import logging

    import httpx

    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-driver")
    monkeypatch.setenv("OPENAI_BASE_URL", flextier_sim.base_url)
    monkeypatch.setenv("FLEXTIER_LEDGER", f"sqlite:///{tmp_path}/ledger.db")
    monkeypatch.setattr("flextier.serve.log.log_to_stderr", lambda: logging.INFO)
    here: Any = SimpleNamespace(util=SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1"))
    settings = cluster_gateway._settings(here, None, None)
    assert "sk-of" not in repr(settings)
    actor = cluster_gateway._GatewayActor(settings)
    try:
        url = f"http://127.0.0.1:{settings.port}"
        cluster_gateway._wait_until_ready(url)
        client = flextier.FlexOpenAI(base_url=f"{url}/v1", api_key=settings.token)
        client.responses.create(model="o4-mini", input="Hello")
        assert len(flextier_sim.requests) == 1
        assert httpx.get(f"{url}/status", trust_env=False).status_code == 401
        assert actor.settings() is settings
    finally:
        actor.stop()
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(BulkError, match="OPENAI_API_KEY is not set here"):
        cluster_gateway._settings(here, None, None)
