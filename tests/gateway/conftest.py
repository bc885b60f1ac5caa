"""Clients of a gateway that runs in this process, on a port, before the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flextier.sim import Simulator
from tests.client.callers import CALLERS, STREAMS
from tests.serve.conftest import Served, gateway


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to make a call that it asks for."""
    for name, callers in (("caller", CALLERS), ("stream", STREAMS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, callers, ids=str)


@pytest.fixture(scope="module")
def shared(flextier_sim_server: Simulator) -> Iterator[Served]:
    """A gateway that the tests of a module share, with the policy of a client without one."""
    with gateway(flextier_sim_server, policy={"backoff_initial": 1, "patience": None}) as served:
        yield served


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim
