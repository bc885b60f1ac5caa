"""One background response: its course so far, and what the API says of it."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from flextier.sim.base.tokens import clip, count
from flextier.sim.behavior.background_behavior import BackgroundWeather
from flextier.sim.behavior.background_outcomes import BackgroundOutcome
from flextier.sim.model.generate import GeneratedAnswer
from flextier.sim.model.request import ModelRequest, PromptMessage
from flextier.sim.protocol import responses
from flextier.sim.stores.background_request import BackgroundOptions
from flextier.sim.stores.background_timeline import BackgroundTimeline
from flextier.sim.stores.responses import output_turns, own_turns


class BackgroundJob:
    """A background response. It has no life of its own: time passes when it is looked at.

    Args:
        ask: The request.
        order: What it says about the background.
        course: What will become of it.
        said: What the model will have said.
        created: The provider's time.
        weather: The weather at its creation.
        outcome: The script that made the course; None: the weather did.
        line: What paid lines know it by; empty when they are not recorded.
    """

    __slots__ = (
        "_final", "_items", "ask", "cancelling", "course", "created", "end", "ended_at",
        "id", "line", "order", "outcome", "removed", "said", "weather",
    )  # fmt: skip

    def __init__(
        self,
        ask: ModelRequest,
        order: BackgroundOptions,
        course: BackgroundTimeline,
        said: GeneratedAnswer,
        created: float,
        weather: BackgroundWeather,
        outcome: BackgroundOutcome | None = None,
        line: str = "",
    ) -> None:
        self.id = responses.new_id()
        self.ask = ask
        self.order = order
        self.course = course
        self.said = _half(said) if course.end == "incomplete" else said
        self.created = created
        self.weather = weather
        self.outcome = outcome
        self.line = line
        self.end = ""
        self.ended_at = inf
        self.cancelling = False
        self.removed = False
        self._items: list[dict[str, Any]] = []
        self._final: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return bool(self.end)

    @property
    def billed(self) -> bool:
        """Whether it has ended with something to pay for."""
        return self.end in ("completed", "incomplete")

    @property
    def missed(self) -> bool:
        """Whether it has ended after its window."""
        return self.ended and self.ended_at > self.course.late

    def status(self, now: float) -> str:
        """The status the API shows."""
        return self.end or self.course.status(now)

    def finish(self, end: str, moment: float) -> None:
        """End it, once; ``end`` is ``completed`` also where the answer is cut off by its limit."""
        if end == "completed" and self.said.finish == "length":
            end = "incomplete"
        self.end, self.ended_at = end, moment

    def describe(self, now: float) -> dict[str, Any]:
        """The ``response`` object."""
        if not self.ended:
            return {**self._begun(), "status": self.status(now)}
        if self._final is None:
            self._final = self._ended()
        return self._final

    def accepted(self) -> dict[str, Any]:
        """The ``response`` object that its creation is answered with, however fast it is."""
        return {**self._begun(), "status": "queued"}

    def events(self, now: float) -> list[dict[str, Any]]:
        """The events of its stream that there are by now, from the first on."""
        begun = self._begun()
        queued = self.accepted()
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": queued},
            {"type": "response.queued", "response": queued},
        ]
        if self.course.starts <= min(now, self.ended_at):
            events.append({"type": "response.in_progress", "response": begun})
        if self.billed:
            final = self.describe(now)
            events.extend(responses.outputs(self._items, final))
        elif self.ended:
            # Also for a cancelled one: there is no event of its own for that.
            events.append({"type": "response.failed", "response": self.describe(now)})
        return events

    def turns(self) -> tuple[PromptMessage, ...]:
        """What a follow-up reads before its own input."""
        return (*own_turns(self.ask), *output_turns(self.said))

    def _begun(self) -> dict[str, Any]:
        response = responses.begun(self.ask, self.said.tier, self.id, self.created)
        return {**response, "store": self.order.stored, "completed_at": None}

    def _ended(self) -> dict[str, Any]:
        begun = self._begun()
        if not self.billed:
            failed = self.end == "failed"
            return {**begun, "status": self.end, "error": self._error() if failed else None}
        self._items = responses.items(self.ask, self.said)
        final = responses.finished(begun, self._items, self.said, self.ended_at)
        if self.end == "incomplete" and self.outcome is not None:
            final["incomplete_details"] = {"reason": self.outcome.reason}
        return final

    def _error(self) -> dict[str, str]:
        outcome = self.outcome or BackgroundOutcome.fail()
        return {"code": outcome.code, "message": outcome.message}


def _half(said: GeneratedAnswer) -> GeneratedAnswer:
    """The same answer, ended in the middle; it costs what was written."""
    text = clip(said.text, count(said.text) // 2)
    thought = said.tokens.reasoning_tokens
    tokens = replace(said.tokens, output_tokens=thought + max(1, count(text)))
    return replace(said, text=text, calls=(), finish="length", tokens=tokens)
