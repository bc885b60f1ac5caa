"""What the simulated model says, whatever the endpoint, and what that is billed for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from llmock.completion import ToolCallOut, structured_output
from llmock.tools import ToolContext, auto_tool_call, tool_context

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.json_filler import fill, fill_freely
from flextier.sim.base.sentences import first_sentence
from flextier.sim.base.tokens import MEDIA_TOKENS, MESSAGE_TOKENS, PromptCache, Tokens, clip, count
from flextier.sim.behavior.faults import Serve
from flextier.sim.model.request import Ask

Finish = Literal["stop", "length", "tool_calls"]

# What a reasoning model thinks, in tokens; a guess, larger where more effort is asked for.
_REASONING = {"none": 0, "minimal": 16, "low": 64, "medium": 192, "high": 448, "xhigh": 832}

_REASONING_MODEL = re.compile(r"(ft:)?(o\d|gpt-[5-9])(?!.*-chat)")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model answers.

    Attributes:
        text: The text; empty when tools are called.
        calls: The tools called.
        finish: Why it ended, in Chat Completions' words.
        tokens: What it is billed for.
        tier: The tier that served it.
    """

    text: str
    calls: tuple[ToolCallOut, ...]
    finish: Finish
    tokens: Tokens
    tier: str


def answer(ask: Ask, cache: PromptCache, script: Serve) -> Answer:
    """What the model answers; ``script`` overrides parts of it."""
    calls = _calls(ask) if script.text is None else ()
    said = "" if calls else _said(ask, script)
    thought = _reasoning(ask)
    text, finish = _limited(said, ask, thought)
    return Answer(
        text,
        calls,
        "tool_calls" if calls else finish,
        script.tokens or _tokens(ask, cache, text, calls, thought),
        script.tier or ask.served_tier,
    )


def reasons(model: str) -> bool:
    """Whether a model of this name reasons: o1, o3, o4, gpt-5 and later, but no chat models."""
    return _REASONING_MODEL.match(model) is not None


def _said(ask: Ask, script: Serve) -> str:
    if script.text is not None:
        return script.text
    wanted = structured_output(ask.dialect, ask.body)
    if wanted is None:
        return _reply(ask)
    if isinstance(wanted, dict):
        return _dumps(_filled(wanted, ask.question))
    return _dumps(fill_freely(ask.question, _reply(ask)))


def _reply(ask: Ask) -> str:
    """The first sentence of what was said last: useful in a demo, and the same on every run."""
    last = ask.turns[-1]
    if last.role == "tool":
        return f"[simulated] The tool answered: {first_sentence(last.text)}"
    return f"[simulated] {first_sentence(ask.question or last.text)}"


def _calls(ask: Ask) -> tuple[ToolCallOut, ...]:
    context = tool_context(ask.dialect, ask.body, ask.question)
    first = auto_tool_call(context) if context else None
    if context is None or first is None:
        return ()
    names = [first.name]
    if ask.body.get("parallel_tool_calls") is not False and context.forced_name is None:
        names = _named(context) or names
    return tuple(_call(name, context) for name in names)


def _named(context: ToolContext) -> list[str]:
    """The tools that the question calls by their names."""
    words = set(re.findall(r"[\w-]+", context.prompt))
    return [tool.name for tool in context.tools if tool.name in words]


def _call(name: str, context: ToolContext) -> ToolCallOut:
    schema = next((tool.parameters for tool in context.tools if tool.name == name), None)
    arguments = _filled(schema, context.prompt) if schema else {}
    return ToolCallOut(f"call_{uuid4().hex[:24]}", name, _dumps(arguments))


def _filled(schema: Any, prompt: str) -> Any:
    try:
        return fill(schema, prompt)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Rejected(
            api_errors.invalid("schema", f"it cannot be filled: {error!r:.200}")
        ) from error


def _reasoning(ask: Ask) -> int:
    if not reasons(ask.model):
        return 0
    thought = _REASONING.get(str(ask.effort), _REASONING["medium"])
    # The limit covers reasoning too: leave half of a tight one to the answer.
    return thought if ask.limit is None else min(thought, ask.limit // 2)


def _limited(text: str, ask: Ask, thought: int) -> tuple[str, Finish]:
    """The text up to the first stop text and within the limit, and why it ended."""
    for stop in ask.stop:
        text = text.partition(stop)[0]
    if ask.limit is None or count(text) <= ask.limit - thought:
        return text, "stop"
    return clip(text, ask.limit - thought), "length"


def _tokens(
    ask: Ask, cache: PromptCache, text: str, calls: tuple[ToolCallOut, ...], thought: int
) -> Tokens:
    prompt = _prompt(ask)
    said = count(text) + sum(count(call.name) + count(call.arguments) for call in calls)
    return Tokens(
        input_tokens=_input_tokens(ask, prompt),
        output_tokens=ask.choices * (max(1, said) + thought),
        cached_input_tokens=cache.read(ask.model, prompt),
        reasoning_tokens=ask.choices * thought,
    )


def input_tokens(ask: Ask) -> int:
    """How many tokens the model reads."""
    return _input_tokens(ask, _prompt(ask))


def _input_tokens(ask: Ask, prompt: str) -> int:
    media = sum(turn.media for turn in ask.turns)
    return count(prompt) + MESSAGE_TOKENS * len(ask.turns) + MEDIA_TOKENS * media


def _prompt(ask: Ask) -> str:
    """Everything the model reads, tools first, as prompt caching sees it."""
    tools = ask.body.get("tools")
    pieces = [_dumps(tools)] if tools else []
    pieces += [turn.text for turn in ask.turns]
    return "\n".join(pieces)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
