"""The API that the demo calls: the simulator with its weather, or the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

LATENCY = {"flex": (0.2, 0.6), "standard": (0.1, 0.3)}
EMBEDDINGS = "/v1/embeddings"
PEERS = 2
"""Number of ways to ask that are compared with flextier."""


@dataclass(frozen=True)
class DemoWeather:
    """A simulated weather, and a policy with matching times.

    Outages are much shorter than real ones, and so are the times of the policy.
    """

    spec: str
    """The weather, as ``flextier sim --weather`` takes it."""
    words: str
    """The same in words."""
    policy: dict[str, Any]


_ROOM = "12 slots; one request in ten is refused, one in 25 never answered"
_POLICY = {
    "lanes": ("flex", "standard"),
    "deadline": None,
    "patience": 30,
    "flex_timeout": 3,
    "standard_timeout": 10,
    "max_retries": 2,
    "backoff_initial": 0.3,
    "backoff_max": 2,
}

LONG_OUTAGE = DemoWeather(
    "outage=1-7,slots=12,refuse=0.1,stall=0.04", f"shut from second 1 to 7, {_ROOM}", _POLICY
)
"""An outage of six seconds, a dozen slots, some refusals, a few stalls."""

SHORT_OUTAGE = DemoWeather(
    "outage=0.2-1.3,slots=12,refuse=0.1,stall=0.04", f"shut for a second, {_ROOM}", _POLICY
)
"""The same with an outage of one second."""


class DemoProvider:
    """The real API; the environment has the key, the base URL and the policy."""

    is_simulated = False

    def arguments(self, weather: DemoWeather) -> dict[str, Any]:
        """Arguments for a model that calls this API."""
        return {}

    def peer_arguments(self, weather: DemoWeather) -> list[dict[str, Any]]:
        """Arguments for models that ask the same without flextier; empty: none do."""
        return []

    def start(self, weather: DemoWeather) -> None:
        """Start the weather, and the count of requests."""

    def requests(self) -> int | None:
        """Number of requests since the start, without embeddings; None: not counted."""
        return None


class SimulatedProvider(DemoProvider):
    """The simulator, and others with the same weather for those who ask without flextier."""

    is_simulated = True

    def __init__(self, simulator: Any, *peers: Any) -> None:
        self._simulator = simulator
        self._peers = peers
        self._before = 0

    def arguments(self, weather: DemoWeather) -> dict[str, Any]:
        """Base URL, a dummy key, and the policy."""
        return {**_connection(self._simulator), "policy": weather.policy}

    def peer_arguments(self, weather: DemoWeather) -> list[dict[str, Any]]:
        """Base URLs, a dummy key, and flextier's limit of an attempt on flex."""
        limit = {"timeout": weather.policy["flex_timeout"]}
        return [{**_connection(peer), **limit} for peer in self._peers]

    def start(self, weather: DemoWeather) -> None:
        """Start the weather, and the count of requests.

        Raises:
            ValueError: the weather is invalid.
        """
        from flextier.sim import Weather

        parsed = Weather.parse(weather.spec)
        for simulator in (self._simulator, *self._peers):
            simulator.weather = replace(
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


def _connection(simulator: Any) -> dict[str, Any]:
    return {"base_url": simulator.base_url, "api_key": "simulated"}


@contextmanager
def provider(live: bool, seed: int) -> Iterator[DemoProvider]:
    """The real API, or simulators that run as long as the block."""
    if live:
        yield DemoProvider()
        return
    from flextier.sim import Simulator

    with ExitStack() as running:
        simulators = [
            running.enter_context(Simulator(seed=seed, record_bodies=False))
            for _ in range(1 + PEERS)
        ]
        yield SimulatedProvider(*simulators)
