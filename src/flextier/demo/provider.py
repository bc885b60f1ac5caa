"""Where the demo's calls go: to the simulator and its weather, or to the real API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

LATENCY = {"flex": (0.2, 0.6), "standard": (0.1, 0.3)}
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True)
class DemoWeather:
    """A simulated weather, and a policy to match.

    Real outages last longer than anybody wants to watch; the policy's times are scaled down with
    them.
    """

    weather: str
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

LONG = DemoWeather("outage=1-7,slots=12,refuse=0.1,stall=0.04", _POLICY)
"""An outage of six seconds, a dozen slots, some refusals, a few stalls."""

SHORT = DemoWeather(
    "outage=0.2-1.3,slots=12,refuse=0.1,stall=0.04",
    {**_POLICY, "patience": 0.8, "flex_timeout": 1},
)
"""The same kind, over in less than two seconds."""


class DemoProvider:
    """The real API; the key, the address and the policy are the environment's business."""

    is_simulated = False

    def arguments(self, climate: DemoWeather) -> dict[str, Any]:
        """The arguments of a model that sends its calls here."""
        return {}

    def begin(self, climate: DemoWeather) -> None:
        """Start the weather's clock, and count requests from here."""

    def requests(self) -> int | None:
        """Requests for an answer since then; None: not counted."""
        return None


class SimulatedProvider(DemoProvider):
    """The simulator."""

    is_simulated = True

    def __init__(self, simulator: Any) -> None:
        self._simulator = simulator
        self._before = 0

    def arguments(self, climate: DemoWeather) -> dict[str, Any]:
        """Address, a key that is none, and the policy."""
        return {
            "base_url": self._simulator.base_url,
            "api_key": "simulated",
            "policy": climate.policy,
        }

    def begin(self, climate: DemoWeather) -> None:
        """As for every provider.

        Raises:
            ValueError: the weather is not one.
        """
        from flextier.sim import Weather

        weather = Weather.parse(climate.weather)
        self._simulator.weather = replace(
            weather,
            flex_latency=weather.flex_latency or LATENCY["flex"],
            standard_latency=weather.standard_latency or LATENCY["standard"],
        )
        self._before = self._counted()

    def requests(self) -> int:
        """The simulator's own count. Embeddings do not count: they are no calls of ours."""
        return self._counted() - self._before

    def _counted(self) -> int:
        stats = self._simulator.stats()
        return int(stats["requests"] - stats["paths"].get(EMBEDDINGS, 0))


@contextmanager
def provider(live: bool, seed: int) -> Iterator[DemoProvider]:
    """The real API, or a simulator for as long as the block runs."""
    if live:
        yield DemoProvider()
        return
    from flextier.sim import Simulator

    with Simulator(seed=seed, record_bodies=False) as simulator:
        yield SimulatedProvider(simulator)
