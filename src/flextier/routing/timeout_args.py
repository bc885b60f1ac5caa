"""The ``timeout`` and ``max_retries`` arguments of the SDK and the frameworks."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

from flextier._openai import public_names as openai
from flextier._utils.safe_warn import safe_warn
from flextier.errors import PolicyError
from flextier.policy import MAX_PATIENCE, FlexPolicy

_CONNECT = 5.0
"""Seconds to connect, as the SDK's own default."""

_NEVER = 1_000_000.0
"""``timeout=None`` means no timeout; this is the longest that every platform's poll() can wait."""

PER_LANE = ("flex_timeout", "standard_timeout")
"""The fields of the policy that a ``timeout`` bounds."""

_DEFAULTS = {field: FlexPolicy.model_fields[field].default for field in PER_LANE}


class TimeoutArgument(NamedTuple):
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
        """The policy under which no attempt takes longer, on any lane.

        Of this and a field that the policy or a variable sets, the shorter one applies. A longer
        field of the policy is warned about, once.
        """
        if self.total is None:
            return policy
        changes: dict[str, Any] = {}
        for field in PER_LANE:
            own = getattr(policy, field)
            if own > self.total or (field not in policy.explicit and own == _DEFAULTS[field]):
                changes[field] = self.total
                if field in policy.explicit:
                    warn_overridden(field, own, self.total)
        return policy.replace(**changes)

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


@lru_cache(maxsize=64)
def warn_overridden(field: str, own: float, timeout: float) -> None:
    """Warn once that a ``timeout`` argument overrides a field of the policy."""
    safe_warn(
        f"timeout={timeout:g} overrides FlexPolicy({field}={own:g}): an attempt takes "
        f"{timeout:g} s at most. Set one of them only"
    )


class ClientArguments(NamedTuple):
    """A client's own ``timeout`` and ``max_retries``; None: not given."""

    timeout: TimeoutArgument = TimeoutArgument()
    max_retries: int | None = None

    def as_default_of(self, policy: FlexPolicy) -> FlexPolicy:
        """The policy with this ``max_retries``, if it sets none explicitly."""
        if self.max_retries is None or "max_retries" in policy.explicit:
            return policy
        return policy.replace(max_retries=self.max_retries)

    def updated(self, timeout: TimeoutArgument, max_retries: int | None) -> ClientArguments:
        """These, replaced by the arguments that are given."""
        return ClientArguments(
            self.timeout if timeout.total is None else timeout,
            self.max_retries if max_retries is None else max_retries,
        )


def with_retries(
    policy: FlexPolicy, given: FlexPolicy | None, max_retries: int | None
) -> FlexPolicy:
    """The policy with a client's own ``max_retries``; None: not given.

    Raises:
        PolicyError: it contradicts ``given``, the policy that the caller passed.
    """
    if max_retries is None:
        return policy
    if given is not None and "max_retries" in given.explicit and given.max_retries != max_retries:
        raise PolicyError(
            f"max_retries={max_retries:g} and FlexPolicy(max_retries={given.max_retries}) "
            f"contradict each other: set one of them only"
        )
    return policy.replace(max_retries=max_retries)
