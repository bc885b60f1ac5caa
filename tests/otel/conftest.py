"""Fixtures of the OpenTelemetry tests: one instrumentation a test, over real sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.client.callers import CALLERS, PLAIN, STREAMS
from tests.otel.telemetry import Telemetry


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to make a call that it asks for."""
    for name, callers in (("caller", CALLERS), ("plain", PLAIN), ("stream", STREAMS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, callers, ids=str)


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


@pytest.fixture(autouse=True)
def no_settings_of_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own exporters, samplers and switches are not for the tests."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def otel() -> Iterator[Telemetry]:
    """An instrumented process."""
    telemetry = Telemetry()
    instrumentation = telemetry.instrument()
    yield telemetry
    instrumentation.uninstrument()
    telemetry.close()
