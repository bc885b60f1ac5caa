"""Everything about the simulated provider that changes while it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from flextier.sim.base import validation
from flextier.sim.base.api_errors import ErrorReply, server_error
from flextier.sim.base.clock import ProviderClock
from flextier.sim.base.flex_bucket import FlexBuckets
from flextier.sim.base.request_log import RequestLog
from flextier.sim.base.request_rate import RecentRequests, over
from flextier.sim.base.token_bucket import TokenBuckets
from flextier.sim.base.tokens import PromptCache
from flextier.sim.behavior.background_behavior import BackgroundWeather
from flextier.sim.behavior.batch_behavior import BatchWeather
from flextier.sim.behavior.fault_queue import FaultQueue
from flextier.sim.behavior.faults import Fault
from flextier.sim.behavior.weather import Moment, Weather
from flextier.sim.model.request import ModelRequest
from flextier.sim.stores.background_responses import ResponseStore
from flextier.sim.stores.batches import BatchStore
from flextier.sim.stores.files import FileStore

# What is not for an answer, by the part of the weather that breaks it.
_BATCHES = ("/v1/files", "/v1/batches")
_RESPONSES = "/v1/responses/"


@dataclass(frozen=True)
class _ActiveWeather:
    """A weather, the moment it began, its random numbers, and what its limits count.

    Changed together or not at all.
    """

    weather: Weather
    epoch: float
    chance: Random
    rates: RecentRequests
    tokens: TokenBuckets
    flex: FlexBuckets


class World:
    """The weather and its clock, the script, the accounts, the cache; files, batches, responses.

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
        validation.positive("speed", speed)
        validation.not_negative("latency", latency)
        validation.not_negative("flex_latency", flex_latency)
        self.script = FaultQueue()
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
        """Forget requests, counters, scripts, caches, files, batches, responses; restart clocks.

        Requests in flight end in the old accounts, and unfinished batches are stopped.
        """
        self.batches.stop()
        self._start()

    def _start(self) -> None:
        self.script.clear()
        self.accounts = RequestLog(self._keep, record_paid=self._record_paid)
        self.cache = PromptCache()
        clock = ProviderClock(self._clock, self._speed)
        self.files = FileStore(clock.now)
        self.batches = BatchStore(
            self.files, self.accounts, self.cache, clock, self.batch_weather, self._seed
        )
        self.responses = ResponseStore(self.accounts, self.cache, clock, self._seed)
        self.weather = self.weather  # the setter restarts the clock

    @property
    def weather(self) -> Weather:
        """The weather now; setting it restarts its clock and its random numbers."""
        return self._climate.weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._climate = _ActiveWeather(
            weather,
            self._clock(),
            Random(self._seed),
            RecentRequests(),
            TokenBuckets(),
            FlexBuckets(),
        )

    def next_fault(
        self, ask: ModelRequest, path: str, account: str = "", lane: str | None = None
    ) -> Fault:
        """What happens to a request: the script decides, then the weather.

        ``lane`` is what the script knows it by; None: the one it asks for.
        """
        climate = self._climate
        now = self._clock() - climate.epoch
        recent = climate.rates.before(account, ask.model, now)
        own, pool = climate.weather.of(ask.model), self.pool(ask)
        fault = self.script.take(lane or ask.lane, ask.model, path, ask.stream)
        if fault is None:
            used = climate.tokens.used(account, ask.model, own.tpm, now)
            in_use = self.accounts.flex_in_use[pool]
            flex_used = climate.flex.used(pool, own.bucket, now)
            moment = Moment(now, in_use, recent, used, ask.size, flex_used)
            fault = climate.weather.decide(
                ask.lane, ask.model, moment, climate.chance, stream=ask.stream, summary=ask.summary
            )
        climate.rates.arrive(account, ask.model, now)
        if not isinstance(fault.action, ErrorReply):
            climate.tokens.take(account, ask.model, own.tpm, ask.size, now)
            if ask.lane == "flex":
                climate.flex.take(pool, own.bucket, now)
        return fault

    def limit_headers(self, account: str, model: str) -> dict[str, str]:
        """The headers in which answers state the rate limits of an account and a model."""
        climate = self._climate
        now = self._clock() - climate.epoch
        own = climate.weather.of(model)
        recent = climate.rates.before(account, model, now)
        return own.limit_headers(recent, climate.tokens.used(account, model, own.tpm, now))

    def next_other_fault(
        self, method: str, path: str, route: str, account: str = ""
    ) -> Fault | None:
        """What happens to a request that asks for no answer; None: nothing out of the ordinary.

        ``route`` is the path with ``{id}`` in place of an id.
        """
        climate = self._climate
        limited = None
        if method == "GET" and route.startswith(_RESPONSES):
            limited = self._limit_polls(climate, account)
        scripted = self.script.take_other(method, path, route)
        if scripted is not None:
            return scripted
        if limited is not None:
            return limited
        broken = 0.0
        if route.startswith(_BATCHES):
            broken = climate.weather.batch.api_errors
        elif route.startswith(_RESPONSES):
            broken = climate.weather.background.api_errors
        return Fault(server_error()) if broken and climate.chance.random() < broken else None

    def _limit_polls(self, climate: _ActiveWeather, account: str) -> Fault | None:
        """The answer to one look too many; every look counts."""
        limit = climate.weather.background.poll_rpm
        if limit is None:
            return None
        now = self._clock() - climate.epoch
        # Not a model's name, so that requests for answers are counted apart.
        kind = f"GET {_RESPONSES}"
        limited = over(climate.rates.before(account, kind, now), limit, now)
        climate.rates.arrive(account, kind, now)
        return None if limited is None else Fault(limited)

    def background_weather(self, model: str) -> BackgroundWeather:
        """How background responses of a model behave; of no model: of those without their own."""
        weather = self._climate.weather
        return (weather.of(model) if model else weather).background

    def batch_weather(self, model: str) -> BatchWeather:
        """How batches of a model behave; of no model: before it is known."""
        weather = self._climate.weather
        return (weather.of(model) if model else weather).batch

    def pool(self, ask: ModelRequest) -> str:
        """Whose slots a request uses."""
        return self._climate.weather.pool(ask.model)

    def latency(self, ask: ModelRequest) -> float:
        """How long an answer takes that is begun now, in seconds."""
        default = self._flex_latency if ask.lane == "flex" else self._latency
        climate = self._climate
        now = self._clock() - climate.epoch
        return climate.weather.seconds(ask.lane, default, climate.chance, now=now, model=ask.model)

    def refusal_latency(self, ask: ModelRequest) -> float:
        """How long a refusal takes, in seconds."""
        climate = self._climate
        return climate.weather.refusal_seconds(0.0, climate.chance, model=ask.model)

    def stats(self) -> dict[str, Any]:
        """What ``GET /stats`` shows."""
        background = self.responses.stats()  # first, because it bills what is due
        return {
            **self.accounts.stats(),
            "background": background,
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
        self.responses.advance()
        return self.accounts.paid.report()
