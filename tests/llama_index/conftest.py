"""Fixtures of the LlamaIndex tests, which need openai 2.x: where it is not, they are not there."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("llama_index") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim
