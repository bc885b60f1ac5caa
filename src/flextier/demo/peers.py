"""The same questions without flextier, at the same time, in the same weather."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flextier.costs.totals import CostTotals
from flextier.demo.questions import Ask, ask_all
from flextier.langchain import get_flex_cost_callback


@dataclass(frozen=True)
class PeerResult:
    """The answers to the questions, and their costs."""

    name: str
    """What they were asked with."""
    lost: int
    totals: CostTotals
    """Costs of the answers."""


async def ask_peer(name: str, asks: Mapping[str, Ask], concurrency: int) -> PeerResult:
    """Ask all questions with a class of LangChain's own."""
    with get_flex_cost_callback() as costs:
        rows = await ask_all(asks, concurrency, lambda row: None)
    return PeerResult(name, sum(row.is_lost for row in rows), costs.totals)
