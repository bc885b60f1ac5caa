"""The ``timeout`` argument of the SDK and the frameworks, and what it means for a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import openai

from flextier.errors import PolicyError
from flextier.policy import MAX_PATIENCE, FlexPolicy

_CONNECT = 5.0
"""Seconds to connect, as the SDK's own default."""

_NEVER = 1_000_000.0
"""``timeout=None`` means no timeout; this is the longest that every platform's poll() can wait."""


@dataclass(frozen=True, slots=True)
class TimeoutArgument:
    """A ``timeout`` argument. ``total`` None: not given; the policy's fields apply."""

    total: float | None = None
    connect: float = _CONNECT

    @classmethod
    def from_argument(cls, timeout: Any, base: TimeoutArgument | None = None) -> TimeoutArgument:
        """Read a number of seconds, an ``httpx.Timeout``, a tuple or None (no timeout).

        Raises:
            PolicyError: it is not above 0, or no number.
        """
        if timeout is None:
            return cls(_NEVER)
        if isinstance(timeout, (int, float)):
            return cls(_seconds(timeout, timeout), base.connect if base else _CONNECT)
        given = timeout if hasattr(timeout, "read") else openai.Timeout(timeout)
        return cls(_seconds(given.read, timeout), _seconds(given.connect, timeout))

    def for_attempt(self, seconds: float, *, externally_timed: bool = False) -> Any:
        """The SDK's timeout for an attempt that may take ``seconds``.

        With ``externally_timed`` the attempt is ended from outside, which saves the timers of each
        read and write.
        """
        each = None if externally_timed else seconds
        connect = min(self.connect, seconds)
        return openai.Timeout(connect=connect, read=each, write=each, pool=seconds)

    def apply_to(self, policy: FlexPolicy) -> FlexPolicy:
        """The policy with this timeout on every lane."""
        if self.total is None:
            return policy
        return policy.replace(flex_timeout=self.total, standard_timeout=self.total)

    def patience_for(self, policy: FlexPolicy) -> FlexPolicy:
        """The policy with the patience of the stock class, where nothing else bounds it."""
        if self.total is None or policy.patience is not None or policy.deadline is not None:
            return policy
        patience = min(self.total * (policy.max_retries + 1), MAX_PATIENCE)
        return policy.model_copy(update={"patience": patience})


def _seconds(value: Any, timeout: Any) -> float:
    """Seconds of a part of ``timeout``; None is no limit."""
    if value is None:
        return _NEVER
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise PolicyError(
            f"timeout={timeout!r}: must be a finite number of seconds above 0, to connect and to "
            "read; None: no timeout"
        )
    return seconds


@dataclass(frozen=True, slots=True)
class ClientArguments:
    """A client's own ``timeout`` and ``max_retries``; None: not given."""

    timeout: TimeoutArgument = TimeoutArgument()
    max_retries: int | None = None

    def fields(self) -> dict[str, Any]:
        """The fields of the policy that they set."""
        fields: dict[str, Any] = {}
        if self.timeout.total is not None:
            fields.update(flex_timeout=self.timeout.total, standard_timeout=self.timeout.total)
        if self.max_retries is not None:
            fields["max_retries"] = self.max_retries
        return fields

    def as_defaults_of(self, policy: FlexPolicy) -> FlexPolicy:
        """The policy, with these for the fields that it does not set explicitly."""
        explicit = policy.explicit
        return policy.replace(**{k: v for k, v in self.fields().items() if k not in explicit})

    def updated(self, timeout: TimeoutArgument, max_retries: int | None) -> ClientArguments:
        """These, replaced by the arguments that are given."""
        return ClientArguments(
            self.timeout if timeout.total is None else timeout,
            self.max_retries if max_retries is None else max_retries,
        )


def merge_arguments(
    policy: FlexPolicy, given: FlexPolicy | None, arguments: ClientArguments
) -> FlexPolicy:
    """The policy with a client's own ``timeout`` and ``max_retries`` in place.

    Args:
        policy: the policy in force.
        given: the policy that the caller passed, whose explicit fields must not be contradicted.
        arguments: the client's arguments.

    Raises:
        PolicyError: an argument contradicts an explicit field of ``given``.
    """
    changes = arguments.fields()
    for field, value in changes.items():
        _refuse_conflict(given, field, value)
    return policy.replace(**changes)


def _refuse_conflict(given: FlexPolicy | None, field: str, value: Any) -> None:
    if given is None or field not in given.explicit or getattr(given, field) == value:
        return
    argument = "max_retries" if field == "max_retries" else "timeout"
    raise PolicyError(
        f"{argument}={value:g} and FlexPolicy({field}={getattr(given, field):g}) contradict each "
        f"other: set one of them only"
    )
