"""Fixtures of the tests over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flextier.sim import Simulator
from tests.client.callers import CALLERS, PLAIN, STREAMS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to make a call that it asks for."""
    for name, callers in (("caller", CALLERS), ("plain", PLAIN), ("stream", STREAMS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, callers, ids=str)


@pytest.fixture
def own_sim() -> Iterator[Simulator]:
    """A simulator that no other test has connections to, for counting them."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim
