"""Every environment variable that flextier reads; a new one is added here."""

from __future__ import annotations

import os
import re
from functools import lru_cache

from flextier._utils.safe_warn import safe_warn
from flextier._utils.suggest import did_you_mean
from flextier.policy import PREFIX, FlexPolicy

AIOHTTP, GATEWAY_TOKEN, LEAN, LEDGER, LOG, OFF = (
    "FLEXTIER_AIOHTTP",
    "FLEXTIER_GATEWAY_TOKEN",
    "FLEXTIER_LEAN",
    "FLEXTIER_LEDGER",
    "FLEXTIER_LOG",
    "FLEXTIER_OFF",
)

OTHERS = {
    AIOHTTP: "`0`: the async clients stay on httpx where aiohttp is installed",
    GATEWAY_TOKEN: "this program's token of the [gateway](serve.md#clients-of-flextier-itself)",
    LEAN: "`0`: bodies and answers take [the SDK's own way](benchmarks.md#the-lean-path)",
    LEDGER: "the ledger that records every call of the process, such as `sqlite:///flextier.db`",
    LOG: "`info` or `debug`: the [log](logging.md) goes to standard error, as with `OPENAI_LOG`",
    OFF: "`1`: the emergency switch: every call goes to standard, as with the stock classes",
}
"""Those that set no field of a policy, and what they mean."""

# What Kubernetes sets in every pod for a Service called flextier, or flextier-…: none of ours.
_OF_KUBERNETES = re.compile(r"FLEXTIER_(?:\w+_)?(?:SERVICE_HOST|(?:SERVICE_)?PORT(?:_\w+)?)")

_FALSE = frozenset({"0", "false", "no", "off"})


def names() -> tuple[str, ...]:
    """The names of all variables: one for each field of :class:`FlexPolicy`, and the others."""
    return (*(PREFIX + field.upper() for field in FlexPolicy.model_fields), *OTHERS)


def setting(name: str) -> str:
    """The value of a variable; empty where it is not set."""
    return os.environ.get(name, "").strip()


def is_false(value: str) -> bool:
    """Whether the value of a variable is one of those that mean no."""
    return value.lower() in _FALSE


def is_off() -> bool:
    """Whether the emergency switch is set: it is read for every call, and overrides all code."""
    value = setting(OFF)
    return bool(value) and not is_false(value)


@lru_cache(maxsize=1)
def warn_misspelt() -> None:
    """Warn, once in this process, of variables that look like flextier's and are none."""
    known = names()
    for name in map(str.upper, os.environ):
        if name.startswith(PREFIX) and name not in known and not _OF_KUBERNETES.fullmatch(name):
            hint = (
                did_you_mean(name, known, 0.75) or ": see docs/settings.md for those that there are"
            )
            safe_warn(f"{name} is no variable of flextier and has no effect{hint}")
