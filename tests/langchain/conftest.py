"""Fixtures of the LangChain tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flextier.langchain import ChatOpenAIFlex

KEY = "sk-fake-key-for-tests"
FAST = {"backoff_initial": 0.01, "backoff_max": 0.02, "standard_reserve": 0.5}


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


@pytest.fixture
def make(sim: Any) -> Callable[..., ChatOpenAIFlex]:
    """Makes models of the simulator."""

    def make_model(**arguments: Any) -> ChatOpenAIFlex:
        policy = {**FAST, **arguments.pop("policy", {})}
        defaults = {"model": "o3", "base_url": sim.base_url, "api_key": KEY, "policy": policy}
        return ChatOpenAIFlex(**{**defaults, **arguments})

    return make_model


@pytest.fixture(params=["chat", "responses"])
def llm(request: pytest.FixtureRequest, make: Callable[..., ChatOpenAIFlex]) -> ChatOpenAIFlex:
    """A model on each of the two APIs."""
    return make(use_responses_api=request.param == "responses", stream_usage=True)
