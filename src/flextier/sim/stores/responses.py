"""Stored responses of direct calls, and what follow-ups read of earlier ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flextier.sim.base.api_errors import ErrorReply
from flextier.sim.model.generate import GeneratedAnswer
from flextier.sim.model.request import ModelRequest, PromptMessage
from flextier.sim.protocol import responses

# This many stored responses of direct calls are kept, and this many characters of their prompts and
# answers; the oldest are forgotten first.
MOST = 10_000
MOST_TEXT = 100_000_000


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A stored response of a direct call.

    Attributes:
        final: The ``response`` object.
        turns: What a follow-up reads before its own input.
    """

    final: dict[str, Any]
    turns: tuple[PromptMessage, ...]

    @property
    def length(self) -> int:
        """Characters of the turns."""
        return sum(len(turn.text) for turn in self.turns)


class StoredResponses:
    """Stored responses of direct calls by their id, the newest of them.

    Args:
        most: How many.
        most_text: How many characters together, those of earlier turns included.
    """

    def __init__(self, most: int = MOST, most_text: int = MOST_TEXT) -> None:
        self._most = most
        self._most_text = most_text
        self._text = 0
        self._kept: OrderedDict[str, StoredResponse] = OrderedDict()

    def keep(self, ask: ModelRequest, final: dict[str, Any], said: GeneratedAnswer) -> None:
        """Store a response, unless its request does not want that."""
        if ask.body.get("store") is False:
            return
        kept = StoredResponse(final, (*own_turns(ask), *output_turns(said)))
        self._kept[final["id"]] = kept
        self._text += kept.length
        while len(self._kept) > self._most or self._text > self._most_text:
            self._text -= self._kept.popitem(last=False)[1].length

    def find(self, name: str) -> StoredResponse | None:
        """A response; None: there is none of this id."""
        return self._kept.get(name)

    def delete(self, name: str) -> None:
        """Forget a response, if there is one of this id."""
        kept = self._kept.pop(name, None)
        self._text -= 0 if kept is None else kept.length


class StoringFormat:
    """The Responses endpoint's spelling, storing what it spells; see the protocol ``Wire``."""

    PATH = responses.PATH

    def __init__(self, shelf: StoredResponses) -> None:
        self._shelf = shelf

    def read(self, body: dict[str, Any]) -> ModelRequest:
        """The request in a body."""
        return responses.read(body)

    def body(self, ask: ModelRequest, answer: GeneratedAnswer) -> dict[str, Any]:
        """The plain answer."""
        final = responses.body(ask, answer)
        self._shelf.keep(ask, final, answer)
        return final

    def events(self, ask: ModelRequest, answer: GeneratedAnswer) -> Iterator[bytes]:
        """The streamed answer."""
        response, items = responses.begun(ask, answer.tier), responses.items(ask, answer)
        final = responses.finished(response, items, answer)
        self._shelf.keep(ask, final, answer)
        return responses.encoded(responses.streamed(response, items, final))

    def error_event(
        self, reply: ErrorReply, how: str, ask: ModelRequest, position: int
    ) -> bytes | None:
        """A stream's error."""
        return responses.error_event(reply, how, ask, position)


def own_turns(ask: ModelRequest) -> tuple[PromptMessage, ...]:
    """The prompt without the instructions, which follow-ups do not inherit."""
    return ask.turns[1:] if ask.body.get("instructions") else ask.turns


def output_turns(said: GeneratedAnswer) -> Iterator[PromptMessage]:
    """What the model said, as a follow-up reads it."""
    if said.text:
        yield PromptMessage("assistant", said.text)
    for call in said.calls:
        yield PromptMessage("assistant", f"{call.name} {call.arguments}", calls=(call.name,))
