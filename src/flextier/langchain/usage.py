"""Tokens and tier as LangChain reports them in ``usage_metadata``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from flextier.pricing.usage import Usage

# langchain-openai prefixes the names of parts with the tier: `flex_cache_read`, `flex_reasoning`,
# and `flex` for the rest. The rest includes the cache writes, so parts overlap and are not summed:
# the totals are used, and the parts that a Usage has.
_TIERS = ("flex", "priority")
_CACHE_WRITES = ("cache_creation", "ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


class ReportedUsage(NamedTuple):
    """The usage that a response reports."""

    usage: Usage | None = None
    """The tokens. None: not reported, or not readable."""
    tier: str | None = None
    """The service tier, from the prefix of the parts."""
    unpriced: str | None = None
    """Why it has no price: tokens with other rates, or tokens that cannot be read."""
    estimated: str | None = None
    """Why its price is an estimate."""


NO_USAGE = ReportedUsage()
"""The usage of a response that reports none."""


def reported_usage(metadata: Any) -> ReportedUsage:
    """The usage in LangChain's ``usage_metadata``. Never raises."""
    if metadata is None:
        return NO_USAGE
    try:
        return _read(metadata)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return ReportedUsage(
            unpriced=f"usage_metadata cannot be read: {type(error).__name__}: {error}"
        )


def _read(metadata: Mapping[str, Any]) -> ReportedUsage:
    inputs = metadata.get("input_token_details") or {}
    outputs = metadata.get("output_token_details") or {}
    usage = Usage(
        input_tokens=_count(metadata["input_tokens"]),
        output_tokens=_count(metadata["output_tokens"]),
        cached_input_tokens=_part(inputs, "cache_read"),
        cache_write_tokens=sum(_part(inputs, name) for name in _CACHE_WRITES),
        reasoning_tokens=_part(outputs, "reasoning"),
    )
    audio = _part(inputs, "audio") + _part(outputs, "audio")
    hour = _part(inputs, "ephemeral_1h_input_tokens")
    return ReportedUsage(
        usage,
        next((tier for tier in _TIERS if tier in inputs or tier in outputs), None),
        unpriced=f"{audio} tokens are audio, which has rates of its own" if audio else None,
        estimated=f"{hour} tokens were cached for an hour, priced as usual" if hour else None,
    )


def _part(details: Mapping[str, Any], name: str) -> int:
    """The tokens of one part, with or without a tier prefix."""
    if not details:
        return 0
    names = (name, *(f"{tier}_{name}" for tier in _TIERS))
    return sum(_count(details.get(name)) for name in names)


def _count(tokens: Any) -> int:
    if tokens is None:
        return 0
    if type(tokens) is not int or tokens < 0:
        raise ValueError(f"{tokens!r} is no number of tokens")
    return tokens
