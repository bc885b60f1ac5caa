"""Exact Decimal arithmetic, independent of the decimal context that the program has set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Context, Decimal

# Rates have a few digits, token counts rarely ten: a precision of 100 loses none of them.
_CONTEXT = Context(prec=100)
_ONE = Decimal(1)
_ZERO = Decimal(0)

added = _CONTEXT.add
"""The sum of two amounts, trailing zeros kept."""


def product(one: Decimal, other: Decimal | int) -> Decimal:
    """The product of two numbers."""
    return _normalized(_CONTEXT.multiply(one, other))


def dollars(rate: Decimal, tokens: int) -> Decimal:
    """The cost of tokens at a rate in US$ per million."""
    if not tokens:  # most calls have no tokens of some kind
        return _ZERO
    return _normalized(_CONTEXT.scaleb(_CONTEXT.multiply(rate, tokens), -6))


def total_dollars(parts: Iterable[tuple[Decimal, int]]) -> Decimal:
    """The total cost of parts: a rate in US$ per million, and the tokens, of each."""
    result = _ZERO
    for rate, tokens in parts:
        if tokens:
            result = _CONTEXT.fma(rate, tokens, result)
    return _normalized(_CONTEXT.scaleb(result, -6))


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts."""
    result = _ZERO
    for amount in amounts:
        result = _CONTEXT.add(result, amount)
    return _normalized(result)


def total_if_known(amounts: Sequence[Decimal | None]) -> Decimal | None:
    """The sum of amounts; None if one is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return total(known) if len(known) == len(amounts) else None


def difference(one: Decimal, other: Decimal) -> Decimal:
    """The first amount minus the second."""
    return _normalized(_CONTEXT.subtract(one, other))


def plain_digits(amount: Decimal) -> str:
    """The amount in plain digits: no exponent, no trailing zeros."""
    return f"{_normalized(amount):f}"


def optional_digits(amount: Decimal | None) -> str | None:
    """As :func:`plain_digits`; None if the amount is unknown."""
    return None if amount is None else plain_digits(amount)


def _normalized(amount: Decimal) -> Decimal:
    """The same number without trailing zeros, and without an exponent for whole numbers."""
    short = amount.normalize(_CONTEXT)
    if short.adjusted() <= 0:  # less than ten: there is no exponent above 0
        return short
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return short.quantize(_ONE, context=_CONTEXT)
    return short
