"""FlexPolicy: every setting with its unit, default and environment variable."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, overload
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import Self, TypedDict, Unpack

from flextier._utils.backoff import exponential_backoff
from flextier._utils.durations import Duration, seconds_of
from flextier._utils.suggest import did_you_mean
from flextier.errors import PolicyError
from flextier.lanes import ANY_WINDOW, AUTO, LANES, NAMES, Window, lane_named
from flextier.lanes.lane_support import parse_lane_support

__all__ = ["FlexPolicy", "PolicyFields", "describe"]

PREFIX = "FLEXTIER_"
MAX_PATIENCE = 300.0
"""Seconds of patience, where neither it nor a deadline is set; at most, where a timeout is."""

_Seconds = Annotated[
    float, Field(allow_inf_nan=False), BeforeValidator(lambda span: span and seconds_of(span))
]
PositiveSeconds = Annotated[_Seconds, Field(gt=0)]
NonNegativeSeconds = Annotated[_Seconds, Field(ge=0)]


class PolicyFields(TypedDict, total=False):
    """The fields of :class:`FlexPolicy` as keyword arguments or a dict, for type checkers."""

    lanes: Sequence[str]
    deadline: Duration | None
    patience: Duration | None
    flex_timeout: Duration
    standard_timeout: Duration
    standard_reserve: Duration
    max_retries: int
    backoff_initial: Duration
    backoff_max: Duration
    backoff_multiplier: float
    stall_factor: float
    start_jitter: Duration
    budget: Decimal | float | str | None
    lane_support: Mapping[str, Sequence[str]] | Sequence[str]
    max_response_bytes: int | None
    batch_window: Duration
    batch_poll_interval: Duration
    batch_reserve: Duration
    batch_min_calls: int
    background_window: Window
    background_poll_interval: Duration
    background_timeout: Duration | None
    flex_background: bool
    journal: str | os.PathLike[str] | None
    journal_namespace: str
    journal_duplicates: Literal["each", "once"]
    journal_store_responses: bool
    journal_ttl: Duration | None
    gateway: str | None
    gateway_fallback: Literal["error", "local"]


class FlexPolicy(BaseModel):
    """How calls are routed: which lanes, for how long, how often.

    Each field is taken from its keyword argument, else from the environment variable
    ``FLEXTIER_<FIELD>`` (read once, here), else from its default. Durations are seconds or text:
    ``"90s"``, ``"15m"``, ``"1h30m"``, ``"2d"``.
    Policies are frozen, hashable and compare by value.

    Fields, with their defaults:
        lanes = ("flex", "standard"): The lanes, used left to right: of ``batch``, ``flex``,
            ``background`` and ``standard``. ``("flex",)`` never falls back, ``("standard",)``
            disables flex. ``"auto"``, alone: the lanes that the model has and the deadline allows,
            cheapest first. In the environment: comma-separated.
        deadline = None: For the whole call, waits included. None: no limit.
        patience = None: How long new attempts may start on a lane that refuses, before falling back
            to the next lane. 0: fall back at the first refusal. None: with a deadline, until the
            next lane needs the rest of it; else, where a ``timeout`` was given, that times
            ``max_retries + 1``, at most 300; else 300.
        flex_timeout = 900: Limit of one attempt on the flex lane; for a stream, of the silence
            before and between its events. OpenAI's flex guide recommends 15 minutes.
        standard_timeout = 600: Limit of one attempt on any other lane.
        standard_reserve = 30: The part of the deadline that is reserved for the lane after the
            current one, until the time that standard responses take is measured. With less time
            left, calls go to standard only.
        max_retries = 2: Retries after a transient failure (5xx, lost connection), per lane.
        backoff_initial = 1: Upper limit of the first wait, and the minimum between two probes of a
            lane that refuses. Waits are exponential with full jitter.
        backoff_max = 60: Upper limit of every wait, and the maximum between two probes.
        backoff_multiplier = 2: The factor from the upper limit of one wait to that of the next.
        stall_factor = 3: With a deadline: a flex request has stalled once it was silent for this
            factor times the longest time that requests sent with it or after it took (20 of them at
            least, and 5 s). It is cancelled and sent again if the deadline allows, with twice the
            silence permitted. 0: disabled, only ``flex_timeout`` applies.
        start_jitter = 0: Upper limit of a random wait before the first attempt of a call, for many
            processes that start at the same moment. 0: no wait.
        budget = None: US$ that all calls of this process under a policy with a budget may cost;
            after that, no new call is made. None: no limit. For a part of a program:
            :func:`flextier.budget`.
        lane_support = (): For ``lanes="auto"``: the lanes that models support, in preference to
            what is known of them: ``{"gpt-7*": ("batch", "background")}``, of ``batch``, ``flex``
            and ``background``; the first shell pattern that matches counts. In the environment
            ``gpt-7*=batch+background,my-model=flex``.
        max_response_bytes = 67108864: Bytes that a response which is no stream may have, unpacked:
            a longer one ends the call with an error. Applies to flextier's own HTTP clients. None:
            no limit.
        batch_window = 10: How long calls are collected for one batch; a full file is sent at once.
        batch_poll_interval = 60: Maximum interval between two polls of a batch; the first ones come
            sooner.
        batch_reserve = 900: The part of the deadline at which a batch is cancelled, which takes up
            to ten minutes; its unfinished calls then fall back to the lanes after it.
        batch_min_calls = 1: Minimum number of calls in a batch: when ``batch_window`` expires with
            fewer, they fall back to the next lane, if there is one. With ``lanes="auto"`` at least
            10.
        background_window = "2h": The completion window of the lane ``background``: within ``"2h"``
            for 30 % less than standard, ``"8h"`` for 40 % less, or ``"soonest"`` at full price. A
            target, not a guarantee.
        background_poll_interval = 300: Maximum interval between two polls of a background response;
            the first ones come after seconds. At most 240 if it is not stored: then it is deleted
            about ten minutes after its end.
        background_timeout = None: Limit of one attempt on a background lane, from its acceptance;
            then it is cancelled, and the call falls back. None: 1.5 times its window (3 hours, 12
            hours; ``soonest``: an hour).
        flex_background = False: Whether Responses calls on flex that are not streamed are sent as
            background responses and polled, so that no open connection can be lost. Where the API
            rejects that, they are sent as usual.
        journal = None: Path of a SQLite file that records requests and responses, so that a program
            that is started again pays for nothing twice. None: no journal. See
            ``flextier.journal``.
        journal_namespace = "": Part of the cache key of every call: another namespace gets other
            responses.
        journal_duplicates = "each": Calls with the same body in one run of the program: ``"each"``
            is sent, as without a journal, or they are sent ``"once"`` and share the response.
        journal_store_responses = True: Whether the journal stores responses; without them it can
            only collect batches again.
        journal_ttl = None: How long stored responses are valid: calls with older ones are sent
            again. None: no limit.
        gateway = None: URL of a gateway (``flextier serve``), ``http://host:8484``: calls to base
            URLs that it serves are sent there, and it has their limiter, budget and journal. Its
            token is in ``FLEXTIER_GATEWAY_TOKEN``. None: no gateway.
        gateway_fallback = "error": What a call does that cannot reach the gateway: it ends with an
            ``"error"``, or goes on without it (``"local"``), with the key of its own client.

    Raises:
        PolicyError: a value is wrong; the message names the field and the variable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    lanes: tuple[str, ...] = ("flex", "standard")
    deadline: PositiveSeconds | None = None
    patience: NonNegativeSeconds | None = None
    flex_timeout: PositiveSeconds = 900.0
    standard_timeout: PositiveSeconds = 600.0
    standard_reserve: NonNegativeSeconds = 30.0
    max_retries: Annotated[int, Field(ge=0)] = 2
    backoff_initial: NonNegativeSeconds = 1.0
    backoff_max: NonNegativeSeconds = 60.0
    backoff_multiplier: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 2.0
    stall_factor: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 3.0
    start_jitter: NonNegativeSeconds = 0.0
    budget: Annotated[Decimal, Field(gt=0, allow_inf_nan=False)] | None = None
    lane_support: tuple[str, ...] = ()
    max_response_bytes: Annotated[int, Field(ge=1)] | None = 2**26
    batch_window: PositiveSeconds = 10.0
    batch_poll_interval: PositiveSeconds = 60.0
    batch_reserve: NonNegativeSeconds = 900.0
    batch_min_calls: Annotated[int, Field(ge=1)] = 1
    background_window: Window = "2h"
    background_poll_interval: PositiveSeconds = 300.0
    background_timeout: PositiveSeconds | None = None
    flex_background: bool = False
    journal: str | None = None
    journal_namespace: str = ""
    journal_duplicates: Literal["each", "once"] = "each"
    journal_store_responses: bool = True
    journal_ttl: PositiveSeconds | None = None
    gateway: str | None = None
    gateway_fallback: Literal["error", "local"] = "error"

    def __init__(self, **values: Unpack[PolicyFields]) -> None:
        for old, new in _RENAMED.items():
            if (variable := PREFIX + old.upper()) in os.environ:
                raise PolicyError(f"{variable} was renamed: set {PREFIX}{new.upper()} instead")
        try:
            super().__init__(**{**_from_environment(), **values})
        except ValidationError as error:
            problems = (_explain(item, values) for item in error.errors())
            raise PolicyError("; ".join(problems)) from None
        self._set_explicit(values)

    @field_validator("lanes", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("lanes")
    @classmethod
    def _check_lanes(cls, lanes: tuple[str, ...]) -> tuple[str, ...]:
        known = ", ".join(NAMES)
        if not lanes:
            raise ValueError(f"no lane is named; name at least one of: {known}")
        for name in lanes:
            if name not in NAMES:
                raise ValueError(f"unknown lane {name!r}; the lanes are: {known}")
        if len(set(lanes)) < len(lanes):
            raise ValueError("a lane is named twice")
        if AUTO in lanes and len(lanes) > 1:
            raise ValueError(f"{AUTO!r} chooses all lanes: name it alone")
        return lanes

    @field_validator("lane_support", mode="before")
    @classmethod
    def _support_from_dict(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return tuple(
                f"{model}={lanes if isinstance(lanes, str) else '+'.join(lanes)}"
                for model, lanes in value.items()
            )
        return cls._split(value)

    @field_validator("lane_support")
    @classmethod
    def _check_support(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            parse_lane_support(entry)
        return entries

    @field_validator("journal", mode="before")
    @classmethod
    def _path_text(cls, value: Any) -> Any:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("gateway")
    @classmethod
    def _check_gateway(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError("must be the URL of a gateway, such as http://host:8484")
        return url.rstrip("/").removesuffix("/v1")

    @field_validator("stall_factor")
    @classmethod
    def _check_stall_factor(cls, factor: float) -> float:
        if 0 < factor < 1:
            raise ValueError("must be 0 (disabled) or at least 1")
        return factor

    @model_validator(mode="after")
    def _consistent(self) -> FlexPolicy:
        if self.backoff_max < self.backoff_initial:
            raise ValueError(
                f"backoff_max ({self.backoff_max:g} s) is below "
                f"backoff_initial ({self.backoff_initial:g} s) "
                f"(or set FLEXTIER_BACKOFF_MAX, FLEXTIER_BACKOFF_INITIAL)"
            )
        for field in ("budget", "journal") if self.gateway is not None else ():
            if getattr(self, field) is not None:
                raise ValueError(
                    f"gateway (FLEXTIER_GATEWAY) and {field} (FLEXTIER_{field.upper()}) exclude "
                    f"each other: the {field} of calls through a gateway is set there, "
                    f"`flextier serve --{field}`"
                )
        own = lane_named(ANY_WINDOW, self).name
        if ANY_WINDOW in self.lanes and own in self.lanes:
            raise ValueError(
                f"a lane is named twice: {ANY_WINDOW} is {own}, by background_window "
                f"(FLEXTIER_BACKGROUND_WINDOW)"
            )
        return self

    def replace(self, **changes: Unpack[PolicyFields]) -> FlexPolicy:
        """A copy with other values for some fields. The environment is not read again.

        Raises:
            PolicyError: a value, or a field's name, is wrong.
        """
        if not changes:
            return self
        hashable = ((k, tuple(v) if isinstance(v, list) else v) for k, v in changes.items())
        try:
            return _replaced(self, self.explicit, tuple(sorted(hashable)))
        except TypeError:  # a value that cannot be hashed, and so not cached
            return _replaced.__wrapped__(self, self.explicit, tuple(changes.items()))

    @classmethod
    def of(cls, value: FlexPolicy | PolicyFields) -> FlexPolicy:
        """A policy, or one made from a dict of its fields.

        Raises:
            PolicyError: it is neither, or a field is wrong.
        """
        if isinstance(value, FlexPolicy):
            return value
        if not isinstance(value, Mapping):
            raise PolicyError(
                f"policy={value!r}: must be a FlexPolicy or a dict of its fields, such as "
                '{"lanes": "flex"}'
            )
        return cls(**value)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        reference = handler(schema)
        made = handler.resolve_ref_schema(reference)
        made["description"] = "How calls are routed: which lanes, for how long, how often."
        for name, text in describe().items():
            made["properties"][name]["description"] = text
        return reference

    @property
    def explicit(self) -> frozenset[str]:
        """The fields that were set by arguments, and not by the environment or the defaults."""
        return frozenset(self.model_fields_set)

    def _set_explicit(self, fields: Iterable[str]) -> None:
        # pydantic counts fields from the environment as set, too.
        object.__setattr__(self, "__pydantic_fields_set__", set(fields))

    @classmethod
    def check(cls, changes: dict[str, Any]) -> None:
        """Check names and values that will replace fields of a policy that is not known yet.

        Raises:
            PolicyError: a name or value is wrong by itself.
        """
        # Every field is given, so that the environment is not read.
        defaults = {name: field.default for name, field in cls.model_fields.items()}
        cls(**{**defaults, **_PERMISSIVE, **changes})

    @property
    def patience_seconds(self) -> float:
        """Seconds for which new attempts may start on a lane that refuses; infinity: to its end."""
        if self.patience is not None:
            return self.patience
        return MAX_PATIENCE if self.deadline is None else math.inf

    def attempt_timeout(self, lane: str) -> float:
        """Seconds that one attempt on ``lane`` may take."""
        known = LANES.get(lane)
        seconds: float | None = self._value(known.timeout_field if known else "standard_timeout")
        if seconds is None:
            return math.inf if known is None else known.max_seconds
        return seconds

    def reserve(self, lane: str) -> float:
        """Seconds before the deadline at which ``lane`` is left, whatever the next lane needs."""
        return self._value(LANES[lane].reserve_field) or 0.0

    def gather_time(self, lane: str) -> float:
        """Seconds for which calls on ``lane`` are collected before they are sent."""
        return self._value(LANES[lane].gather_field) or 0.0

    def _value(self, field: str | None) -> float | None:
        return None if field is None else getattr(self, field)

    def backoff(self, failures: int) -> float:
        """Seconds of backoff, at most, after ``failures`` failed attempts on a lane (1, 2, …)."""
        return exponential_backoff(
            failures,
            initial=self.backoff_initial,
            multiplier=self.backoff_multiplier,
            longest=self.backoff_max,
        )


if TYPE_CHECKING:

    class PolicyField:
        """A field ``policy`` for checkers: set to a policy or a dict, and read as a policy."""

        @overload
        def __get__(self, instance: None, owner: type) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: type) -> FlexPolicy: ...
        def __get__(self, instance: Any, owner: type) -> Any: ...
        def __set__(self, instance: object, value: FlexPolicy | PolicyFields) -> None: ...

else:
    PolicyField = FlexPolicy


def describe() -> dict[str, str]:
    """What each field of :class:`FlexPolicy` means; empty where docstrings are stripped."""
    text = inspect.getdoc(FlexPolicy) or ""
    found = re.findall(r"^    (\w+) = .+?: (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


# Names of fields before the first release: an old name is an error that gives the new one.
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

# Fields that other fields are checked against, at values that contradict no other field.
_PERMISSIVE: dict[str, Any] = {
    "lanes": ("flex", "standard"),
    "backoff_initial": 0,
    "backoff_max": 1e12,
}


@lru_cache(maxsize=256)
def _replaced(
    policy: FlexPolicy, explicit: frozenset[str], changes: tuple[tuple[str, Any], ...]
) -> FlexPolicy:
    replaced = FlexPolicy(**{**policy.model_dump(), **dict(changes)})
    replaced._set_explicit({*explicit, *dict(changes)})
    return replaced


def _from_environment() -> dict[str, Any]:
    """The fields that variables set; pydantic-settings is loaded where there may be some."""
    if not any(name.upper().startswith(PREFIX) for name in os.environ):
        return {}
    from pydantic_settings import EnvSettingsSource

    class Variables(EnvSettingsSource):
        """Variables as they are: the policy's own validators read tuples, not JSON."""

        def decode_complex_value(self, field_name: str, field: Any, value: Any) -> Any:
            return value

    policy: Any = FlexPolicy  # no BaseSettings, which would load pydantic-settings at import
    return Variables(policy, env_prefix=PREFIX, env_ignore_empty=True)()


def _explain(item: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return f"FlexPolicy: {message}"
    field = str(item["loc"][0])
    if field in _RENAMED:
        return f"FlexPolicy.{field} was renamed: use {_RENAMED[field]}"
    if field not in FlexPolicy.model_fields:
        known = FlexPolicy.model_fields
        hint = did_you_mean(field, known) or f"; the fields are: {', '.join(known)}"
        return f"FlexPolicy has no field {field!r}{hint}"
    variable = PREFIX + field.upper()
    if field in given:
        return f"FlexPolicy({field}={given[field]!r}): {message} (or set {variable})"
    return f"{variable}={os.environ.get(variable, '')!r} (FlexPolicy.{field}): {message}"
