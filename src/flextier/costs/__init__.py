"""What calls cost: their tokens, and the price of these on each lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use
from flextier.pricing.usage import Usage

if TYPE_CHECKING:
    from flextier.costs.receipt import Receipt
    from flextier.costs.recorder import record_calls
    from flextier.costs.records import CallRecord, record_of
    from flextier.costs.sums import Sums
    from flextier.costs.totals import CostTotals
    from flextier.ledger import Ledger
    from flextier.pricing.cost import Basis, Cost
    from flextier.pricing.price_book import PriceBook, price, price_book, set_price_book
    from flextier.pricing.rates import Rates

__all__ = [
    "Basis",
    "CallRecord",
    "Cost",
    "CostTotals",
    "Ledger",
    "PriceBook",
    "Rates",
    "Receipt",
    "Sums",
    "Usage",
    "price",
    "price_book",
    "record_calls",
    "record_of",
    "set_price_book",
]

# Loaded when first used: a client needs `Usage` alone.
if not TYPE_CHECKING:
    __getattr__, __dir__ = load_on_first_use(
        __name__,
        __all__,
        {
            "pricing.cost": "Basis Cost",
            "costs.records": "CallRecord record_of",
            "costs.receipt": "Receipt",
            "costs.sums": "Sums",
            "costs.totals": "CostTotals",
            "ledger": "Ledger",
            "pricing.price_book": "PriceBook price price_book set_price_book",
            "pricing.rates": "Rates",
            "costs.recorder": "record_calls",
        },
    )
