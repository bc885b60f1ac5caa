"""Figures with goals, and their table: a row a figure, a column a major of the OpenAI SDK."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from _measure import Result

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure under one major, and the goal that it has there."""

    name: str
    value: float
    shown: str
    """The value with its unit, and how much it moved."""
    goal: float | None = None
    """The value to reach; None: it is for information."""
    at_least: bool = False
    """Whether more is better."""

    @property
    def verdict(self) -> str:
        """Whether the goal is reached; empty without one."""
        if self.goal is None:
            return ""
        reached = self.value >= self.goal if self.at_least else self.value <= self.goal
        return "reached" if reached else "missed"

    @property
    def aim(self) -> str:
        """The goal, in words."""
        return "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g}"


def ratio(result: Result) -> Figure:
    """A comparison with a plain class."""
    shown = f"{result.ratio:.2f} ({result.low:.2f} to {result.high:.2f})"
    return Figure(result.name, result.ratio, shown, result.target)


def added(result: Result, goal: float | None = None) -> Figure:
    """The CPU that a unit takes more."""
    more = result.ours - result.plain
    return Figure(f"{result.name}, added", more, f"{more:,.0f} µs", goal)


def table(columns: Sequence[tuple[str, Iterable[Figure]]]) -> list[str]:
    """The figures as a Markdown table, which can be pasted into the docs.

    Args:
        columns: the heading and the figures of each.
    """
    heads = [head for head, _ in columns]
    found = [{figure.name: figure for figure in figures} for _, figures in columns]
    names = list(dict.fromkeys(name for figures in found for name in figures))
    rows = [["", "goal", *heads]]
    for name in names:
        figures = [one.get(name) for one in found]
        aims = [figure.aim for figure in figures if figure is not None]
        aim = aims[0] if len(set(aims)) == 1 else " / ".join(aims)
        rows.append([name, aim, *map(_cell, figures)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(cell.ljust(n) for cell, n in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]


def _cell(figure: Figure | None) -> str:
    return NOT_MEASURED if figure is None else f"{figure.shown} {figure.verdict}".rstrip()
