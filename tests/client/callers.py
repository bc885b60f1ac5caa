"""Every way to make a model call, behind one signature: what a test of the table runs over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flextier import AsyncFlexOpenAI, CallReport, FlexOpenAI, FlexPolicy, track
from flextier._utils.clock import Clock
from flextier.sim import Simulator

KEY = "sk-fake-key-for-tests"
MESSAGES: Any = [{"role": "user", "content": "Name a colour. Any will do."}]

# Waits are counted, not slept: the sim answers in milliseconds, only backoff would take time.
FAST = FlexPolicy(backoff_initial=0.01, backoff_max=0.02, standard_reserve=0.5)


@dataclass(frozen=True)
class Outcome:
    """What came of one call."""

    report: CallReport
    text: str | None = None
    error: Exception | None = None

    @property
    def lanes(self) -> list[str]:
        """The lanes of the attempts, in order."""
        return [attempt.lane for attempt in self.report.attempts]

    @property
    def outcomes(self) -> list[str]:
        """The outcomes of the attempts, in order."""
        return [attempt.outcome for attempt in self.report.attempts]


@dataclass(frozen=True)
class Caller:
    """One way to make a call: an API, plain or streamed, sync or async."""

    api: str
    stream: bool
    is_async: bool

    def __str__(self) -> str:
        parts = ("async" if self.is_async else "sync", self.api, "stream" if self.stream else "")
        return "-".join(filter(None, parts))

    def __call__(
        self, base_url: str, policy: FlexPolicy = FAST, clock: Clock | None = None, **arguments: Any
    ) -> Outcome:
        """Make the call on a client of its own."""
        options: dict[str, Any] = {"base_url": base_url, "api_key": KEY, "policy": policy}
        if clock is not None:
            options["clock"] = clock
        body = {"model": "o3", **arguments}
        body |= {"messages": MESSAGES} if self.api == "chat" else {"input": "Name a colour."}
        if self.is_async:
            return asyncio.run(self._acall(options, body))
        with FlexOpenAI(**options) as client:
            return self._call(client, body)

    def _call(self, client: FlexOpenAI, body: dict[str, Any]) -> Outcome:
        with track() as calls:
            try:
                text = self._text(self._resource(client).create(stream=self.stream, **body))
            except Exception as error:  # noqa: BLE001 - the outcome under test
                return Outcome(_only(calls), error=error)
        return Outcome(_only(calls), text)

    async def _acall(self, options: dict[str, Any], body: dict[str, Any]) -> Outcome:
        with track() as calls:
            async with AsyncFlexOpenAI(**options) as client:
                try:
                    answer = await self._resource(client).create(stream=self.stream, **body)
                    if self.stream:
                        answer = [event async for event in answer]
                    text = self._text(answer)
                except Exception as error:  # noqa: BLE001 - the outcome under test
                    return Outcome(_only(calls), error=error)
        return Outcome(_only(calls), text)

    def _resource(self, client: Any) -> Any:
        return client.chat.completions if self.api == "chat" else client.responses

    def _text(self, answer: Any) -> str:
        read: Callable[[Any], str] = _READERS[self.api, self.stream]
        return read(answer)


def _only(calls: list[CallReport]) -> CallReport:
    assert len(calls) == 1, f"one call makes one report, not {len(calls)}"
    return calls[0]


def _chat_text(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def _chat_stream_text(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in list(chunks) for choice in chunk.choices)


def _responses_text(answer: Any) -> str:
    return str(answer.output_text)


def _responses_stream_text(events: Any) -> str:
    return "".join(e.delta for e in list(events) if e.type == "response.output_text.delta")


_READERS: dict[tuple[str, bool], Callable[[Any], str]] = {
    ("chat", False): _chat_text,
    ("chat", True): _chat_stream_text,
    ("responses", False): _responses_text,
    ("responses", True): _responses_stream_text,
}

CALLERS = [
    Caller(api, stream, is_async)
    for is_async in (False, True)
    for api in ("chat", "responses")
    for stream in (False, True)
]
PLAIN = [caller for caller in CALLERS if not caller.stream]
STREAMS = [caller for caller in CALLERS if caller.stream]


def settled(sim: Simulator, to: int = 0) -> int:
    """The simulator's open connections, once closed ones are noticed and their requests ended."""
    for _ in range(60_000):
        if (sim.connections, sim.in_flight) == (to, 0):
            break
        time.sleep(0.005)
    return sim.connections
