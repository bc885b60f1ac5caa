"""Fixtures of the tests of background lanes, over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flextier.background import lifecycle, poll_schedule, waiters
from flextier.sim import Simulator
from tests.background.asking import ASKERS, background
from tests.batch.conftest import forget
from tests.batch.crowd import patch_all

MIN_POLL_INTERVAL = 0.02


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each client that it asks for."""
    if "asker" in metafunc.fixturenames:
        metafunc.parametrize("asker", ASKERS, ids=str)


@pytest.fixture(scope="session")
def background_sim() -> Iterator[Simulator]:
    """The simulator that these tests share."""
    with Simulator(record_paid=True) as simulator:
        yield simulator


@pytest.fixture
def sim(background_sim: Simulator) -> Simulator:
    """A simulator whose responses are done soon, and which counts what is paid."""
    background_sim.weather = background()
    background_sim.reset()
    return background_sim


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first looks come soon, so that nothing is waited for."""
    patch_all(monkeypatch, "MIN_POLL_INTERVAL", MIN_POLL_INTERVAL, "flextier.background")


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """No test sees another's pace, journals or warnings, and none leaves a call that waits."""
    forget()
    poll_schedule.POLL_SCHEDULES.clear()
    lifecycle.warn_unstored.cache_clear()
    yield
    left = [one for one in waiters._BY_CLIENT.values() if not one.empty]
    waiters._BY_CLIENT.clear()
    forget()
    assert not left, "calls are counted as waiting that have ended"
