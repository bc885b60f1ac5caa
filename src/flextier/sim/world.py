"""Everything about the simulated provider that changes while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from flextier.sim import checks
from flextier.sim.accounts import Accounts
from flextier.sim.asks import Ask
from flextier.sim.faults import Fault
from flextier.sim.files import FileStore
from flextier.sim.rates import Rates
from flextier.sim.script import Script
from flextier.sim.tokens import PromptCache
from flextier.sim.weather import Moment, Weather


@dataclass(frozen=True)
class _Climate:
    """A weather, the moment it began, its random numbers, and the requests of its last minute.

    Changed together or not at all.
    """

    weather: Weather
    epoch: float
    chance: Random
    rates: Rates


class World:
    """The weather and its clock, the script, the accounts, the prompt cache, the files.

    Requests read it in the server's thread; the setters may be used from any.
    """

    def __init__(
        self,
        weather: Weather,
        *,
        latency: float,
        flex_latency: float,
        seed: int,
        record_bodies: bool,
        keep_requests: int,
        clock: Callable[[], float],
    ) -> None:
        checks.not_negative("latency", latency)
        checks.not_negative("flex_latency", flex_latency)
        self.script = Script()
        self.connections: Callable[[], int] = lambda: 0
        self.record_bodies = record_bodies
        self._latency = latency
        self._flex_latency = flex_latency
        self._seed = seed
        self._keep = keep_requests
        self._clock = clock
        self.weather = weather
        self.reset()

    def reset(self) -> None:
        """Forget requests, counters, scripts, caches and files; restart the weather's clock.

        Requests in flight end in the old accounts.
        """
        self.script.clear()
        self.accounts = Accounts(self._keep)
        self.cache = PromptCache()
        self.files = FileStore()
        self.weather = self.weather  # the setter restarts the clock

    @property
    def weather(self) -> Weather:
        """The weather now; setting it restarts its clock and its random numbers."""
        return self._climate.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._climate = _Climate(weather, self._clock(), Random(self._seed), Rates())

    def next_fault(self, ask: Ask, path: str, account: str = "") -> Fault:
        """What happens to a request: the script decides, then the weather."""
        climate = self._climate
        now = self._clock() - climate.epoch
        recent = climate.rates.before(account, ask.model, now)
        try:
            scripted = self.script.take(ask.lane, ask.model, path, ask.stream)
            if scripted is not None:
                return scripted
            moment = Moment(now, self.accounts.flex_in_use[self.pool(ask)], recent)
            return climate.weather.decide(
                ask.lane, ask.model, moment, climate.chance, stream=ask.stream, summary=ask.summary
            )
        finally:
            climate.rates.arrive(account, ask.model, now)

    def pool(self, ask: Ask) -> str:
        """Whose slots a request uses."""
        return self._climate.weather.pool(ask.model)

    def latency(self, ask: Ask) -> float:
        """How long an answer takes that is begun now, in seconds."""
        default = self._flex_latency if ask.lane == "flex" else self._latency
        climate = self._climate
        now = self._clock() - climate.epoch
        return climate.weather.seconds(ask.lane, default, climate.chance, now=now, model=ask.model)

    def refusal_latency(self, ask: Ask) -> float:
        """How long a refusal takes, in seconds."""
        climate = self._climate
        return climate.weather.refusal_seconds(0.0, climate.chance, model=ask.model)

    def stats(self) -> dict[str, Any]:
        """What ``GET /stats`` shows."""
        return {**self.accounts.stats(), "connections": self.connections()}
