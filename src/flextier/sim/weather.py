"""Flex weather: what the flex lane does to a request, decided without I/O.

How long real outages last and how often flex refuses is not public: every number here is a
guess to rehearse with, not a forecast.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Any

from flextier.sim import checks, spec
from flextier.sim.faults import Fault, Lane, Serve

Seconds = float | tuple[float, float]

DAY = 86_400.0
_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?:-|$)")


@dataclass(frozen=True)
class Moment:
    """What a decision depends on besides the weather.

    Attributes:
        now: Seconds since the weather's clock started.
        flex_in_use: Flex requests being served now.
    """

    now: float
    flex_in_use: int = 0


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What the flex lane is like. The default: always open.

    Attributes:
        outages: Windows ``(start, end)`` in seconds since the weather's clock started, in
            which flex refuses everything; ``end`` is open again. In order, not overlapping.
        slots: Flex requests served at the same time, more are refused; None: any number.
        steps: A schedule of slots, ``(start, slots)`` in order: from ``start`` seconds on, so
            many slots (0: shut). Before the first step ``slots`` holds.
        refuse: The probability that flex refuses a request, outages apart. 0 to 1.
        stall: The probability that flex accepts a request and falls silent. 0 to 1.
        stall_seconds: How long a stall lasts before the answer comes; None: for ever.
        slow: What flex latency is multiplied with.
        retry_after: The ``retry-after`` header of refusals, seconds or any text; None: none.
        unsupported_models: Models, or shell patterns of models, that answer 400 to flex, next
            to those that OpenAI says never get it (:func:`never_on_flex`).
        unverified_models: Models, or shell patterns, that answer 400 to streams and to
            reasoning summaries, on every tier.
        standard_latency: Seconds an answer takes off flex, or a ``(low, high)`` range to draw
            from; None: the simulator's.
        flex_latency: The same for flex.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    outages: tuple[tuple[float, float], ...] = ()
    slots: int | None = None
    steps: tuple[tuple[float, int], ...] = ()
    refuse: float = 0.0
    stall: float = 0.0
    stall_seconds: float | None = None
    slow: float = 1.0
    retry_after: float | str | None = None
    unsupported_models: tuple[str, ...] = ()
    unverified_models: tuple[str, ...] = ()
    standard_latency: Seconds | None = None
    flex_latency: Seconds | None = None

    def __post_init__(self) -> None:
        for name in ("refuse", "stall"):
            checks.probability(name, getattr(self, name))
        for name in ("slots", "stall_seconds", "slow"):
            checks.not_negative(name, getattr(self, name))
        for name in ("unsupported_models", "unverified_models"):
            checks.names(name, getattr(self, name))
        for name in ("standard_latency", "flex_latency"):
            checks.latency(name, getattr(self, name))
        checks.header("retry_after", self.retry_after)
        checks.windows("outages", self.outages)
        checks.schedule("steps", self.steps)

    @classmethod
    def random(
        cls,
        seed: int,
        mean_open: float,
        mean_shut: float,
        horizon: float = DAY,
        **fields: Any,
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
        checks.positive("mean_open", mean_open)
        checks.positive("mean_shut", mean_shut)
        checks.positive("horizon", horizon)
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
        """From one line such as ``outage=10-40,slots=5,refuse=0.3,slow=2``.

        See docs/simulator.md for every word.

        Raises:
            ValueError: A word is unknown or its value cannot be; the message names it.
        """
        return cls.from_dict(spec.read(text))

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

        Raises:
            ValueError: A field is unknown or out of its range; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ValueError("weather must be an object")  # noqa: TRY004 - JSON's fault, not ours
        process = data.get("random")
        given = {name: _tupled(value) for name, value in data.items() if name != "random"}
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"weather has unknown fields: {', '.join(sorted(unknown))}")
        try:
            return cls(**given) if process is None else cls.random(**process, **given)
        except TypeError as error:
            raise ValueError(f"weather has a value of the wrong kind: {error}") from error

    def decide(
        self,
        lane: Lane,
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
        if (stream or summary) and _matches(model, self.unverified_models):
            return Fault.unverified("stream" if stream else "reasoning.summary")
        if lane != "flex":
            return _SERVE
        return self._decide_flex(model, now, chance)

    def _decide_flex(self, model: str, now: Moment, chance: Random) -> Fault:
        if never_on_flex(model) or _matches(model, self.unsupported_models):
            return Fault.unsupported()
        if not self.open_at(now.now) or self._full(now) or _happens(self.refuse, chance):
            return Fault.refuse(retry_after=self.retry_after)
        if _happens(self.stall, chance):
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

    def _full(self, now: Moment) -> bool:
        slots = self.slots_at(now.now)
        return slots is not None and now.flex_in_use >= slots

    def seconds(self, lane: Lane, default: float, chance: Random) -> float:
        """How long an answer on this lane takes; ``default`` is the simulator's latency."""
        own = self.flex_latency if lane == "flex" else self.standard_latency
        latency = default if own is None else own
        drawn = chance.uniform(*latency) if isinstance(latency, tuple) else latency
        return drawn * self.slow if lane == "flex" else drawn


_SERVE = Fault(Serve())


def never_on_flex(model: str) -> bool:
    """Whether OpenAI never sells this model on flex: GPT-6.2 and later, and gpt-4.1.

    Sources: OpenAI's flex-processing guide for the first, PostHog#91639 for the second.
    """
    if model.startswith("gpt-4.1"):
        return True
    version = _GPT.match(model)
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (6, 2)


def _matches(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def _happens(probability: float, chance: Random) -> bool:
    return probability > 0 and chance.random() < probability


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value
