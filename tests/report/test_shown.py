"""How figures are written for people."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import pytest

from flextier._utils import formatting


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("12.344", "$12.34"),
        ("1234567.891", "$1,234,567.89"),
        ("0.42", "$0.42"),
        ("0.0042", "$0.0042"),
        ("0.0000004249", "$0.00000042"),
        ("0.996", "$1.00"),
        ("-0.0123", "\N{MINUS SIGN}$0.012"),
        ("0", "$0"),
    ],
)
def test_dollars(amount: str, written: str) -> None:
    """Cents, and of small amounts the digits that say something."""
    assert formatting.dollars(Decimal(amount)) == written


@pytest.mark.parametrize(
    ("duration", "written"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10.0 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
    ],
)
def test_seconds(duration: float, written: str) -> None:
    """Two units at most."""
    assert formatting.seconds(duration) == written


def test_a_name_cannot_command_a_terminal() -> None:
    """Control characters are written as escapes; long names are cut."""
    assert formatting.plain("\x1b[31mred\n\u202e") == r"\x1b[31mred\n\u202e"
    assert formatting.plain("abcdef", 4) == "abc…"


def test_years_have_four_digits() -> None:
    """Also those of long ago, which ``strftime`` writes with fewer."""
    assert formatting.moment(datetime(1, 2, 3, 4, 5)) == "0001-02-03 04:05"
    assert formatting.day(datetime(1, 2, 3, 4, 5)) == "0001-02-03"


def test_shares() -> None:
    """A digit more where the share is small; nothing of nothing."""
    assert [formatting.percent(part, 1000) for part in (0, 4, 440, -440)] == [
        "0 %",
        "0.4 %",
        "44 %",
        "\N{MINUS SIGN}44 %",
    ]
    assert formatting.percent(1, 0) == ""
