"""Decimal arithmetic that loses no digit, whatever the program has set its own context to."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

# Rates have a handful of digits, token counts rarely ten: a hundred leaves room for any of them.
_CONTEXT = Context(prec=100)
_ONE = Decimal(1)
_NOTHING = Decimal(0)

added = _CONTEXT.add
"""One plus the other."""


def product(one: Decimal, other: Decimal | int) -> Decimal:
    """One times the other."""
    return _plain(_CONTEXT.multiply(one, other))


def dollars(rate: Decimal, tokens: int) -> Decimal:
    """What tokens cost at a rate in US$ per million."""
    if not tokens:  # most calls have no tokens of some kind
        return _NOTHING
    return _plain(_CONTEXT.scaleb(_CONTEXT.multiply(rate, tokens), -6))


def dollars_in_all(parts: Iterable[tuple[Decimal, int]]) -> Decimal:
    """What several rates in US$ per million come to, each for its tokens."""
    result = _NOTHING
    for rate, tokens in parts:
        if tokens:
            result = _CONTEXT.fma(rate, tokens, result)
    return _plain(_CONTEXT.scaleb(result, -6))


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum."""
    result = _NOTHING
    for amount in amounts:
        result = _CONTEXT.add(result, amount)
    return _plain(result)


def difference(one: Decimal, other: Decimal) -> Decimal:
    """One minus the other."""
    return _plain(_CONTEXT.subtract(one, other))


def written(amount: Decimal) -> str:
    """The amount in plain digits: no exponent, no zeros at the end."""
    return f"{_plain(amount):f}"


def _plain(amount: Decimal) -> Decimal:
    """The same number without zeros at its end, so that it prints as it is read."""
    short = amount.normalize(_CONTEXT)
    if short.adjusted() <= 0:  # less than ten: no digit of it stands left of the units
        return short
    exponent = short.as_tuple().exponent
    if isinstance(exponent, int) and exponent > 0:
        return short.quantize(_ONE, context=_CONTEXT)
    return short
