"""A simulated OpenAI with flex weather: a real HTTP server on loopback, no key, no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use

if TYPE_CHECKING:
    from flextier.sim.base.request_log import SeenRequest
    from flextier.sim.base.tokens import Tokens
    from flextier.sim.behavior.background_behavior import BackgroundWeather
    from flextier.sim.behavior.background_outcomes import BackgroundOutcome
    from flextier.sim.behavior.batch_behavior import BatchWeather
    from flextier.sim.behavior.batch_outcomes import BatchOutcome
    from flextier.sim.behavior.faults import Fault
    from flextier.sim.behavior.weather import Weather
    from flextier.sim.simulator import Simulator

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
if not TYPE_CHECKING:
    __getattr__, __dir__ = load_on_first_use(
        __name__,
        __all__,
        {
            "sim.behavior.background_outcomes": "BackgroundOutcome",
            "sim.behavior.background_behavior": "BackgroundWeather",
            "sim.behavior.batch_outcomes": "BatchOutcome",
            "sim.behavior.batch_behavior": "BatchWeather",
            "sim.behavior.faults": "Fault",
            "sim.base.request_log": "SeenRequest",
            "sim.simulator": "Simulator",
            "sim.base.tokens": "Tokens",
            "sim.behavior.weather": "Weather",
        },
    )
