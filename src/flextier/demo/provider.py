"""The API that the demo calls: the simulator with its weather, or the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

LATENCY = {"flex": (0.2, 0.6), "standard": (0.1, 0.3)}
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True)
class DemoWeather:
    """A simulated weather, and a policy with matching times.

    Outages are much shorter than real ones, and so are the times of the policy.
    """

    spec: str
    """The weather, as ``flextier sim --weather`` takes it."""
    policy: dict[str, Any]


_POLICY = {
    "lanes": ("flex", "standard"),
    "deadline": None,
    "patience": 5,
    "flex_timeout": 2,
    "standard_timeout": 10,
    "max_retries": 2,
    "backoff_initial": 0.3,
    "backoff_max": 2,
}

LONG_OUTAGE = DemoWeather("outage=1-7,slots=12,refuse=0.1,stall=0.04", _POLICY)
"""An outage of six seconds, a dozen slots, some refusals, a few stalls."""

SHORT_OUTAGE = DemoWeather(
    "outage=0.2-1.3,slots=12,refuse=0.1,stall=0.04",
    {**_POLICY, "patience": 0.8, "flex_timeout": 1},
)
"""The same with an outage of one second."""


class DemoProvider:
    """The real API; the environment has the key, the base URL and the policy."""

    is_simulated = False

    def arguments(self, weather: DemoWeather) -> dict[str, Any]:
        """Arguments for a model that calls this API."""
        return {}

    def start(self, weather: DemoWeather) -> None:
        """Start the weather, and the count of requests."""

    def requests(self) -> int | None:
        """Number of requests since the start, without embeddings; None: not counted."""
        return None


class SimulatedProvider(DemoProvider):
    """The simulator."""

    is_simulated = True

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator
        self._before = 0

    def arguments(self, weather: DemoWeather) -> dict[str, Any]:
        """Base URL, a dummy key, and the policy."""
        return {
            "base_url": self._simulator.base_url,
            "api_key": "simulated",
            "policy": weather.policy,
        }

    def start(self, weather: DemoWeather) -> None:
        """Start the weather, and the count of requests.

        Raises:
            ValueError: the weather is invalid.
        """
        from flextier.sim import Weather

        parsed = Weather.parse(weather.spec)
        self._simulator.weather = replace(
            parsed,
            flex_latency=parsed.flex_latency or LATENCY["flex"],
            standard_latency=parsed.standard_latency or LATENCY["standard"],
        )
        self._before = self._counted()

    def requests(self) -> int:
        """The simulator's own count, without embeddings, which flextier does not handle."""
        return self._counted() - self._before

    def _counted(self) -> int:
        stats = self._simulator.stats()
        return int(stats["requests"] - stats["paths"].get(EMBEDDINGS, 0))


@contextmanager
def provider(live: bool, seed: int) -> Iterator[DemoProvider]:
    """The real API, or a simulator that runs as long as the block."""
    if live:
        yield DemoProvider()
        return
    from flextier.sim import Simulator

    with Simulator(seed=seed, record_bodies=False) as simulator:
        yield SimulatedProvider(simulator)
