"""A simulated OpenAI with flex weather: a real HTTP server on loopback, no key, no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._lazy import lazily

if TYPE_CHECKING:
    from flextier.sim.accounts import SeenRequest as SeenRequest
    from flextier.sim.background.outcomes import BackgroundOutcome as BackgroundOutcome
    from flextier.sim.background.weather import BackgroundWeather as BackgroundWeather
    from flextier.sim.batch.outcomes import BatchOutcome as BatchOutcome
    from flextier.sim.batch.weather import BatchWeather as BatchWeather
    from flextier.sim.faults import Fault as Fault
    from flextier.sim.simulator import Simulator as Simulator
    from flextier.sim.tokens import Tokens as Tokens
    from flextier.sim.weather import Weather as Weather

__all__ = [
    "BackgroundOutcome",
    "BackgroundWeather",
    "BatchOutcome",
    "BatchWeather",
    "Fault",
    "SeenRequest",
    "Simulator",
    "Tokens",
    "Weather",
]

# Loaded when first used, so that the pytest plugin and `flextier --help` do not pay for a server.
_HOMES = {
    "BackgroundOutcome": "background.outcomes",
    "BackgroundWeather": "background.weather",
    "BatchOutcome": "batch.outcomes",
    "BatchWeather": "batch.weather",
    "Fault": "faults",
    "SeenRequest": "accounts",
    "Simulator": "simulator",
    "Tokens": "tokens",
    "Weather": "weather",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
