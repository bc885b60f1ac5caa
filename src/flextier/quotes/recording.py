"""The calls of a target, answered in this process and recorded: for a quote, nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

from flextier.calls.context import Scope, scoped
from flextier.lanes import LANES, STANDARD, CallFacts, tier_lane
from flextier.lanes.flex import OPEN_TIERS
from flextier.pricing.model_lanes import lanes_of_model
from flextier.pricing.usage import estimated_input
from flextier.quotes.nothing_sent import nothing_sent
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.tokens import CHARACTERS_A_TOKEN, PromptCache
from flextier.sim.behavior.faults import Serve
from flextier.sim.model import embeddings, generate
from flextier.sim.protocol import chat, responses

_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """A call of a sample row."""

    model: str
    lanes: tuple[str, ...]
    """The lanes that it takes, in order."""
    eligible: frozenset[str]
    """All lanes that could take it, beside these."""
    prompt: str
    """What the model reads, as JSON."""
    input_tokens: int
    """An estimate."""
    written: int
    """The tokens of its simulated answer."""
    output_limit: int | None
    """The most output tokens that it allows; None: it sets no limit."""
    has_output: bool
    """Whether it is answered in tokens: False for embeddings."""


CALLS: ContextVar[list[RecordedCall] | None] = ContextVar("flextier_quoted_calls", default=None)
"""The calls of the running sample row."""

ExpectedOutput = Callable[[str], int | None]
"""The output tokens that an answer of a model is expected to have; None: not known."""


@contextmanager
def recorded(expected: ExpectedOutput, outer: Scope) -> Iterator[None]:
    """Answer all calls made inside, of flextier's clients and of others, and record them.

    ``outer`` is the scope in which the quote was asked for.
    """
    answers = Answers(expected, outer)
    try:
        with scoped(local=answers, simulated=True, budgets=()), nothing_sent(answers):
            yield
    finally:
        answers.is_open = False


@dataclass(eq=False)
class Answers:
    """The answers of the simulator's model: of the expected length, valid for schemas and tools."""

    expected: ExpectedOutput
    outer: Scope
    is_open: bool = True

    def left(self, scope: Scope) -> Scope:
        """The scope of a call in the quote's context after its end: the outer one's settings."""
        names = ("local", "simulated", "budgets", "changes", "until")
        return scope._replace(**{name: getattr(self.outer, name) for name in names})

    def __call__(self, facts: CallFacts, lanes: tuple[str, ...]) -> tuple[int, bytes]:
        """Record a call, and return the status and JSON of its answer."""
        return self._answer(facts, lanes, {**facts.body, "stream": False})

    def of_request(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """The same for a request of another client, on the lane that it names; it may stream."""
        tier = body.get("service_tier")
        lane = STANDARD if tier in OPEN_TIERS else tier_lane(str(tier))
        return self._answer(CallFacts(endpoint, body, extras="another client"), (lane.name,), body)

    def _answer(
        self, facts: CallFacts, lanes: tuple[str, ...], body: Mapping[str, Any]
    ) -> tuple[int, bytes]:
        try:
            content, written = self._written(facts.endpoint, dict(body))
        except Rejected as rejected:
            return rejected.reply.status, json.dumps({"error": rejected.reply.error()}).encode()
        if (calls := CALLS.get()) is not None:
            calls.append(_recorded(facts, lanes, written))
        return 200, content

    def _written(self, endpoint: str, body: dict[str, Any]) -> tuple[bytes, int]:
        """An answer, and the tokens of its text."""
        if endpoint.endswith("/embeddings"):
            return json.dumps(embeddings.embed(body)[0]).encode(), 0
        protocol: Any = responses if endpoint.endswith("/responses") else chat
        ask = protocol.read(body)
        answer = generate.answer(ask, PromptCache(), Serve())
        expected = self.expected(ask.model)
        if expected and not answer.calls and not answer.text.startswith("{"):
            length = min(expected, ask.limit or expected) * CHARACTERS_A_TOKEN
            text = f"{answer.text} " * (length // (len(answer.text) + 1) + 1)
            answer = replace(answer, text=text[:length])
        size = len(answer.text) + sum(len(call.arguments) for call in answer.calls)
        if ask.stream:
            content = b"".join(protocol.events(ask, answer))
        else:
            content = json.dumps(protocol.body(ask, answer)).encode()
        return content, -(-size // CHARACTERS_A_TOKEN)


def _recorded(facts: CallFacts, lanes: tuple[str, ...], written: int) -> RecordedCall:
    body, model = facts.body, str(facts.body.get("model", ""))
    has_output = not facts.endpoint.endswith("/embeddings")
    found = lanes_of_model(model)
    families = found.lanes if has_output and not facts.extras else ()
    sold = tuple(x for x in lanes if not found.against.get(tier_lane(x).family))
    limit = next((body[name] for name in _LIMITS if isinstance(body.get(name), int)), None)
    return RecordedCall(
        model,
        sold or lanes,  # a request on a lane that the model does not have is rejected, and not paid
        frozenset(
            lane.name
            for lane in LANES.values()
            if lane.family in families and not lane.ineligible(facts)
        ),
        prompt_of(body),
        estimated_input(body),
        written,
        limit and limit * (body.get("n") or 1),
        has_output,
    )


def prompt_of(body: Mapping[str, Any]) -> str:
    """What the model reads of a body, as JSON, what is cached first."""
    names = ("tools", "functions", "instructions", "messages", "input")
    return json.dumps([body[name] for name in names if name in body], default=str)
