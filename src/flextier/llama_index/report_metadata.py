"""LlamaIndex's responses with the call's report in ``additional_kwargs["flextier"]``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any, TypeVar

import openai

from flextier._openai.compat import new_request
from flextier.calls.report import attach_report
from flextier.llama_index.events import CallObserver

_T = TypeVar("_T")

_LAST_EVENTS = frozenset({"response.completed", "response.incomplete"})


def with_report(response: _T, observer: CallObserver) -> _T:
    """The response with its report; without one if flextier did not route the call (Azure).

    Raises:
        openai.APIError: the response has the status ``"failed"``; to LlamaIndex it looks empty.
    """
    if (error := failed_response_error(observer)) is not None:
        raise error
    if observer.report is not None:
        additional: dict[str, Any] = response.additional_kwargs  # type: ignore[attr-defined]
        additional["flextier"] = observer.report_fields
    return response


def failed_response_error(observer: CallObserver) -> openai.APIError | None:
    """The error for a response of status ``"failed"``; None if the call has another one."""
    report = observer.report
    if report is None or report.served:
        return None
    outcome = report.attempts[-1].outcome
    message = f"OpenAI answered with a failed response ({outcome}); see .report for the attempts"
    error = openai.APIError(message, new_request("/responses"), body=None)
    attach_report(error, report)
    return error


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
                yield with_report(chunk, observer)
                chunk = next(chunks, None)
                continue
            try:
                after = next(chunks, None)
            except Exception:
                yield chunk
                raise
            yield chunk if after is not None else with_report(chunk, observer)
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
                yield with_report(chunk, observer)
                chunk = await anext(chunks, None)
                continue
            try:
                after = await anext(chunks, None)
            except Exception:
                yield chunk
                raise
            yield chunk if after is not None else with_report(chunk, observer)
            chunk = after
    finally:
        await observer.aclose_stream()


def _may_be_last(event: Any) -> bool:
    """Whether only the usage can follow an event of the SDK."""
    choices = getattr(event, "choices", None)
    if choices is None:
        return getattr(event, "type", None) in _LAST_EVENTS
    return not choices or choices[0].finish_reason is not None
