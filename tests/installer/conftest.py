"""Fixtures of the tests of install() and of `flextier exec`."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

import flextier
from flextier.installer.replacement import REPLACEMENT
from flextier.sim import Simulator


@pytest.fixture
def sim(flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A simulator that clients without arguments use; nothing is installed after the test."""
    monkeypatch.setenv("OPENAI_BASE_URL", flextier_sim.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fake")
    monkeypatch.setenv("PYTHONPATH", "")  # put back after the test
    REPLACEMENT._clients.clear()  # of other tests
    stock = [openai.OpenAI.__init__, openai.AsyncOpenAI.__init__]
    yield flextier_sim
    flextier.uninstall()
    assert [openai.OpenAI.__init__, openai.AsyncOpenAI.__init__] == stock
