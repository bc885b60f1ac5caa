"""The pytest fixture ``flextier_sim``: a simulator that is fresh in every test.

The async clients stay on httpx in tests, unless ``FLEXTIER_AIOHTTP`` is set: tools that record or
fake requests replace httpx's methods.

Loaded by every pytest run of an environment that has flextier, so it imports the simulator only
when a test asks for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flextier.sim import Simulator


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Set ``FLEXTIER_AIOHTTP=0``, before the tests' own settings."""
    os.environ.setdefault("FLEXTIER_AIOHTTP", "0")


@pytest.fixture(scope="session")
def flextier_sim_server() -> Iterator[Simulator]:
    """The simulator that all tests of a session share; use ``flextier_sim`` instead."""
    from flextier.sim import Simulator

    with Simulator(record_paid=True) as simulator:
        yield simulator


@pytest.fixture
def flextier_sim(flextier_sim_server: Simulator) -> Simulator:
    """A simulator with an always open flex lane and nothing scripted, counted or seen."""
    from flextier.sim import Weather

    flextier_sim_server.weather = Weather()
    flextier_sim_server.reset()
    return flextier_sim_server
