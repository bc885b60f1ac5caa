"""docs/tools.md and docs/serve.md: the table of the last run, between two marks."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.clients.tools import TOOLS, Tool

BEGIN, END = "<!-- make test-clients: begin -->\n", "<!-- make test-clients: end -->\n"
HEAD = (
    "| tool | how it gets our client | refusing: lanes (refusals) | "
    "stalling: lanes (stalls) | answers right | figures right | its own figures | remark |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
GATEWAY_HEAD = (
    "| client | flex refuses: lanes (refusals) | flex stalls: lanes (stalls) | answers right | "
    "figures right | its own figures |\n|---|---|---|---|---|---|\n"
)
_CENT = Decimal("0.0000001")


def write_table(page: Path, results: Path) -> None:
    """Replace the rows of tools that have results."""
    before, _, rest = page.read_text().partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = []
    for tool in TOOLS:
        result = results / f"{tool.name}.json"
        if result.exists():
            rows.append(_row(tool, json.loads(result.read_text())))
        else:
            start = f"| {tool.title} "
            rows += [row for row in table.splitlines(keepends=True) if row.startswith(start)]
    page.write_text(f"{before}{BEGIN}\n{HEAD}{''.join(rows)}\n{END}{after}")


def write_gateway_table(page: Path, results: list[Path]) -> None:
    """Replace the table, if every client has a result."""
    if not all(result.exists() for result in results):
        return
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    found = [json.loads(result.read_text()) for result in results]
    rows = "".join(_joined([result["title"], *_figures(result)]) for result in found)
    page.write_text(f"{before}{BEGIN}\n{GATEWAY_HEAD}{rows}\n{END}{after}")


def _row(tool: Tool, result: dict[str, Any]) -> str:
    title = f"{tool.title} {result['version']} (openai {result['openai']})"
    return _joined([title, tool.client, *_figures(result), tool.remark])


def _joined(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _figures(result: dict[str, Any]) -> list[str]:
    refusing, stalling = result["refusing"], result["stalling"]
    both = [refusing, stalling]
    return [
        f"{_lanes(refusing)} ({refusing['refusals']})",
        f"{_lanes(stalling)} ({stalling['stalls']})",
        f"{sum(one['right'] for one in both)} of {sum(one['asked'] for one in both)}",
        "yes" if all(one["figures_right"] for one in both) else "**no**",
        "; ".join(filter(None, [_own_tokens(both), _own_cost(both)])) or "none",
    ]


def _lanes(one: dict[str, Any]) -> str:
    return ", ".join(f"{lane} {one['lanes'][lane]}" for lane in sorted(one["lanes"])) or "none"


def _own_tokens(both: list[dict[str, Any]]) -> str:
    """What the tool itself counts, beside what was billed."""
    counted = [one["own_tokens"] for one in both]
    if None in counted:
        return ""
    billed = [[one["usage"]["input_tokens"], one["usage"]["output_tokens"]] for one in both]
    if counted == billed:
        return "tokens right"
    return f"tokens {_sum(counted)} of {_sum(billed)}"


def _sum(pairs: list[list[int]]) -> str:
    return f"{sum(sum(pair) for pair in pairs):,}"


def _own_cost(both: list[dict[str, Any]]) -> str:
    counted = [one["own_cost"] for one in both]
    if None in counted:
        return ""
    for words, name in (("cost right", "cost"), ("cost at standard's price", "standard_cost")):
        if all(abs(Decimal(one["own_cost"]) - Decimal(one[name])) < _CENT for one in both):
            return words
    return f"cost {sum(counted):.6f}, billed {sum(Decimal(one['cost']) for one in both):.6f}"
