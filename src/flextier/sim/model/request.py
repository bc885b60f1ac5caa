"""A request for an answer, read from either endpoint into one form."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flextier.lanes import FAST, LANES, PRIORITY, STANDARD
from flextier.sim.base import api_errors, tokens
from flextier.sim.base.api_errors import Rejected

Endpoint = Literal["chat", "responses"]

_DIRECT = (*(lane for lane in LANES.values() if lane.execution == "direct"), PRIORITY)
LANE_OF_TIER: Mapping[str | None, str] = {
    None: STANDARD.name,
    "auto": STANDARD.name,
    **{lane.service_tier: lane.name for lane in _DIRECT},
    FAST.service_tier: PRIORITY.name,
}
"""The lane that a requested ``service_tier`` means."""
SERVED_TIERS: Mapping[str, str] = {lane.name: lane.service_tier for lane in _DIRECT}
"""The tier that a normal answer of a lane reports."""
_MEDIA = frozenset(
    {"image_url", "input_image", "input_audio", "input_file", "file", "computer_screenshot"}
)


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One message of the prompt: who speaks, the text, how many pictures or files, which tools
    it calls."""

    role: str
    text: str
    media: int = 0
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a request asks for.

    Attributes:
        endpoint: Which of the two endpoints it came through.
        body: The whole JSON body.
        model: The model.
        lane: The lane that its ``service_tier`` means.
        stream: Whether a stream is asked for.
        turns: The prompt, instructions first.
        limit: The most output tokens, reasoning included; None: no limit.
        effort: The reasoning effort, as it was given.
        summary: Whether a summary of the reasoning is asked for.
        stop: Texts that end the answer.
        choices: How many answers are asked for.
    """

    endpoint: Endpoint
    body: dict[str, Any]
    model: str
    lane: str
    stream: bool
    turns: tuple[PromptMessage, ...]
    limit: int | None = None
    effort: Any = None
    summary: bool = False
    stop: tuple[str, ...] = ()
    choices: int = 1

    @property
    def served_tier(self) -> str:
        """The tier a normal answer reports."""
        return SERVED_TIERS[self.lane]

    @property
    def size(self) -> int:
        """The tokens that it takes of a limit: those of the prompt, and the most of the answer.

        That the most is counted is OpenAI's word; where none is given, nothing is (a guess).
        """
        prompt = sum(tokens.count(turn.text) + tokens.MESSAGE_TOKENS for turn in self.turns)
        return prompt + (self.limit or 0)

    @property
    def legacy(self) -> bool:
        """Whether functions are offered as they were before there were tools."""
        return bool(self.body.get("functions")) and not self.body.get("tools")

    @property
    def question(self) -> str:
        """The text of the last user message; empty when there is none."""
        texts = (turn.text for turn in reversed(self.turns) if turn.role == "user")
        return next(texts, "")


def model_of(body: Mapping[str, Any]) -> str:
    """The model asked for.

    Raises:
        Rejected: There is none, or it is not a text.
    """
    model = body.get("model")
    if model is None:
        raise Rejected(api_errors.missing("model"))
    if not isinstance(model, str) or not model:
        raise Rejected(api_errors.invalid("model", "expected the name of a model.", "invalid_type"))
    return model


def lane_of(body: Mapping[str, Any]) -> str:
    """The lane that the ``service_tier`` of a body means.

    Raises:
        Rejected: The tier is not one the API knows.
    """
    tier = body.get("service_tier")
    if not isinstance(tier, (str, type(None))) or tier not in LANE_OF_TIER:
        known = ", ".join(f"'{name}'" for name in LANE_OF_TIER if name)
        raise Rejected(
            api_errors.invalid("service_tier", f"{tier!r}. Supported values are: {known}.")
        )
    return LANE_OF_TIER[tier]


def limit_of(body: Mapping[str, Any], *names: str, most: int = sys.maxsize) -> int | None:
    """The first of these limits that is given.

    Raises:
        Rejected: It is not a whole number from 1 to ``most``.
    """
    for name in names:
        limit = body.get(name)
        if limit is None:
            continue
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= most:
            problem = f"expected an integer from 1 to {most}."
            raise Rejected(api_errors.invalid(name, problem, "invalid_type"))
        return limit
    return None


def check_shapes(
    body: Mapping[str, Any],
    *,
    objects: Iterable[str] = (),
    arrays: Iterable[str] = (),
    lists: Iterable[str] = (),
) -> None:
    """Check that these fields, where given, are objects, arrays of objects, lists of texts.

    Raises:
        Rejected: One is not.
    """
    for name in objects:
        _require(isinstance(body.get(name) or {}, dict), name, "expected an object.")
    for name in arrays:
        _require(_is_list_of(body.get(name), dict), name, "expected an array of objects.")
    for name in lists:
        _require(_is_list_of(body.get(name), str), name, "expected an array of strings.")


def _is_list_of(value: Any, kind: type) -> bool:
    items = value or []
    return isinstance(items, list) and all(isinstance(item, kind) for item in items)


def _require(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise Rejected(api_errors.invalid(name, problem, "invalid_type"))


def text_of(content: Any) -> str:
    """The text of a message's content, in any of its shapes; a picture is "[image input]"."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(filter(None, map(text_of, content)))
    if not isinstance(content, dict):
        return ""
    if isinstance(content.get("text"), str):
        text: str = content["text"]
        return text
    return "[image input]" if "image_url" in content else text_of(content.get("content"))


def media_in(content: Any) -> int:
    """How many pictures, sounds and files a message's content has."""
    parts: Iterable[Any] = content if isinstance(content, list) else ()
    return sum(1 for part in parts if isinstance(part, dict) and str(part.get("type")) in _MEDIA)
