"""The same questions without flextier, at the same time, in the same weather."""

from __future__ import annotations

from collections.abc import Mapping

from flextier.costs.totals import CostTotals
from flextier.demo.questions import Ask, ask_all
from flextier.langchain import get_flex_cost_callback


async def ask_peer(
    name: str, asks: Mapping[str, Ask], concurrency: int
) -> tuple[str, CostTotals, int]:
    """Ask all questions with a class of LangChain's own: its name, the costs, how many are lost."""
    with get_flex_cost_callback() as costs:
        rows = await ask_all(asks, concurrency, lambda row: None)
    return name, costs.totals, sum(row.is_lost for row in rows)
