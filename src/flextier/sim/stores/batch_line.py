"""Answering one line of a batch, by the code that answers direct calls."""

from __future__ import annotations

from typing import Any

from flextier.sim.base.tokens import PromptCache, Tokens
from flextier.sim.behavior.faults import Serve
from flextier.sim.model import embeddings
from flextier.sim.model.generate import answer
from flextier.sim.protocol import chat, responses

# What OpenAI's batches report.
_SERVE = Serve(tier="default")


def answer_line(
    endpoint: str, body: dict[str, Any], cache: PromptCache
) -> tuple[dict[str, Any], Tokens]:
    """The answer's body, and what it is billed for.

    Raises:
        Rejected: A direct call would be answered 400.
    """
    if endpoint == embeddings.PATH:
        return embeddings.embed(body)
    if endpoint == chat.PATH:
        ask = chat.read(body)
        said = answer(ask, cache, _SERVE)
        return chat.body(ask, said), said.tokens
    ask = responses.read(body)
    said = answer(ask, cache, _SERVE)
    return responses.body(ask, said), said.tokens
