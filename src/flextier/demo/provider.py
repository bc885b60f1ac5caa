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
    "gateway": None,  # it does not serve the simulator
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
    """The API that is called: simulators, the first for flextier; without any, the real API, for
    which the environment has the key, the base URL and the policy."""

    def __init__(self, *simulators: Any) -> None:
        self.simulators = simulators
        self._before = 0

    def arguments(self, weather: DemoWeather) -> tuple[dict[str, Any], ...]:
        """Arguments for flextier's model, and for those that ask the same without flextier.

        Simulators get a dummy key; the others' attempts get flextier's limit of one on flex.
        """
        limit = {"timeout": weather.policy["flex_timeout"]}
        limits = [{"policy": weather.policy}, *[limit] * PEERS]
        return tuple(
            {"base_url": simulator.base_url, "api_key": "simulated", **own}
            for simulator, own in zip(self.simulators, limits, strict=False)
        ) or ({},)

    def start(self, weather: DemoWeather) -> None:
        """Start the weather, and the count of requests.

        Raises:
            ValueError: the weather is invalid.
        """
        if not self.simulators:
            return
        from flextier.sim import Weather

        parsed = Weather.parse(weather.spec)
        for simulator in self.simulators:
            simulator.weather = replace(
                parsed,
                flex_latency=parsed.flex_latency or LATENCY["flex"],
                standard_latency=parsed.standard_latency or LATENCY["standard"],
            )
        self._before = self._counted()

    def requests(self) -> int | None:
        """The simulator's own count since the start; None: the real API.

        Without embeddings, which flextier does not handle.
        """
        return self._counted() - self._before if self.simulators else None

    def _counted(self) -> int:
        stats = self.simulators[0].stats()
        return int(stats["requests"] - stats["paths"].get(EMBEDDINGS, 0))


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
        yield DemoProvider(*simulators)
