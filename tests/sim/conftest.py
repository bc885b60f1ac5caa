"""Simulators and callers: every test speaks to a real server over a real socket."""

from __future__ import annotations

import pytest

from flextier.sim import Simulator
from flextier.sim.pytest_plugin import flextier_sim, flextier_sim_server

from .callers import CALLERS, Caller

__all__ = ["flextier_sim", "flextier_sim_server"]


@pytest.fixture
def sim(flextier_sim: Simulator) -> Simulator:
    """The plugin's own fixture, under a shorter name."""
    return flextier_sim


@pytest.fixture(params=CALLERS, ids=lambda kind: kind.__name__)
def caller(request: pytest.FixtureRequest, sim: Simulator) -> Caller:
    """Both endpoints, sync and async."""
    kind: type[Caller] = request.param
    return kind(sim.base_url)
