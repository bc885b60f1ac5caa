"""Decimal arithmetic: exact, and printed as it is read."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.pricing.decimals import dollars, plain_digits, total, total_dollars

RATES = st.decimals(0, 10_000, places=6) | st.integers(0, 9).map(
    lambda zeros: Decimal(f"1E{zeros}")
)


@given(RATES, st.integers(0, 10**12))
def test_dollars_are_rate_times_tokens(rate: Decimal, tokens: int) -> None:
    """To the last digit, without exponent and without zeros at the end."""
    amount = dollars(rate, tokens)
    assert Fraction(amount) == Fraction(rate) * tokens / 1_000_000
    assert str(amount) == plain_digits(amount) or amount < Decimal("0.000001")
    assert amount.as_tuple() == Decimal(plain_digits(amount)).as_tuple()


@given(st.lists(st.tuples(RATES, st.integers(0, 10**9)), max_size=4))
def test_the_whole_is_its_parts(parts: list[tuple[Decimal, int]]) -> None:
    """Priced together or one by one, it is the same amount, printed the same."""
    whole = total_dollars(parts)
    assert whole.as_tuple() == total(dollars(*part) for part in parts).as_tuple()


@pytest.mark.parametrize(
    ("amount", "digits"),
    [
        ("0", "0"),
        ("0E+3", "0"),
        ("0.000", "0"),
        ("1E+1", "10"),
        ("9", "9"),
        ("9.50", "9.5"),
        ("10", "10"),
        ("12E+5", "1200000"),
        ("1E-9", "0.000000001"),
        ("-1E+2", "-100"),
    ],
)
def test_plain_digits(amount: str, digits: str) -> None:
    """No exponent on either side of ten."""
    assert plain_digits(Decimal(amount)) == digits
