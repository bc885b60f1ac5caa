"""Numbers as integer columns that a database adds up without losing a digit.

An amount is two columns: whole billionths of a dollar (``…_nano``), and the billionths of one of
these that are left (``…_atto``, 0 or more). So a column's sum stays within the 64 bits that SQLite
has for ten million calls, and rates may have twelve decimals. A number that does not fit, because
it is finer or larger, is 0 in its columns and kept in digits (column ``exact``).
"""

from __future__ import annotations

from decimal import Context, Decimal

from flextier.pricing.decimals import product

LARGEST_AMOUNT = Decimal(900)
"""US$ that the columns hold at most, of one call."""
LARGEST_COUNT = 900_000_000_000
"""Tokens that a column holds at most, of one call."""

_PARTS = 10**9
_UNIT = Decimal("1e-18")
_CONTEXT = Context(prec=100)


def columns(amount: Decimal) -> tuple[int, int] | None:
    """The two columns of an amount. None: they cannot hold it."""
    if abs(amount) > LARGEST_AMOUNT:
        return None
    scaled = _CONTEXT.scaleb(amount, 18)
    units = int(scaled)
    if units != scaled:
        return None
    return divmod(units, _PARTS)


def amount(nano: int, atto: int) -> Decimal:
    """The amount of two columns, or of the sums of two columns."""
    return product(Decimal(nano * _PARTS + atto), _UNIT)


def countable(count: int) -> bool:
    """Whether a column can hold a count."""
    return -LARGEST_COUNT <= count <= LARGEST_COUNT
