"""Totals that were kept are the totals that were had."""

from __future__ import annotations

import json

from flextier import FlexOpenAI
from flextier.costs import CostTotals, record_calls
from flextier.sim import Simulator


def test_totals_out_and_in(flextier_sim: Simulator) -> None:
    """From JSON they are equal again, by model, lane and tag; and can be added to."""
    client = FlexOpenAI(base_url=flextier_sim.base_url, api_key="bulk")
    with client, record_calls(tags=["night"]) as totals:
        client.responses.create(model="o4-mini", input="a")
        client.responses.create(model="gpt-5", input="b")
    again = CostTotals.from_dict(json.loads(json.dumps(totals.to_dict())))
    assert again == totals
    assert again.cost > 0
    assert (again + totals).calls == 4
