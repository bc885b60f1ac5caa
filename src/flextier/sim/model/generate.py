"""What the simulated model says, whatever the endpoint, and what that is billed for."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.json_filler import fill, fill_freely
from flextier.sim.base.prompt_schema import schema_in, without_objects
from flextier.sim.base.sentences import first_sentence
from flextier.sim.base.tokens import MEDIA_TOKENS, MESSAGE_TOKENS, PromptCache, Tokens, clip, count
from flextier.sim.behavior.faults import Serve
from flextier.sim.model import tools
from flextier.sim.model.request import ModelRequest
from flextier.sim.model.tools import Tool

Finish = Literal["stop", "length", "tool_calls"]

# What a reasoning model thinks, in tokens; a guess, larger where more effort is asked for.
_REASONING = {"none": 0, "minimal": 16, "low": 64, "medium": 192, "high": 448, "xhigh": 832}

_REASONING_MODEL = re.compile(r"(ft:)?(o\d|gpt-[5-9])(?!.*-chat)")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model calls: the call's id, the tool's name, its arguments in JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class GeneratedAnswer:
    """What the model answers.

    Attributes:
        text: The text; empty when tools are called.
        calls: The tools called.
        finish: Why it ended, in Chat Completions' words.
        tokens: What it is billed for.
        tier: The tier that served it.
    """

    text: str
    calls: tuple[ToolCall, ...]
    finish: Finish
    tokens: Tokens
    tier: str


def answer(ask: ModelRequest, cache: PromptCache, script: Serve) -> GeneratedAnswer:
    """What the model answers; ``script`` overrides parts of it."""
    calls = _calls(ask) if script.text is None else ()
    said = "" if calls else _said(ask, script)
    thought = _reasoning(ask)
    text, finish = _limited(said, ask, thought)
    return GeneratedAnswer(
        text,
        calls,
        "tool_calls" if calls else finish,
        script.tokens or _tokens(ask, cache, text, calls, thought),
        script.tier or ask.served_tier,
    )


def reasons(model: str) -> bool:
    """Whether a model of this name reasons: o1, o3, o4, gpt-5 and later, but no chat models."""
    return _REASONING_MODEL.match(model) is not None


def _said(ask: ModelRequest, script: Serve) -> str:
    if script.text is not None:
        return script.text
    form = _json_form(ask)
    if form is None:
        return _reply(ask)
    named = form.get("json_schema")  # where Chat Completions puts it; Responses does not nest it
    schema = named.get("schema") if isinstance(named, dict) else form.get("schema")
    if isinstance(schema, dict):
        return _dumps(_filled(schema, ask.question))
    if (schema := schema_in(turn.text for turn in ask.turns)) is not None:
        return _dumps(_filled(schema, without_objects(ask.question)))
    return _dumps(fill_freely(ask.question, _reply(ask)))


def _json_form(ask: ModelRequest) -> dict[str, Any] | None:
    """The format that the request asks for, where that is JSON."""
    if ask.endpoint == "chat":
        form = ask.body.get("response_format")
    else:
        form = (ask.body.get("text") or {}).get("format")
    is_json = isinstance(form, dict) and form.get("type") in ("json_schema", "json_object")
    return form if is_json else None


def _reply(ask: ModelRequest) -> str:
    """The first sentence of what was said last: useful in a demo, and the same on every run."""
    last = ask.turns[-1]
    if last.role == "tool":
        return f"[simulated] The tool answered: {first_sentence(last.text)}"
    return f"[simulated] {first_sentence(ask.question or last.text)}"


def _calls(ask: ModelRequest) -> tuple[ToolCall, ...]:
    return tuple(_call(tool, ask.question) for tool in tools.called(ask))


def _call(tool: Tool, prompt: str) -> ToolCall:
    arguments = _filled(tool.parameters, prompt) if tool.parameters else {}
    return ToolCall(f"call_{uuid4().hex[:24]}", tool.name, _dumps(arguments))


def _filled(schema: Any, prompt: str) -> Any:
    try:
        return fill(schema, prompt)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise Rejected(
            api_errors.invalid("schema", f"it cannot be filled: {error!r:.200}")
        ) from error


def _reasoning(ask: ModelRequest) -> int:
    if not reasons(ask.model):
        return 0
    thought = _REASONING.get(str(ask.effort), _REASONING["medium"])
    # The limit covers reasoning too: leave half of a tight one to the answer.
    return thought if ask.limit is None else min(thought, ask.limit // 2)


def _limited(text: str, ask: ModelRequest, thought: int) -> tuple[str, Finish]:
    """The text up to the first stop text and within the limit, and why it ended."""
    for stop in ask.stop:
        text = text.partition(stop)[0]
    if ask.limit is None or count(text) <= ask.limit - thought:
        return text, "stop"
    return clip(text, ask.limit - thought), "length"


def _tokens(
    ask: ModelRequest, cache: PromptCache, text: str, calls: tuple[ToolCall, ...], thought: int
) -> Tokens:
    prompt = _prompt(ask)
    said = count(text) + sum(count(call.name) + count(call.arguments) for call in calls)
    return Tokens(
        input_tokens=_input_tokens(ask, prompt),
        output_tokens=ask.choices * (max(1, said) + thought),
        cached_input_tokens=cache.read(ask.model, prompt),
        reasoning_tokens=ask.choices * thought,
    )


def input_tokens(ask: ModelRequest) -> int:
    """How many tokens the model reads."""
    return _input_tokens(ask, _prompt(ask))


def _input_tokens(ask: ModelRequest, prompt: str) -> int:
    media = sum(turn.media for turn in ask.turns)
    return count(prompt) + MESSAGE_TOKENS * len(ask.turns) + MEDIA_TOKENS * media


def _prompt(ask: ModelRequest) -> str:
    """Everything the model reads, tools first, as prompt caching sees it."""
    offered = ask.body.get("tools") or ask.body.get("functions")
    pieces = [_dumps(offered)] if offered else []
    pieces += [turn.text for turn in ask.turns]
    return "\n".join(pieces)


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
