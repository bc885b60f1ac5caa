"""A simulated OpenAI with flex weather: a real HTTP server on loopback, no key, no cost."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flextier.sim.accounts import SeenRequest as SeenRequest
    from flextier.sim.faults import Fault as Fault
    from flextier.sim.simulator import Simulator as Simulator
    from flextier.sim.tokens import Tokens as Tokens
    from flextier.sim.weather import Weather as Weather

__all__ = ["Fault", "SeenRequest", "Simulator", "Tokens", "Weather"]

# Loaded when first used, so that the pytest plugin and `flextier --help` do not pay for a server.
_HOMES = {
    "Fault": "faults",
    "SeenRequest": "accounts",
    "Simulator": "simulator",
    "Tokens": "tokens",
    "Weather": "weather",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
