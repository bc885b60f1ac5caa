"""Rates: US$ per million tokens of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from flextier.pricing.decimals import plain_digits, product

Money = Decimal | int | str
"""US$. No float, which is not exact: 0.1 is not a tenth."""


@dataclass(frozen=True, slots=True)
class Rates:
    """US$ per million tokens, of one model on one lane."""

    input: Decimal
    """Input that was neither read from a cache nor written to one."""
    output: Decimal
    """Output, reasoning included."""
    cached_input: Decimal
    """Input read from a cache; the rate of input where the vendor gives no discount."""
    cache_write: Decimal
    """Input written to a cache; the rate of input where the vendor charges nothing extra."""

    @classmethod
    def of(
        cls,
        input: Money,
        output: Money,
        cached_input: Money | None = None,
        cache_write: Money | None = None,
    ) -> Rates:
        """Rates of your own, as Decimals, whole numbers or digits in a string.

        Args:
            input: per million input tokens.
            output: per million output tokens.
            cached_input: per million input tokens read from a cache; None: the rate of input.
            cache_write: per million input tokens written to a cache; None: the rate of input.

        Raises:
            TypeError: a rate is a float, which is not exact, or no number.
            ValueError: a rate is negative, or its digits are no number.
        """
        plain = _money("input", input)
        return cls(
            input=plain,
            output=_money("output", output),
            cached_input=plain if cached_input is None else _money("cached_input", cached_input),
            cache_write=plain if cache_write is None else _money("cache_write", cache_write),
        )

    @classmethod
    def read(cls, given: Rates | Mapping[str, Money]) -> Rates:
        """Rates, or the arguments of :meth:`of` by name."""
        if isinstance(given, Rates):
            return given
        unknown = sorted(set(given).difference(cls.__slots__))
        if unknown:
            raise ValueError(f"rates have no {', '.join(map(repr, unknown))}")
        missing = [name for name in ("input", "output") if name not in given]
        if missing:
            raise ValueError(f"rates need {' and '.join(missing)}")
        return cls.of(**given)

    def times(self, share: Decimal) -> Rates:
        """Each rate multiplied by ``share``."""
        return Rates(*(product(getattr(self, name), share) for name in self.__slots__))

    def to_dict(self) -> dict[str, str]:
        """The rates by name, as plain digits."""
        return {name: plain_digits(getattr(self, name)) for name in self.__slots__}


def _money(name: str, given: Money) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, Decimal | int | str):
        raise TypeError(f"{name}={given!r}: a Decimal, a whole number, or digits in a string")
    try:
        amount = Decimal(given)
    except InvalidOperation:
        raise ValueError(f"{name}={given!r} is not a number") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{name}={given!r}: a rate is 0 or more")
    return amount
