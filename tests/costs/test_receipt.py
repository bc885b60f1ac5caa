"""Receipts: of a budget's block, of totals, next to a quote."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flextier import FlexOpenAI, budget, override
from flextier.costs import CostTotals, Receipt
from flextier.pricing.span import Span
from flextier.sim import Simulator


def test_the_receipt_of_a_budget(flextier_sim: Simulator, tmp_path: Path) -> None:
    """It is per lane, and what is in no amount apart; also as JSON."""
    with (
        FlexOpenAI(base_url=flextier_sim.base_url, api_key="x") as client,
        budget("0.5") as spending,
    ):
        client.responses.create(model="o4-mini", input="Hello.")
        with override(lanes=("standard",)):
            client.responses.create(model="o4-mini", input="Hello.")
        with pytest.warns(UserWarning, match="is unknown"):
            client.responses.create(model="my-own", input="Hello.")
    receipt = spending.receipt()
    assert receipt.paid == spending.spent == receipt.totals.cost > 0
    assert {lane: sums.calls for lane, sums in receipt.totals.by_lane.items()} == {
        "flex": 2,
        "standard": 1,
    }
    assert receipt.totals.unpriced_calls == spending.unpriced_calls == 1
    lines = str(receipt).splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [
        ["flex", "2"],
        ["standard", "1"],
        ["all", "3"],
    ]
    assert lines[4].startswith("budget: $0.50, ")
    assert lines[5] == "1 call without a known price, not in any amount: the real cost is higher."
    receipt.write(tmp_path / "receipt.json")
    written: Any = json.loads((tmp_path / "receipt.json").read_text())
    assert written == receipt.to_dict()
    assert (written["paid"], written["budget"]) == (f"{receipt.paid:f}", "0.5")
    assert sum(Decimal(lane["paid"]) for lane in written["lanes"].values()) == receipt.paid


@pytest.mark.parametrize(
    ("low", "high", "within"),
    [("0", "1", True), ("1", "2", False), (None, None, True), (None, "-1", False)],
)
def test_what_was_quoted(low: str | None, high: str | None, within: bool) -> None:
    """The receipt says whether what was paid is within it."""
    span = Span(*(None if x is None else Decimal(x) for x in (low, None, high)))
    receipt = Receipt(CostTotals(), span)
    assert receipt.within_quote is within
    assert ("outside" in str(receipt)) is not within
    pending = Receipt(CostTotals(), span, is_complete=False)
    assert pending.within_quote is (False if high == "-1" else None)
    assert receipt.to_dict()["quoted"] == {"low": low, "expected": None, "high": high}
    assert Receipt(CostTotals()).within_quote is None
