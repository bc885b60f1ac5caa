"""Numbers, times, names and tables as text: few digits, units, no control characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal

_CENT = Decimal("0.01")
_SIGNIFICANT = 2
_MINUS = "\N{MINUS SIGN}"


def dollars(amount: Decimal | None) -> str:
    """``$12.34``, ``$0.0042``: cents, and below a dollar at least two significant digits."""
    if amount is None:
        return "not known"
    sign = _MINUS if amount < 0 else ""
    size = abs(amount)
    if not size:
        return "$0"
    cents = size.quantize(_CENT, rounding=ROUND_HALF_EVEN)
    if cents < Decimal("0.1"):
        step = Decimal(1).scaleb(size.adjusted() - _SIGNIFICANT + 1)
        cents = size.quantize(min(step, _CENT), rounding=ROUND_HALF_EVEN)
    return f"{sign}${cents:,f}"


def count(number: int, one: str | None = None, many: str | None = None) -> str:
    """``1,234``, or with a noun ``1 call``, ``1,234 calls``."""
    if one is None:
        return f"{number:,}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def percent(part: Decimal | float, whole: Decimal | float) -> str:
    """``48 %``, ``0.3 %``; empty if ``whole`` is 0."""
    if not whole:
        return ""
    share = 100 * float(part) / float(whole)
    digits = 1 if 0 < abs(share) < 10 else 0
    return f"{share:.{digits}f} %".replace("-", _MINUS)


def seconds(duration: float | None) -> str:
    """``0.4 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if duration is None:
        return "not known"
    if duration < 10:
        return f"{duration:.1f} s" if round(duration, 1) else "0 s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two_units(whole // 60, "min", whole % 60, "s")
    return _two_units(whole // 3600, "h", whole % 3600 // 60, "min")


def _two_units(large: int, unit: str, small: int, subunit: str) -> str:
    return f"{large:,} {unit} {small} {subunit}" if small else f"{large:,} {unit}"


def moment(at: datetime, until: str = "minutes") -> str:
    """``2026-11-21 14:05``; years have four digits, which ``strftime`` does not promise."""
    return at.replace(tzinfo=None).isoformat(" ", until)


def day(at: datetime) -> str:
    """``2026-11-21``."""
    return at.date().isoformat()


def plain(name: str, longest: int | None = None) -> str:
    """A name with control characters escaped, cut to ``longest`` characters."""
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in name)
    if longest is not None and len(shown) > longest:
        return f"{shown[: longest - 1]}…"
    return shown


def text_table(rows: Iterable[Sequence[str]], *, left: int | None = None) -> list[str]:
    """The lines of a table: each column as wide as its widest cell, two spaces between columns.

    The first ``left`` columns are aligned left, the others right. None: all are aligned left.
    """
    columns = []
    for place, cells in enumerate(zip(*rows, strict=True)):
        align = str.ljust if left is None or place < left else str.rjust
        width = max(map(len, cells))
        columns.append([align(cell, width) for cell in cells])
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]
