"""Tests of the lean path have it on, also where the others run without (``make test-lean-off``)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flextier._openai import lean
from flextier.variables import LEAN


@pytest.fixture(autouse=True)
def lean_is_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever ``FLEXTIER_LEAN`` says."""
    monkeypatch.delenv(LEAN, raising=False)
    lean.is_lean.cache_clear()
    yield
    lean.is_lean.cache_clear()
