"""Fixtures of the LlamaIndex tests, which need openai 2.x: where it is not, they are not there."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("llama_index") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def sync_clients_closed() -> Iterator[None]:
    """No test leaves a client of an LLM to the garbage collector."""
    from tests.llama_index.llms import made

    yield
    while made:
        if (client := made.pop()._client) is not None:
            client.close()


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


@pytest.fixture
def flex_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator sells every model on flex: what counts are bodies, of models without it too."""
    monkeypatch.setattr("flextier.sim.behavior.weather.never_on_flex", lambda model: False)
