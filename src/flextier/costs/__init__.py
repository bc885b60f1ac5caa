"""What calls cost: their tokens, and the price of these on each lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._lazy import lazily
from flextier.costs.usage import Usage

if TYPE_CHECKING:
    from flextier.costs.book import PriceBook as PriceBook
    from flextier.costs.book import price as price
    from flextier.costs.book import price_book as price_book
    from flextier.costs.book import set_price_book as set_price_book
    from flextier.costs.cost import Basis as Basis
    from flextier.costs.cost import Cost as Cost
    from flextier.costs.ledger import Ledger as Ledger
    from flextier.costs.rates import Rates as Rates
    from flextier.costs.recording import record_calls as record_calls
    from flextier.costs.records import CallRecord as CallRecord
    from flextier.costs.records import record_of as record_of
    from flextier.costs.totals import CostTotals as CostTotals
    from flextier.costs.totals import Sums as Sums

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
    "Basis": "cost",
    "CallRecord": "records",
    "Cost": "cost",
    "CostTotals": "totals",
    "Ledger": "ledger",
    "PriceBook": "book",
    "Rates": "rates",
    "Sums": "totals",
    "price": "book",
    "price_book": "book",
    "record_calls": "recording",
    "record_of": "records",
    "set_price_book": "book",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
