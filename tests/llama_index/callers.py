"""Every way to ask an LLM of LlamaIndex's, with the signature and outcome of the wire tests'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from llama_index.core.llms import ChatMessage

from flextier import CallReport, FlexPolicy, track
from tests.client.callers import FAST, KEY, Outcome, _only
from tests.llama_index.llms import OURS

PROMPT = "Name a colour. Any will do."
CHAT = [ChatMessage(role="user", content=PROMPT)]


@dataclass(frozen=True)
class LlamaCaller:
    """One way to ask: a class, `chat` or `complete`, plain or streamed, sync or async."""

    cls: Any
    method: str
    stream: bool
    is_async: bool

    def __str__(self) -> str:
        parts = ("async" if self.is_async else "sync", self.cls.__name__, self.name)
        return "-".join(parts)

    @property
    def name(self) -> str:
        """The name of the LLM's method."""
        return "a" * self.is_async + "stream_" * self.stream + self.method

    @property
    def question(self) -> Any:
        """What the method is asked."""
        return CHAT if self.method == "chat" else PROMPT

    def __call__(
        self,
        base_url: str,
        policy: FlexPolicy = FAST,
        *,
        model: str = "o3",
        llm: dict[str, Any] | None = None,
        **arguments: Any,
    ) -> Outcome:
        """Make the call on an LLM of its own; ``llm`` goes to its constructor, ``arguments`` to
        the call."""
        settings = {"model": model, "api_key": KEY, "api_base": base_url, "policy": policy}
        made = self.cls(**{**settings, **(llm or {})})
        if self.is_async:
            return asyncio.run(self._acall(made, arguments))
        return self._call(made, arguments)

    def _call(self, llm: Any, arguments: dict[str, Any]) -> Outcome:
        with closed(llm), track() as calls:
            try:
                answer = getattr(llm, self.name)(self.question, **arguments)
                chunks = list(answer) if self.stream else [answer]
            except Exception as error:  # noqa: BLE001 - the outcome under test
                return Outcome(_only(calls), error=error)
        return _outcome(calls, chunks)

    async def _acall(self, llm: Any, arguments: dict[str, Any]) -> Outcome:
        async with aclosed(llm):
            with track() as calls:
                try:
                    answer = await getattr(llm, self.name)(self.question, **arguments)
                    chunks = [one async for one in answer] if self.stream else [answer]
                except Exception as error:  # noqa: BLE001 - the outcome under test
                    return Outcome(_only(calls), error=error)
        return _outcome(calls, chunks)


def _outcome(calls: list[CallReport], chunks: list[Any]) -> Outcome:
    """The outcome of an answered call, whose report is on its last chunk and there only."""
    report = _only(calls)
    *before, last = (chunk.additional_kwargs.get("flextier") for chunk in chunks)
    assert last == report.to_dict()
    assert before == [None] * len(before)
    return Outcome(report, text_of(chunks[-1]))


def text_of(response: Any) -> str:
    """What a response says, of either kind; a stream's last one says all of it."""
    return str(response.message.content if hasattr(response, "message") else response.text)


@contextmanager
def closed(*llms: Any) -> Iterator[None]:
    """Close the sync clients of LLMs, theirs too, at the end of the block."""
    try:
        yield
    finally:
        for llm in llms:
            if llm._client is not None:
                llm._client.close()


@asynccontextmanager
async def aclosed(*llms: Any) -> AsyncIterator[None]:
    """Async counterpart of :func:`closed`."""
    try:
        yield
    finally:
        for llm in llms:
            if llm._aclient is not None:
                await llm._aclient.close()


def _ways(method: str) -> list[LlamaCaller]:
    return [
        LlamaCaller(cls, method, stream, is_async)
        for is_async in (False, True)
        for cls in OURS
        for stream in (False, True)
    ]


CALLERS = _ways("chat")
COMPLETE = _ways("complete")
EVERY_WAY = CALLERS + COMPLETE
PLAIN = [caller for caller in CALLERS if not caller.stream]
STREAMS = [caller for caller in CALLERS if caller.stream]
EVERY_STREAM = [caller for caller in EVERY_WAY if caller.stream]
