"""The limits per minute that a server reports: in the headers of responses, and in a 429's message.

Header names are OpenAI's, which most compatible servers use, too:
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from flextier.capacity import RateLimit, Unit

_UNITS: tuple[Unit, ...] = ("requests", "tokens")


STATED = tuple(f"x-ratelimit-remaining-{unit}" for unit in _UNITS)
"""The headers without which no limit is stated."""


def reported_limits(headers: Mapping[str, str]) -> list[RateLimit]:
    """The limits in the headers of a response: those whose remainder and refill are stated."""
    return [x for unit in _UNITS if (x := _from_headers(unit, headers)).refill is not None]


def refused_limit(kind: str | None, message: str, headers: Mapping[str, str]) -> RateLimit:
    """The limit that a 429 is about: by its error type, its message and its headers."""
    numbers = _NUMBERS.search(message)
    about_tokens = "tokens" in (kind or "") or _ABOUT_TOKENS.search(message) is not None
    stated = _from_headers("tokens" if about_tokens else "requests", headers)
    if numbers is None:
        return stated
    limit, used, requested = (_number(numbers[x]) for x in ("limit", "used", "requested"))
    stated = replace(stated, limit=limit, requested=requested)
    if limit is None or used is None or requested is None:
        return stated
    short, wait = requested + used - limit, stated_wait(message)
    refill = short / wait if wait and short > 0 else stated.refill
    return replace(stated, remaining=limit - used, refill=refill)


def exceeds_limit(message: str) -> bool:
    """Whether a 429 refuses a request that is larger than the whole limit: it never fits."""
    if _TOO_LARGE.search(message):
        return True
    numbers = _NUMBERS.search(message)
    if numbers is None:
        return False
    limit, requested = _number(numbers["limit"]), _number(numbers["requested"])
    return limit is not None and requested is not None and requested > limit


def stated_wait(message: str) -> float | None:
    """The seconds of "Please try again in 976ms."; None: it does not say that."""
    found = _WAIT.search(message)
    return seconds_of(found[1]) or None if found else None


def seconds_of(text: str) -> float:
    """The seconds of a span such as ``6m0s`` or ``20ms``; 0 if it is none."""
    if not _SPANS.fullmatch(text):
        return 0.0
    parts: list[tuple[str, str]] = _SPAN.findall(text)
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


_SPAN = re.compile(r"(\d{1,9}(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SPANS = re.compile(f"({_SPAN.pattern})+", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WAIT = re.compile(rf"try again in ((?:{_SPAN.pattern})+)", re.ASCII | re.IGNORECASE)
_ABOUT_TOKENS = re.compile(r"\btokens(_usage_based)? per \w|\btoken rate limit", re.IGNORECASE)
_TOO_LARGE = re.compile("request too large|must be reduced", re.IGNORECASE)
_COUNT = r"\d(?:[\d,]{0,18}\d)?"
_NUMBERS = re.compile(
    rf" (?:tokens|requests) per .{{0,40}}?Limit:? (?P<limit>{_COUNT})"
    rf"(?:, Used:? (?P<used>{_COUNT}))?(?:, Requested:? (?P<requested>{_COUNT}))?",
    re.ASCII,
)


def _from_headers(unit: Unit, headers: Mapping[str, str]) -> RateLimit:
    remaining = _number(headers.get(f"x-ratelimit-remaining-{unit}"))
    limit = _number(headers.get(f"x-ratelimit-limit-{unit}"))
    if remaining is None or limit is None:
        return RateLimit(unit, remaining, limit)
    refill, taken = limit / 60, limit - remaining
    # "The time until the limit is back at its initial state": longer than a minute for limits per
    # day. While little is taken it is rounded too much to go by.
    reset = seconds_of(headers.get(f"x-ratelimit-reset-{unit}", ""))
    if reset and 2 * taken > limit:
        refill = min(refill, taken / reset)
    return RateLimit(unit, remaining, limit, refill or None)


def _number(text: str | None) -> float | None:
    digits = (text or "").replace(",", "")
    return float(digits) if digits.isdecimal() and len(digits) < 20 else None
