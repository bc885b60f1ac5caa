"""Flex weather: what the flex lane does to a request, decided without I/O.

How long real outages last and how often flex refuses is not public: every number here is a
guess to rehearse with, not a forecast.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Any

from typing_extensions import TypedDict, Unpack

from flextier._utils.suggest import check_arguments
from flextier.lanes import FLEX
from flextier.pricing.model_lanes import lanes_of_model
from flextier.sim.base import token_bucket, validation
from flextier.sim.base.flex_bucket import Bucket, has_room
from flextier.sim.base.request_rate import MINUTE, over
from flextier.sim.behavior import weather_syntax
from flextier.sim.behavior.background_behavior import BackgroundWeather
from flextier.sim.behavior.batch_behavior import BatchWeather
from flextier.sim.behavior.faults import Fault, Serve

Seconds = float | tuple[float, float]
Spell = tuple[float, float, float]

DAY = 86_400.0
_ORDINARY = BatchWeather()
_QUICK = BackgroundWeather()


@dataclass(frozen=True)
class Moment:
    """What a decision depends on besides the weather.

    Attributes:
        now: Seconds since the weather's clock started.
        flex_in_use: Flex requests being served now, of the models that share this weather.
        recent: When the requests of the same account and model arrived in the last 60 seconds,
            oldest first, this one not included.
        tokens_used: What the account has used of the model's tokens per minute.
        tokens: What the request takes of them.
        flex_used: What is used of the flex lane's bucket, by the models that share this weather.
    """

    now: float
    flex_in_use: int = 0
    recent: Sequence[float] = ()
    tokens_used: float = 0.0
    tokens: int = 0
    flex_used: float = 0.0


class OtherFields(TypedDict, total=False):
    """The fields of :class:`Weather` but for ``outages``, as keyword arguments."""

    slots: int | None
    steps: tuple[tuple[float, int], ...]
    bucket: Bucket | None
    refuse: float
    stall: float
    stall_seconds: float | None
    stall_windows: tuple[Spell, ...]
    slow: float
    slow_windows: tuple[Spell, ...]
    rpm: int | None
    rpm_window: float
    tpm: int | None
    retry_after: float | str | None
    unsupported_models: tuple[str, ...]
    unverified_models: tuple[str, ...]
    standard_latency: Seconds | None
    flex_latency: Seconds | None
    refusal_latency: Seconds | None
    models: tuple[tuple[str, Weather], ...]
    batch: BatchWeather
    background: BackgroundWeather


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What the flex lane is like. The default: always open.

    Attributes:
        outages: Windows ``(start, end)`` in seconds since the weather's clock started, in
            which flex refuses everything; ``end`` is open again. In order, not overlapping.
        slots: Flex requests served at the same time, more are refused; None: any number.
        steps: A schedule of slots, ``(start, slots)`` in order: from ``start`` seconds on,
            that number of slots (0: shut). Before the first step ``slots`` holds.
        bucket: A lane that follows the rate of its requests, ``(rate, burst)``: flex admits at most
            ``burst`` requests at once, and ``rate`` more each second; None: at any rate. Refused
            requests use nothing up.
        refuse: The probability that flex refuses a request, outages apart. 0 to 1.
        stall: The probability that flex accepts a request and falls silent. 0 to 1.
        stall_seconds: How long a stall lasts before the answer comes; None: without end.
        stall_windows: Windows ``(start, end, share)`` with another probability of a stall.
        slow: What flex latency is multiplied with.
        slow_windows: Windows ``(start, end, factor)``: answers that flex begins in one take
            ``factor`` times as long, on top of ``slow``.
        rpm: Requests that one account may send for one model in any 60 seconds, on all lanes
            together; more are answered 429 ``rate_limit_exceeded``. Every request counts,
            refused and limited ones, too. None: any number.
        rpm_window: Seconds over which ``rpm`` is counted: with 1, 1,200 a minute are 20 in any
            second ("enforced over shorter periods", as OpenAI's guide has it). At most 60.
        tpm: Tokens that one account may use for one model in a minute, on all lanes together; they
            come back evenly. A request takes those of its prompt and the most of its answer. More
            are answered 429 of the type ``tokens``, a request above the whole limit "Request too
            large". With ``rpm`` or ``tpm`` every answer states them (``x-ratelimit-*``). None: any
            number.
        retry_after: The ``retry-after`` header of refusals, seconds or any text; None: none.
        unsupported_models: Models, or shell patterns of models, that answer 400 to flex, next
            to those that OpenAI does not sell on it (:func:`never_on_flex`).
        unverified_models: Models, or shell patterns, that answer 400 to streams and to
            reasoning summaries, on every tier.
        standard_latency: Seconds an answer takes off flex, or a ``(low, high)`` range to draw
            from; None: the simulator's.
        flex_latency: The same for flex.
        refusal_latency: Seconds until a refusal or a rate limit's 429 is answered, or a range;
            None: at once.
        models: Models, or shell patterns of models, with a weather of their own, the slots
            included: ``(("o3", Weather(slots=2)),)``. The first that fits counts; the fields
            here are for all other models.
        batch: How batches behave.
        background: How background responses behave.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    outages: tuple[tuple[float, float], ...] = ()
    slots: int | None = None
    steps: tuple[tuple[float, int], ...] = ()
    bucket: Bucket | None = None
    refuse: float = 0.0
    stall: float = 0.0
    stall_seconds: float | None = None
    stall_windows: tuple[Spell, ...] = ()
    slow: float = 1.0
    slow_windows: tuple[Spell, ...] = ()
    rpm: int | None = None
    rpm_window: float = 60.0
    tpm: int | None = None
    retry_after: float | str | None = None
    unsupported_models: tuple[str, ...] = ()
    unverified_models: tuple[str, ...] = ()
    standard_latency: Seconds | None = None
    flex_latency: Seconds | None = None
    refusal_latency: Seconds | None = None
    models: tuple[tuple[str, Weather], ...] = ()
    batch: BatchWeather = _ORDINARY
    background: BackgroundWeather = _QUICK

    def __post_init__(self) -> None:
        for name in ("refuse", "stall"):
            validation.probability(name, getattr(self, name))
        for name in ("slots", "stall_seconds", "slow"):
            validation.not_negative(name, getattr(self, name))
        for name in ("unsupported_models", "unverified_models"):
            validation.names(name, getattr(self, name))
        for name in ("standard_latency", "flex_latency", "refusal_latency"):
            validation.latency(name, getattr(self, name))
        validation.whole("rpm", self.rpm)
        validation.positive("rpm_window", self.rpm_window)
        if self.rpm_window > MINUTE:
            raise ValueError(f"rpm_window must be at most 60, not {self.rpm_window!r}")
        validation.whole("tpm", self.tpm)
        validation.header("retry_after", self.retry_after)
        validation.windows("outages", self.outages)
        validation.schedule("steps", self.steps)
        validation.bucket("bucket", self.bucket)
        validation.spells("stall_windows", self.stall_windows, "share", most=1)
        validation.spells("slow_windows", self.slow_windows, "factor")
        _check_models(self.models)
        if not isinstance(self.batch, BatchWeather):
            raise ValueError(f"batch must be a BatchWeather, not {self.batch!r}")  # noqa: TRY004
        if not isinstance(self.background, BackgroundWeather):
            problem = f"background must be a BackgroundWeather, not {self.background!r}"
            raise ValueError(problem)  # noqa: TRY004

    @classmethod
    def random(
        cls,
        seed: int,
        mean_open: float,
        mean_shut: float,
        horizon: float = DAY,
        **fields: Unpack[OtherFields],
    ) -> Weather:
        """Weather whose outages come at random, the same ones for the same seed.

        Args:
            seed: Chooses the outages.
            mean_open: Mean seconds between outages (exponentially distributed).
            mean_shut: Mean seconds of an outage (exponentially distributed).
            horizon: Seconds until the last outage has begun; open after that.
            **fields: The other fields of the weather.

        Raises:
            ValueError: A mean is not above zero, or a field is out of its range.
        """
        check_arguments("Weather.random", fields, OtherFields.__annotations__)
        validation.positive("mean_open", mean_open)
        validation.positive("mean_shut", mean_shut)
        validation.positive("horizon", horizon)
        chance = Random(seed)
        outages = []
        start = chance.expovariate(1 / mean_open)
        while start < horizon:
            end = start + chance.expovariate(1 / mean_shut)
            outages.append((start, end))
            start = end + chance.expovariate(1 / mean_open)
        return cls(outages=tuple(outages), **fields)

    @classmethod
    def parse(cls, text: str) -> Weather:
        """From one line such as ``outage=10-40,slots=5,refuse=0.3,slow=2,o3:slots=2``.

        See docs/simulator.md for every word.

        Raises:
            ValueError: A word is unknown or its value cannot be; the message names it.
        """
        return cls.from_dict(weather_syntax.read(text))

    @classmethod
    def from_json(cls, path: str | Path) -> Weather:
        """From a JSON file with the fields of this class.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is not a JSON object, or a field is unknown or out of its range.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"weather file {path} is not JSON: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Weather:
        """From JSON's types: lists for tuples. ``random`` takes the arguments of :meth:`random`.

        ``batch`` is an object of :class:`BatchWeather`'s fields, ``background`` one of
        :class:`BackgroundWeather`'s.
        ``models`` is an object, ``{"o3": {"slots": 2}}``: what a model's weather leaves out is as
        in the weather around it.

        Raises:
            ValueError: A field is unknown or out of its range; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ValueError("weather must be an object")  # noqa: TRY004 - JSON's fault, not ours
        process = data.get("random")
        given = {name: _tupled(value) for name, value in data.items() if name != "random"}
        if isinstance(given.get("batch"), Mapping):
            given["batch"] = BatchWeather.from_dict(given["batch"])
        if isinstance(given.get("background"), Mapping):
            given["background"] = BackgroundWeather.from_dict(given["background"])
        if "models" in data:
            given["models"] = tuple(
                (name, cls._of_model(name, own, data)) for name, own in _items(data["models"])
            )
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"weather has unknown fields: {', '.join(sorted(unknown))}")
        try:
            return cls(**given) if process is None else cls.random(**process, **given)
        except TypeError as error:
            raise ValueError(f"weather has a value of the wrong kind: {error}") from error

    @classmethod
    def _of_model(cls, name: str, own: Any, around: Mapping[str, Any]) -> Weather:
        if not isinstance(own, Mapping):
            raise ValueError(f"models must give {name} an object, not {own!r}")  # noqa: TRY004
        inherited = {field: value for field, value in around.items() if field != "models"}
        if "outages" in own:
            inherited.pop("random", None)
        for part in ("batch", "background"):
            if isinstance(around.get(part), Mapping) and isinstance(own.get(part), Mapping):
                own = {**own, part: {**around[part], **own[part]}}
        try:
            return cls.from_dict({**inherited, **own})
        except ValueError as error:
            raise ValueError(f"models: {name}: {error}") from error

    def of(self, model: str) -> Weather:
        """The weather of one model: its own, or this one."""
        return next((own for name, own in self.models if fnmatchcase(model, name)), self)

    def pool(self, model: str) -> str:
        """Whose slots the model uses: the name or pattern under ``models``, else empty."""
        return next((name for name, _ in self.models if fnmatchcase(model, name)), "")

    def decide(
        self,
        lane: str,
        model: str,
        now: Moment,
        chance: Random,
        *,
        stream: bool = False,
        summary: bool = False,
    ) -> Fault:
        """What happens to a request.

        Args:
            lane: The lane asked for.
            model: The model asked for.
            now: The moment.
            chance: Where random numbers are drawn from.
            stream: Whether a stream is asked for.
            summary: Whether a reasoning summary is asked for.
        """
        own = self.of(model)
        if (limited := own._rate_limit(model, now)) is not None:
            return limited
        if (stream or summary) and _matches(model, own.unverified_models):
            return Fault.unverified("stream" if stream else "reasoning.summary")
        if lane != "flex":
            return _SERVE
        return own._decide_flex(model, now, chance)

    def _rate_limit(self, model: str, now: Moment) -> Fault | None:
        limited = over(now.recent, self.rpm, now.now, self.rpm_window)
        if limited is None:
            limited = token_bucket.over(model, self.tpm, now.tokens_used, now.tokens)
        return None if limited is None else Fault(limited)

    def limit_headers(self, recent: Sequence[float], tokens_used: float) -> dict[str, str]:
        """The headers in which an answer states the limits of its model.

        Args:
            recent: When the requests of the last 60 seconds arrived, this one included.
            tokens_used: What is used of the tokens per minute.
        """
        return {
            **token_bucket.limit_headers("requests", self.rpm, len(recent)),
            **token_bucket.limit_headers("tokens", self.tpm, tokens_used),
        }

    def _decide_flex(self, model: str, now: Moment, chance: Random) -> Fault:
        if self.unsupports(model):
            return Fault.unsupported()
        if not self.takes(now) or _happens(self.refuse, chance):
            return Fault.refuse(retry_after=self.retry_after)
        if _happens(_spell(self.stall_windows, now.now, self.stall), chance):
            return Fault.stall(self.stall_seconds)
        return _SERVE

    def open_at(self, now: float) -> bool:
        """Whether flex takes requests at this moment, slots and chance apart."""
        before = bisect_right(self.outages, (now, float("inf")))
        return before == 0 or now >= self.outages[before - 1][1]

    def slots_at(self, now: float) -> int | None:
        """How many flex requests are served at the same time at this moment; None: any number."""
        before = bisect_right(self.steps, (now, float("inf")))
        return self.steps[before - 1][1] if before else self.slots

    def takes(self, now: Moment) -> bool:
        """Whether flex has a slot at this moment: what chance and rate limits leave of it."""
        slots = self.slots_at(now.now)
        free = slots is None or now.flex_in_use < slots
        return self.open_at(now.now) and free and has_room(self.bucket, now.flex_used)

    def unsupports(self, model: str) -> bool:
        """Whether flex answers 400 to this model."""
        return never_on_flex(model) or _matches(model, self.unsupported_models)

    def slowness(self, now: float) -> float:
        """What flex latency is multiplied with for answers begun at this moment."""
        return self.slow * _spell(self.slow_windows, now, 1.0)

    @property
    def changes(self) -> list[float]:
        """The moments at which outages, slots or slowness change, in order."""
        windows = (*self.outages, *self.slow_windows)
        bounds = {bound for window in windows for bound in window[:2]}
        return sorted(bounds | {start for start, _ in self.steps})

    def seconds(
        self, lane: str, default: float, chance: Random, *, now: float = 0.0, model: str = ""
    ) -> float:
        """How long an answer takes that is begun now.

        Args:
            lane: The lane that serves it.
            default: Seconds where the weather does not say: the simulator's latency.
            chance: Where random numbers are drawn from.
            now: Seconds since the weather's clock started.
            model: The model that answers.
        """
        weather = self.of(model)
        if lane != "flex":
            return _drawn(weather.standard_latency, default, chance)
        return _drawn(weather.flex_latency, default, chance) * weather.slowness(now)

    def refusal_seconds(self, default: float, chance: Random, *, model: str = "") -> float:
        """How long a refusal or a rate limit's 429 takes; ``default`` where this does not say."""
        return _drawn(self.of(model).refusal_latency, default, chance)


_SERVE = Fault(Serve())


def never_on_flex(model: str) -> bool:
    """Whether OpenAI does not sell this model on flex, by the price list and the flex guide."""
    return FLEX.name not in lanes_of_model(model).lanes


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _check_models(value: Any) -> None:
    pairs = isinstance(value, tuple) and all(isinstance(x, tuple) and len(x) == 2 for x in value)
    if not pairs or not all(isinstance(n, str) and isinstance(w, Weather) for n, w in value):
        raise ValueError(f"models must be a tuple of (name, Weather), not {value!r}")
    if any(weather.models for _, weather in value):
        raise ValueError(f"models must be without models of their own, not {value!r}")


def _items(models: Any) -> list[tuple[str, Any]]:
    """The items of an object, or of pairs, which is what an object becomes in a dataclass."""
    try:
        return [(str(name), own) for name, own in dict(models).items()]
    except (TypeError, ValueError):
        raise ValueError(f"models must be an object of models, not {models!r}") from None


def _spell(windows: tuple[Spell, ...], now: float, otherwise: float) -> float:
    """The number of the window that this moment is in."""
    return next((number for start, end, number in windows if start <= now < end), otherwise)


def _drawn(own: Seconds | None, default: float, chance: Random) -> float:
    latency = default if own is None else own
    return chance.uniform(*latency) if isinstance(latency, tuple) else latency


def _happens(probability: float, chance: Random) -> bool:
    return probability > 0 and chance.random() < probability


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
