"""A simulated OpenAI with flex weather: a real HTTP server on loopback, no key, no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import lazy_getattr

if TYPE_CHECKING:
    from flextier.sim.base.request_log import SeenRequest as SeenRequest
    from flextier.sim.base.tokens import Tokens as Tokens
    from flextier.sim.behavior.background_behavior import BackgroundWeather as BackgroundWeather
    from flextier.sim.behavior.background_outcomes import BackgroundOutcome as BackgroundOutcome
    from flextier.sim.behavior.batch_behavior import BatchWeather as BatchWeather
    from flextier.sim.behavior.batch_outcomes import BatchOutcome as BatchOutcome
    from flextier.sim.behavior.faults import Fault as Fault
    from flextier.sim.behavior.weather import Weather as Weather
    from flextier.sim.simulator import Simulator as Simulator

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
    "BackgroundOutcome": "flextier.sim.behavior.background_outcomes",
    "BackgroundWeather": "flextier.sim.behavior.background_behavior",
    "BatchOutcome": "flextier.sim.behavior.batch_outcomes",
    "BatchWeather": "flextier.sim.behavior.batch_behavior",
    "Fault": "flextier.sim.behavior.faults",
    "SeenRequest": "flextier.sim.base.request_log",
    "Simulator": "flextier.sim.simulator",
    "Tokens": "flextier.sim.base.tokens",
    "Weather": "flextier.sim.behavior.weather",
}

__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
