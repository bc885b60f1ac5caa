"""What all tests share: an environment without settings, and a process that has learnt nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from flextier.capacity import CAPACITY

_PREFIXES = ("OPENAI_", "FLEXTIER_", "LANGCHAIN_", "LANGSMITH_", "AZURE_")


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the settings, the keys or the learnt capacity of another, or of the machine."""
    for name in list(os.environ):
        if name.startswith(_PREFIXES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    CAPACITY.reset()
    yield
    CAPACITY.reset()
