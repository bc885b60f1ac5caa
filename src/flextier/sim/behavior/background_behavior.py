"""How background responses behave, as plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from random import Random
from typing import Any

from flextier.sim.base import validation

Seconds = float | tuple[float, float]

_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?:-|$)")
# A field for every window, and of those with a discount their own one.
_TIMES = ("queued", "seconds")
_OWN_TIMES = tuple(f"{name}_{window}" for name in _TIMES for window in ("2h", "8h"))
_RATES = ("fail", "incomplete", "missed", "api_errors")


@dataclass(frozen=True, kw_only=True)
class BackgroundWeather:
    """How background responses behave. The default: every one is done at once.

    Times are the provider's: :class:`flextier.sim.Simulator` can let them run faster (``speed``).
    Responses keep the weather they were created in.

    Attributes:
        queued: Seconds in the queue, or a ``(low, high)`` range to draw from.
        queued_2h: The same for the window of two hours; None: as ``queued``.
        queued_8h: The same for the window of eight hours; None: as ``queued``.
        seconds: Seconds in progress, or a range.
        seconds_2h: The same for the window of two hours; None: as ``seconds``.
        seconds_8h: The same for the window of eight hours; None: as ``seconds``.
        fail: The probability that a response fails. 0 to 1.
        incomplete: The probability that a response ends half written. 0 to 1.
        missed: The probability that a response with a window of hours ends after it. 0 to 1.
        missed_by: How many seconds after it, or a range.
        follow_up: What the seconds in the queue are multiplied with for follow-ups: responses
            with window, continuation id, model and project of an earlier one.
        cancelling: Seconds from a request to cancel until it takes effect, or a range; a
            response that ends before is not cancelled.
        cancel_ended: Whether cancelling a response that has completed or failed returns it;
            else that is a 400.
        window_models: Models, or shell patterns, that have the windows of two and eight hours;
            None: those known to have them (:func:`has_windows`).
        unsupported_models: Models, or shell patterns, that take no background requests at all.
        stored: Whether responses are stored when the request does not say.
        keep: Seconds after its end at which a response that is not stored is deleted.
        poll_rpm: How often an account may look at responses in any 60 seconds of the
            simulator's clock; more is answered 429. None: any number.
        api_errors: The probability that looking at, cancelling or deleting a response is
            answered 500. 0 to 1.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    queued: Seconds = 0.0
    queued_2h: Seconds | None = None
    queued_8h: Seconds | None = None
    seconds: Seconds = 0.0
    seconds_2h: Seconds | None = None
    seconds_8h: Seconds | None = None
    fail: float = 0.0
    incomplete: float = 0.0
    missed: float = 0.0
    missed_by: Seconds = (60.0, 3_600.0)
    follow_up: float = 0.5
    cancelling: Seconds = 0.0
    cancel_ended: bool = False
    window_models: tuple[str, ...] | None = None
    unsupported_models: tuple[str, ...] = ()
    stored: bool = True
    keep: float = 600.0
    poll_rpm: int | None = None
    api_errors: float = 0.0

    def __post_init__(self) -> None:
        for name in (*_TIMES, "missed_by", "cancelling", "follow_up", "keep"):
            validation.given(name, getattr(self, name))
        for name in (*_TIMES, *_OWN_TIMES, "missed_by", "cancelling"):
            validation.latency(name, getattr(self, name))
        for name in _RATES:
            validation.probability(name, getattr(self, name))
        if self.fail + self.incomplete > 1:
            raise ValueError("fail and incomplete must be 1 or less together")
        for name in ("follow_up", "keep"):
            validation.not_negative(name, getattr(self, name))
        for name in ("cancel_ended", "stored"):
            validation.flag(name, getattr(self, name))
        validation.names("unsupported_models", self.unsupported_models)
        if self.window_models is not None:
            validation.names("window_models", self.window_models)
        validation.whole("poll_rpm", self.poll_rpm)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BackgroundWeather:
        """From JSON's types: lists for tuples.

        Raises:
            ValueError: A field is unknown or out of its range; the message names it.
        """
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"background has unknown fields: {', '.join(sorted(unknown))}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**given)
        except ValueError as error:
            raise ValueError(f"background: {error}") from error

    def takes(self, model: str) -> bool:
        """Whether this model takes background requests."""
        return not any(fnmatchcase(model, pattern) for pattern in self.unsupported_models)

    def has_windows(self, model: str) -> bool:
        """Whether this model has the windows of two and eight hours."""
        if self.window_models is None:
            return has_windows(model)
        return any(fnmatchcase(model, pattern) for pattern in self.window_models)

    def queue_seconds(self, window: str, chance: Random) -> float:
        """How long a response with this window waits, drawn."""
        return self._time("queued", window, chance)

    def run_seconds(self, window: str, chance: Random) -> float:
        """How long a response with this window is in progress, drawn."""
        return self._time("seconds", window, chance)

    def _time(self, name: str, window: str, chance: Random) -> float:
        own: Seconds | None = getattr(self, f"{name}_{window}", None)
        return drawn(getattr(self, name) if own is None else own, chance)


def drawn(seconds: Seconds, chance: Random) -> float:
    """Seconds, drawn where they are a range."""
    return chance.uniform(*seconds) if isinstance(seconds, tuple) else seconds


def has_windows(model: str) -> bool:
    """Whether a model is known to have background windows: GPT-6.2 and, as a guess, later ones.

    Source: OpenAI's pages of gpt-6.2-sol and gpt-6.1-terra, which name them; those of other older
    models that could be seen do not.
    """
    version = _GPT.match(model)
    if model == "gpt-6.1-terra":
        return True
    return version is not None and (int(version[1]), int(version[2] or 0)) >= (6, 2)
