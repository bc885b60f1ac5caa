"""LlamaIndex's responses with the call's report in ``additional_kwargs["flextier"]``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

from flextier.llama_index.events import CallObserver

_LAST_EVENTS = frozenset({"response.completed", "response.incomplete"})


def streamed(chunks: Iterator[Any], observer: CallObserver) -> Generator[Any, None, None]:
    """The chunks of a stream, the last one with the report.

    A Responses stream has its report with its last event. A chat stream ends only after its last
    chunk, so each chunk that may be the last is held back until the next one arrives.
    """
    try:
        with observer.listening():  # the request is made for the first chunk
            chunk = next(chunks, None)
        while chunk is not None:
            if not _may_be_last(chunk.raw) or observer.report is not None:
                yield observer.with_report(chunk)
                chunk = next(chunks, None)
                continue
            try:
                after = next(chunks, None)
            except Exception:
                yield chunk
                raise
            yield chunk if after is not None else observer.with_report(chunk)
            chunk = after
    finally:
        observer.close_stream()  # LlamaIndex leaves an abandoned stream to the garbage collector


async def astreamed(
    chunks: AsyncIterator[Any], observer: CallObserver
) -> AsyncGenerator[Any, None]:
    """The async version of :func:`streamed`."""
    try:
        with observer.listening():
            chunk = await anext(chunks, None)
        while chunk is not None:
            if not _may_be_last(chunk.raw) or observer.report is not None:
                yield observer.with_report(chunk)
                chunk = await anext(chunks, None)
                continue
            try:
                after = await anext(chunks, None)
            except Exception:
                yield chunk
                raise
            yield chunk if after is not None else observer.with_report(chunk)
            chunk = after
    finally:
        await observer.aclose_stream()


def _may_be_last(event: Any) -> bool:
    """Whether only the usage can follow an event of the SDK."""
    choices = getattr(event, "choices", None)
    if choices is None:
        return getattr(event, "type", None) in _LAST_EVENTS
    return not choices or choices[0].finish_reason is not None
