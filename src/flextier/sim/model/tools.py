"""Which of the tools that a request offers the simulated model calls."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flextier.sim.model.request import ModelRequest

_NAME = re.compile(r"[\w-]+")
_WORD = re.compile(r"[a-z0-9]+")

# A word of a tool's name counts as much as this many of its description.
_NAME_WEIGHT = 3


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call.

    Attributes:
        name: Its name.
        description: What it is for; empty when the request does not say.
        parameters: The JSON schema of its arguments; None: it takes none.
    """

    name: str
    description: str = ""
    parameters: Any = None


def called(ask: ModelRequest) -> list[Tool]:
    """The tools that the model calls; none: it answers in text.

    That is the tool that ``tool_choice`` names, else those that the question names, else the one
    whose name and description have most words in common with the question. A tool's result is
    answered in text. Where ``tool_choice`` requires a call, the last tool that was not called since
    the question follows: there frameworks put the one that ends an agent.
    """
    offered = _offered(ask)
    choice = ask.body.get("function_call" if ask.legacy else "tool_choice")
    if not offered or choice == "none":
        return []
    forced = _forced(choice)
    if forced is not None:
        return [next((tool for tool in offered if tool.name == forced), Tool(forced))]
    if ask.turns[-1].role == "tool":
        return [_unused(offered, ask)] if choice == "required" else []
    one = ask.legacy or ask.body.get("parallel_tool_calls") is False
    named = _named(offered, ask.question)[: 1 if one else None]
    return named or [_best(offered, ask.question)]


def _offered(ask: ModelRequest) -> list[Tool]:
    """The functions offered; custom tools and those that OpenAI runs itself are left out."""
    entries: Sequence[dict[str, Any]] = ask.body.get("functions" if ask.legacy else "tools") or ()
    if ask.endpoint == "chat":
        functions = [_unwrapped(entry) for entry in entries]
    else:
        functions = [entry for entry in entries if entry.get("type") == "function"]
    return [
        Tool(str(one["name"]), str(one.get("description") or ""), one.get("parameters"))
        for one in functions
        if one.get("name")
    ]


def _unwrapped(entry: dict[str, Any]) -> dict[str, Any]:
    function = entry.get("function")
    return function if isinstance(function, dict) else entry


def _forced(choice: Any) -> str | None:
    """The tool that a ``tool_choice`` names: nested in Chat Completions, flat in Responses."""
    if not isinstance(choice, dict):
        return None
    name = choice.get("name") or _unwrapped(choice).get("name")
    return str(name) if name else None


def _unused(offered: list[Tool], ask: ModelRequest) -> Tool:
    """The last tool that was not called since the question; after all of them, the last one."""
    used: set[str] = set()
    for turn in reversed(ask.turns):
        if turn.role == "user":
            break
        used.update(turn.calls)
    return next((tool for tool in reversed(offered) if tool.name not in used), offered[-1])


def _named(offered: list[Tool], question: str) -> list[Tool]:
    """The tools that the question calls by their names."""
    words = set(_NAME.findall(question))
    return [tool for tool in offered if tool.name in words]


def _best(offered: list[Tool], question: str) -> Tool:
    """The tool that suits the question best; the first of those that suit it equally."""
    wanted = _words(question)

    def score(tool: Tool) -> int:
        in_description = len(wanted & _words(tool.description))
        return _NAME_WEIGHT * len(wanted & _words(tool.name)) + in_description

    return max(offered, key=score)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
