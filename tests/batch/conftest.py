"""Fixtures of the tests of the batch lane, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from flextier.batch import fan_out, manager, spool_file
from flextier.journal import open_journals
from flextier.lanes import eligibility
from flextier.planning import without_flex
from flextier.sim import Simulator, Weather
from tests.batch.crowd import Crowd, Said, patch_all, tasks, threads
from tests.client.callers import PLAIN


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to make a call, or many, that it asks for."""
    if "plain" in metafunc.fixturenames:
        metafunc.parametrize("plain", PLAIN, ids=str)


@pytest.fixture(scope="session")
def batch_sim() -> Iterator[Simulator]:
    """The simulator that the tests of batches share."""
    with Simulator(record_paid=True) as simulator:
        yield simulator


@pytest.fixture
def sim(batch_sim: Simulator) -> Simulator:
    """A simulator whose batches are done at once, and which counts what is paid."""
    batch_sim.weather = Weather()
    batch_sim.reset()
    return batch_sim


@pytest.fixture(params=[threads, tasks], ids=["threads", "tasks"])
def crowd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Crowd:
    """Makes calls that come into one file, however slow the machine is: it is full then."""

    def ask(made: dict[str, Any], asked: Sequence[str], **body: Any) -> list[Said]:
        if spool_file.MAX_LINES == MAX_LINES:
            patch_all(monkeypatch, "MAX_LINES", len(asked))
        said: list[Said] = request.param(made, asked, **body)
        return said

    return ask


MAX_LINES = spool_file.MAX_LINES


@pytest.fixture(autouse=True)
def clean_desks() -> Iterator[None]:
    """No test sees another's batches, journals or warnings, and none leaves a thread that works."""
    forget()
    yield
    manager.detach()
    left = working()
    forget()
    assert not left, f"still at work: {left}"


def working() -> list[str]:
    """The batch threads that are still running although no call is waiting."""
    for one in manager.MANAGERS.values():
        one.cancel_unjournaled(time.monotonic() + 5.0)
    for _ in range(60_000):
        left = [t.name for t in threading.enumerate() if t.name.startswith("flextier-batch-")]
        if not left:
            return []
        time.sleep(0.005)
    return left


def forget() -> None:
    """Start as a new process does."""
    for one in manager.MANAGERS.values():
        if one._api is not None:
            one._api._client.close()
            one._api._transfers.close()
    manager.MANAGERS.clear()
    for known in open_journals._OPEN.values():
        known.close()
    open_journals._OPEN.clear()
    fan_out._warn.cache_clear()
    eligibility.warn_ineligible.cache_clear()
    without_flex.warn_without_flex.cache_clear()
