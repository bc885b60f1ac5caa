"""What calls cost: their tokens, and the price of these on each lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import lazy_getattr
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from flextier.costs.recorder import record_calls as record_calls
    from flextier.costs.records import CallRecord as CallRecord
    from flextier.costs.records import record_of as record_of
    from flextier.costs.sums import Sums as Sums
    from flextier.costs.totals import CostTotals as CostTotals
    from flextier.ledger import Ledger as Ledger
    from flextier.pricing.cost import Basis as Basis
    from flextier.pricing.cost import Cost as Cost
    from flextier.pricing.price_book import PriceBook as PriceBook
    from flextier.pricing.price_book import price as price
    from flextier.pricing.price_book import price_book as price_book
    from flextier.pricing.price_book import set_price_book as set_price_book
    from flextier.pricing.rates import Rates as Rates

__all__ = [
    "Basis",
    "CallRecord",
    "Cost",
    "CostTotals",
    "Ledger",
    "PriceBook",
    "Rates",
    "Sums",
    "Usage",
    "price",
    "price_book",
    "record_calls",
    "record_of",
    "set_price_book",
]

# Loaded when first used: a client needs `Usage` alone.
_HOMES = {
    "Basis": "flextier.pricing.cost",
    "CallRecord": "flextier.costs.records",
    "Cost": "flextier.pricing.cost",
    "CostTotals": "flextier.costs.totals",
    "Ledger": "flextier.ledger",
    "PriceBook": "flextier.pricing.price_book",
    "Rates": "flextier.pricing.rates",
    "Sums": "flextier.costs.sums",
    "price": "flextier.pricing.price_book",
    "price_book": "flextier.pricing.price_book",
    "record_calls": "flextier.costs.recorder",
    "record_of": "flextier.costs.records",
    "set_price_book": "flextier.pricing.price_book",
}

__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
