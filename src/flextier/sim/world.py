"""Everything about the simulated provider that changes while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from flextier.sim import checks
from flextier.sim.accounts import FREE, Accounts
from flextier.sim.asks import Ask
from flextier.sim.batch.store import BatchStore
from flextier.sim.batch.weather import BatchWeather
from flextier.sim.errors import server_error
from flextier.sim.faults import Fault
from flextier.sim.files import FileStore
from flextier.sim.provider_clock import ProviderClock
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
    """The weather and its clock, the script, the accounts, the prompt cache, files and batches.

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
        speed: float = 1.0,
        record_paid: bool = False,
    ) -> None:
        checks.positive("speed", speed)
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
        self._speed = speed
        self._record_paid = record_paid
        self.weather = weather
        self._start()

    def reset(self) -> None:
        """Forget requests, counters, scripts, caches, files, batches; restart the clocks.

        Requests in flight end in the old accounts, and unfinished batches are stopped.
        """
        self.batches.stop()
        self._start()

    def _start(self) -> None:
        self.script.clear()
        self.accounts = Accounts(self._keep, record_paid=self._record_paid)
        self.cache = PromptCache()
        clock = ProviderClock(self._clock, self._speed)
        self.files = FileStore(clock.now)
        self.batches = BatchStore(
            self.files, self.accounts, self.cache, clock, self.batch_weather, self._seed
        )
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

    def next_other_fault(self, method: str, path: str, route: str) -> Fault | None:
        """What happens to a request that asks for no answer; None: nothing out of the ordinary.

        ``route`` is the path with ``{id}`` in place of an id.
        """
        scripted = self.script.take_other(method, path, route)
        if scripted is not None:
            return scripted
        climate = self._climate
        broken = climate.weather.batch.api_errors if route.startswith(FREE) else 0.0
        return Fault(server_error()) if broken and climate.chance.random() < broken else None

    def batch_weather(self, model: str) -> BatchWeather:
        """How batches of a model behave; of no model: before it is known."""
        weather = self._climate.weather
        return (weather.of(model) if model else weather).batch

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
        return {
            **self.accounts.stats(),
            "batches": self.batches.stats(),
            "files": self.files.stats(),
            "connections": self.connections(),
        }

    def paid(self) -> dict[str, Any]:
        """What ``GET /sim/paid`` shows.

        Raises:
            ValueError: Paid lines are not recorded.
        """
        if self.accounts.paid is None:
            raise ValueError("paid lines are not recorded: record_paid=True, or --record-paid")
        return self.accounts.paid.report()
