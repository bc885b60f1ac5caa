"""FlexPolicy: every knob with its unit, default and environment variable."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flextier.errors import PolicyError
from flextier.lanes import ANY_WINDOW, AUTO, LANES, NAMES, Window
from flextier.lanes.offer_syntax import read_offer

_PREFIX = "FLEXTIER_"

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Span = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FlexPolicy(BaseSettings):
    """How calls are routed: which lanes, for how long, how often.

    Each field is taken from its keyword argument, else from the environment variable
    ``FLEXTIER_<FIELD>`` (read once, here), else from its default. All times are in seconds.
    Policies are frozen, hashable and compare by value.

    Raises:
        PolicyError: a value is wrong; the message names the field and the variable.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid"
    )

    lanes: Annotated[tuple[str, ...], NoDecode] = ("flex", "standard")
    """The ladder, tried left to right, of ``batch``, ``flex``, ``background`` and ``standard``.
    ``("flex",)`` never falls back, ``("standard",)`` switches flex off. ``"auto"``, alone: what
    the model has and the deadline allows, the cheapest first. In the environment: comma-separated.
    """

    deadline: Seconds | None = None
    """For the whole call, waits included. None: no limit."""

    patience: Span = 300.0
    """How long new tries may still be started on a lane that refuses, before the next lane.
    0: leave at the first refusal."""

    flex_timeout: Seconds = 900.0
    """One attempt on the flex lane; for a stream, the silence before and between events. 15
    minutes is what OpenAI's flex guide advises."""

    standard_timeout: Seconds = 600.0
    """One attempt on any other lane."""

    standard_reserve: Span = 30.0
    """The part of the deadline that is kept for the lane after the current one."""

    max_retries: Annotated[int, Field(ge=0)] = 2
    """New tries after a transient fault (5xx, lost connection), per lane."""

    backoff_initial: Span = 1.0
    """The upper end of the first wait, and the least between two probes of a lane that refuses.
    Waits are exponential with full jitter."""

    backoff_max: Span = 60.0
    """The upper end of the longest wait, and the most between two probes."""

    backoff_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    """The factor from one wait's upper end to the next."""

    stall_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0
    """With a deadline: a request on flex that is silent for so many times what the longest answer
    took to those sent with it or after it (20 at least, and 5 s) has stalled. It is given up and
    sent again, where the deadline leaves room for that, and may then be silent for twice as long.
    0: only ``flex_timeout`` counts."""

    start_jitter: Span = 0.0
    """The upper end of a random wait before a call's first attempt: for many processes that are
    started at the same moment. 0: none."""

    budget: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    """US$ that the calls of this process under a policy with a budget may cost: once they have, no
    new call is made. None: no limit. For a part of a program: :func:`flextier.budget`."""

    lane_support: Annotated[tuple[str, ...], NoDecode] = ()
    """For ``lanes="auto"``: what models are sold on, before what is known of them:
    ``{"gpt-7*": ("batch", "background")}``, of ``batch``, ``flex`` and ``background``; the first
    shell pattern that fits counts. In the environment ``gpt-7*=batch+background,my-model=flex``."""

    batch_window: Seconds = 10.0
    """How long calls are gathered for one batch; a full file is sent at once."""

    batch_poll_interval: Seconds = 60.0
    """The most between two looks at a batch; the first come sooner."""

    batch_reserve: Span = 900.0
    """The part of the deadline that is kept when a batch is left: cancelling one takes up to ten
    minutes, and what it has not done is asked for on the lanes after it."""

    batch_min_calls: Annotated[int, Field(ge=1)] = 1
    """The fewest calls that are worth a file: when ``batch_window`` is over and fewer have come,
    they go to the next lane, if there is one. Under ``lanes="auto"`` 10 at least."""

    background_window: Window = "2h"
    """The completion window of the lane ``background``: within ``"2h"`` for 30 % less than
    standard, ``"8h"`` for 40 % less, or ``"soonest"`` for no less. A target, not a promise."""

    background_poll_interval: Seconds = 300.0
    """The most between two looks at a background response; the first come after seconds. At most
    240 where it is not stored: it is deleted about ten minutes after its end."""

    background_timeout: Seconds | None = None
    """One attempt on a background lane, from its acceptance; then it is cancelled and the next lane
    is tried. None: half as long again as its window (3 hours, 12 hours; ``soonest``: an hour)."""

    flex_background: bool = False
    """Whether plain Responses calls on flex are sent as background responses, and asked about until
    they are done: no connection is held that could be cut in the meantime. Where the API does not
    take that, they are sent as ever."""

    journal: str | None = None
    """The path of a SQLite file that remembers what was sent and answered, so that a program that
    is started again pays for nothing twice. None: no journal. See ``flextier.journal``."""

    journal_namespace: str = ""
    """Goes into the names that the journal knows calls by: another salt, other answers."""

    journal_duplicates: Literal["each", "once"] = "each"
    """Calls with the same body in one run: ``"each"`` is asked for itself, as without a journal,
    or all get the answer of ``"once"``."""

    journal_store_responses: bool = True
    """Whether the journal keeps answers; without them it can only fetch those of batches again."""

    journal_ttl: Seconds | None = None
    """How long answers count: older ones are asked for anew, and forgotten. None: for ever."""

    def __init__(self, **values: Any) -> None:
        for old, new in _RENAMED.items():
            if (variable := _PREFIX + old.upper()) in os.environ:
                raise PolicyError(f"{variable} was renamed: set {_PREFIX}{new.upper()} instead")
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise PolicyError(_explain(error, values)) from None
        self._given_are(values)

    @field_validator("lanes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("lanes")
    @classmethod
    def _known(cls, lanes: tuple[str, ...]) -> tuple[str, ...]:
        known = ", ".join(NAMES)
        if not lanes:
            raise ValueError(f"the ladder is empty; name at least one of: {known}")
        for name in lanes:
            if name not in NAMES:
                raise ValueError(f"unknown lane {name!r}; the lanes are: {known}")
        if len(set(lanes)) < len(lanes):
            raise ValueError("a lane stands twice in the ladder")
        if AUTO in lanes and len(lanes) > 1:
            raise ValueError(f"{AUTO!r} stands for a whole ladder: name it alone")
        return lanes

    @field_validator("lane_support", mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, dict):
            return tuple(
                f"{model}={lanes if isinstance(lanes, str) else '+'.join(lanes)}"
                for model, lanes in value.items()
            )
        return cls._split(value)

    @field_validator("lane_support")
    @classmethod
    def _read(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            read_offer(entry)
        return entries

    @field_validator("journal", mode="before")
    @classmethod
    def _path(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("stall_factor")
    @classmethod
    def _no_sooner_than_others(cls, factor: float) -> float:
        if 0 < factor < 1:
            raise ValueError(
                "below 1, requests would be given up that others are still answered after; "
                "0 switches it off"
            )
        return factor

    @model_validator(mode="after")
    def _consistent(self) -> FlexPolicy:
        if self.backoff_max < self.backoff_initial:
            raise ValueError(
                f"backoff_max ({self.backoff_max:g} s) is below "
                f"backoff_initial ({self.backoff_initial:g} s) "
                f"(or set FLEXTIER_BACKOFF_MAX, FLEXTIER_BACKOFF_INITIAL)"
            )
        own = f"{ANY_WINDOW}-{self.background_window}"
        if ANY_WINDOW in self.lanes and own in self.lanes:
            raise ValueError(
                f"a lane stands twice in the ladder: {ANY_WINDOW} is {own}, by background_window "
                f"(FLEXTIER_BACKGROUND_WINDOW)"
            )
        if self.deadline is None or len(self.lanes) == 1:
            return self
        if self.deadline <= self.standard_reserve:
            raise ValueError(
                f"deadline ({self.deadline:g} s) leaves nothing for {self.lanes[0]}: "
                f"standard_reserve keeps {self.standard_reserve:g} s of it for the next lane. "
                f"Raise deadline (FLEXTIER_DEADLINE), lower standard_reserve "
                f"(FLEXTIER_STANDARD_RESERVE), or name one lane only (FLEXTIER_LANES)"
            )
        return self

    def replace(self, **changes: Any) -> FlexPolicy:
        """This policy with other values for some fields. The environment is not read again.

        Raises:
            PolicyError: a value, or a field's name, is wrong.
        """
        if not changes:
            return self
        hashable = ((k, tuple(v) if isinstance(v, list) else v) for k, v in changes.items())
        try:
            return _replaced(self, self.explicit, tuple(sorted(hashable)))
        except TypeError:  # a value that cannot be hashed: right or wrong, but not remembered
            return _replaced.__wrapped__(self, self.explicit, tuple(changes.items()))

    @classmethod
    def of(cls, value: FlexPolicy | dict[str, Any]) -> FlexPolicy:
        """A policy, or one made from a dict of its fields."""
        return value if isinstance(value, FlexPolicy) else cls(**value)

    @property
    def explicit(self) -> frozenset[str]:
        """The fields that were given as arguments: not those of the environment or the defaults."""
        return frozenset(self.model_fields_set)

    def _given_are(self, fields: Iterable[str]) -> None:
        # pydantic-settings counts what it found in the environment as set, too.
        object.__setattr__(self, "__pydantic_fields_set__", set(fields))

    @classmethod
    def check(cls, changes: dict[str, Any]) -> None:
        """Check names and values that are to replace some fields of a policy not yet known.

        Raises:
            PolicyError: a name or value is wrong by itself.
        """
        # Every field is given, so that the environment has no say.
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        cls(**{**defaults, **_PERMISSIVE, **changes})

    def attempt_timeout(self, lane: str) -> float:
        """Seconds that one attempt on ``lane`` may take."""
        known = LANES.get(lane)
        seconds: float | None = self._value(known.timeout_field if known else "standard_timeout")
        if seconds is None:
            return math.inf if known is None else known.longest
        return seconds

    def reserve(self, lane: str) -> float:
        """Seconds before the deadline at which ``lane`` is left, whatever the next one needs."""
        return self._value(LANES[lane].reserve_field) or 0.0

    def gathering(self, lane: str) -> float:
        """Seconds for which calls on ``lane`` are gathered before they are sent."""
        return self._value(LANES[lane].gather_field) or 0.0

    def _value(self, field: str | None) -> float | None:
        return None if field is None else getattr(self, field)

    def backoff(self, tries: int) -> float:
        """The upper end of the wait after ``tries`` failed tries on a lane (1, 2, …)."""
        try:
            span = self.backoff_initial * self.backoff_multiplier ** (tries - 1)
        except OverflowError:
            return self.backoff_max if self.backoff_initial else 0.0
        return min(span, self.backoff_max)


# Names that fields had before the first release: old names are errors that say the new one.
_RENAMED = {
    "background_poll": "background_poll_interval",
    "batch_least": "batch_min_calls",
    "batch_poll": "batch_poll_interval",
    "journal_answers": "journal_store_responses",
    "journal_keep": "journal_ttl",
    "journal_repeats": "journal_duplicates",
    "journal_salt": "journal_namespace",
    "offers": "lane_support",
}

# Fields that others are checked against, at values that no other field contradicts.
_PERMISSIVE: dict[str, Any] = {
    "lanes": ("flex", "standard"),
    "deadline": None,
    "standard_reserve": 0,
    "backoff_initial": 0,
    "backoff_max": 1e12,
}


@lru_cache(maxsize=256)
def _replaced(
    policy: FlexPolicy, explicit: frozenset[str], changes: tuple[tuple[str, Any], ...]
) -> FlexPolicy:
    replaced = FlexPolicy(**{**policy.model_dump(), **dict(changes)})
    replaced._given_are({*explicit, *dict(changes)})
    return replaced


def _explain(error: ValidationError, given: dict[str, Any]) -> str:
    return "; ".join(_explain_one(dict(item), given) for item in error.errors())


def _explain_one(item: dict[str, Any], given: dict[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return f"FlexPolicy: {message}"
    field = str(item["loc"][0])
    if field in _RENAMED:
        return f"FlexPolicy.{field} was renamed: use {_RENAMED[field]}"
    if field not in FlexPolicy.model_fields:
        return f"FlexPolicy has no field {field!r}; the fields are: {', '.join(_fields())}"
    variable = _PREFIX + field.upper()
    if field in given:
        return f"FlexPolicy({field}={given[field]!r}): {message} (or set {variable})"
    return f"{variable}={os.environ.get(variable, '')!r} (FlexPolicy.{field}): {message}"


def _fields() -> list[str]:
    return list(FlexPolicy.model_fields)
