"""Streams that come back whole or raise: the first event is awaited, an early end is noticed."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, TypeVar

import anyio
import openai
from openai import AsyncStream, Stream

from flextier._openai.compat import connection_errors, timeout_errors
from flextier.calls.report import CANCELLED, SERVED
from flextier.errors import StreamInterruptedError
from flextier.pricing.usage import Usage
from flextier.transport.attempt_timeout import time_limit

_T = TypeVar("_T")

# Responses streams begin with these at once, also when the call then waits in the flex queue and
# is refused: they are held back until something follows that the model made.
_PREAMBLE = frozenset({"response.created", "response.queued", "response.in_progress"})
_WHOLE = frozenset({"response.completed", "response.incomplete"})
_FAILED = frozenset({"response.failed", "error"})


class StreamProgress:
    """What was seen of a stream so far: whether it is whole, its tier and its usage."""

    __slots__ = ("_failure", "_finished", "_open", "model", "request_id", "tier", "usage")

    def __init__(self, request_id: str | None = None) -> None:
        self.request_id = request_id
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._failure: dict[str, Any] | None = None
        self.tier: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None

    @property
    def whole(self) -> bool:
        """Whether everything that the model had to say has been seen."""
        return bool(self._finished) and not self._open - self._finished

    def see(self, event: Any) -> None:
        """Take note of one event."""
        choices = getattr(event, "choices", None)
        if choices is not None:
            self._see_chunk(event, choices)
        else:
            self._see_event(event)

    def _see_chunk(self, chunk: Any, choices: Any) -> None:
        self._note(chunk)
        for choice in choices:
            seen = self._open if choice.finish_reason is None else self._finished
            seen.add(choice.index)

    def _see_event(self, event: Any) -> None:
        kind = getattr(event, "type", None)
        if kind in _WHOLE:
            self._finished.add(0)
            self._note(event.response)
        elif kind in _FAILED:
            self._failure = _failure_body(event)

    def _note(self, holder: Any) -> None:
        self.tier = getattr(holder, "service_tier", None) or self.tier
        self.usage = Usage.from_openai(getattr(holder, "usage", None)) or self.usage
        self.model = getattr(holder, "model", None) or self.model

    def failure(self, request: Any) -> openai.APIError | None:
        """The failure that the stream itself told of, as an exception."""
        if self._failure is None:
            return None
        message = self._failure.get("message") or "the server reported a failure in the stream"
        return openai.APIError(str(message), request, body=self._failure)

    def early_end(self, request: Any) -> openai.APIError | None:
        """The error of a stream that has ended now, or None if it was whole."""
        if self.whole:
            return None
        return self.failure(request) or StreamInterruptedError(
            message="the stream ended before the answer was whole "
            "(no finish_reason, no response.completed): what came so far is a part of it",
            request=request,
        )


def _failure_body(event: Any) -> dict[str, Any]:
    error = event if event.type == "error" else getattr(event.response, "error", None)
    # An `error` event's `type` is the event's name, not the error's.
    return {name: getattr(error, name, None) for name in ("code", "message", "param")}


class StreamOwner(Protocol):
    """The call that a stream belongs to."""

    def silence_limit(self) -> float:
        """Seconds that the next event may take."""

    def stream_timeout(self, request: Any) -> openai.APITimeoutError:
        """The error for a stream that was silent too long."""

    def stream_ended(
        self, outcome: str, watch: StreamProgress, error: BaseException | None
    ) -> None:
        """The stream is over."""


class _Opened:
    """What the two stream classes share: held events, and the end told once."""

    response: Any

    def _prepare(self) -> None:
        self._watch = StreamProgress(self.response.headers.get("x-request-id"))
        self._held: deque[Any] = deque()
        self._owner: StreamOwner | None = None
        self._told = False
        self._pulling = False

    def _hold(self, event: Any) -> bool:
        """Hold an event back; False once one is there that can be handed over."""
        failure = self._watch.failure(self.response.request)
        if failure is not None:
            raise failure
        self._held.append(event)
        return getattr(event, "type", None) in _PREAMBLE

    def _as_openai_error(self, error: Exception) -> Exception:
        """openai 2.x lets what goes wrong inside a stream through as it is; give it a type."""
        request = self.response.request
        if isinstance(error, (*timeout_errors, TimeoutError, openai.APITimeoutError)):
            if self._owner is not None:
                return self._owner.stream_timeout(request)
            return openai.APITimeoutError(request=request)
        if isinstance(error, StreamInterruptedError):
            return error
        if isinstance(error, (*connection_errors, openai.APIConnectionError)):
            cause = error.__cause__ or error
            return StreamInterruptedError(message=f"the stream broke off: {cause}", request=request)
        if isinstance(error, json.JSONDecodeError):
            return StreamInterruptedError(
                message=f"the stream sent an event that is not JSON: {error}", request=request
            )
        return error

    def _next_limit(self) -> float:
        """Seconds that the next event may take; the owner's timeout if there are none left."""
        assert self._owner is not None
        limit = self._owner.silence_limit()
        if limit <= 0:
            raise self._owner.stream_timeout(self.response.request)
        return limit

    def _handed_over(self, event: Any) -> Any:
        """An event on its way to the caller, who may stop at the one that ends a response."""
        if getattr(event, "type", None) in _WHOLE:
            self._end(SERVED)
        return event

    def _closed(self) -> None:
        """The response was closed: by a caller, if not by the SDK while it read."""
        if not self._pulling:
            self._end(SERVED if self._watch.whole else CANCELLED)

    def _end(self, outcome: str, error: BaseException | None = None) -> None:
        if self._owner is not None and not self._told:
            self._told = True
            self._owner.stream_ended(outcome, self._watch, error)


class FlexStream(Stream[_T], _Opened):
    """The SDK's stream, opened by the client and watched to its end."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._prepare()

    def open(self, owner: StreamOwner) -> None:
        """Wait for the first event that can be handed over. Failures until then are raised."""
        try:
            while self._hold(self._pull()):
                pass
        except BaseException:
            self.close()
            raise
        self._owner = owner
        # The SDK's stream helpers close the response, not the stream.
        close = self.response.close

        def close_and_tell() -> None:
            close()
            self._closed()

        self.response.close = close_and_tell  # type: ignore[method-assign]  # this one's only

    def _pull(self) -> Any:
        self._pulling = True
        try:
            event = super().__next__()
        except StopIteration:
            if (error := self._watch.early_end(self.response.request)) is not None:
                raise error from None
            raise
        except Exception as error:
            raise self._as_openai_error(error) from error
        finally:
            self._pulling = False
        self._watch.see(event)
        return event

    def __next__(self) -> Any:
        if self._held:
            return self._handed_over(self._held.popleft())
        try:
            if self._owner is None:
                return self._pull()
            with time_limit(self._next_limit()):
                return self._handed_over(self._pull())
        except StopIteration:
            self._end(SERVED)
            raise
        except openai.APITimeoutError as error:
            if self._told:  # the answer was handed over whole; only the connection lingers
                self.close()
                raise StopIteration from None
            self._end("interrupted", error)
            raise
        except BaseException as error:
            self._end("interrupted", error)
            raise

    def __iter__(self) -> Iterator[_T]:
        while True:
            try:
                event = next(self)
            except StopIteration:
                return
            yield event

    def close(self) -> None:
        super().close()
        self._end(SERVED if self._watch.whole else CANCELLED)


class AsyncFlexStream(AsyncStream[_T], _Opened):
    """The async twin of :class:`FlexStream`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._prepare()

    async def open(self, owner: StreamOwner) -> None:
        """Wait for the first event that can be handed over. Failures until then are raised."""
        try:
            while self._hold(await self._pull()):
                pass
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise
        self._owner = owner
        aclose = self.response.aclose

        async def close_and_tell() -> None:
            await aclose()
            self._closed()

        self.response.aclose = close_and_tell  # type: ignore[method-assign]  # this one's only

    async def _pull(self) -> Any:
        self._pulling = True
        try:
            event = await super().__anext__()
        except StopAsyncIteration:
            if (error := self._watch.early_end(self.response.request)) is not None:
                raise error from None
            raise
        except Exception as error:
            raise self._as_openai_error(error) from error
        finally:
            self._pulling = False
        self._watch.see(event)
        return event

    async def __anext__(self) -> Any:
        if self._held:
            return self._handed_over(self._held.popleft())
        try:
            if self._owner is None:
                return await self._pull()
            event = await self._pull_within(self._next_limit())
            return self._handed_over(event)
        except StopAsyncIteration:
            self._end(SERVED)
            raise
        except openai.APITimeoutError as error:
            if self._told:  # the answer was handed over whole; only the connection lingers
                await self.close()
                raise StopAsyncIteration from None
            self._end("interrupted", error)
            raise
        except BaseException as error:
            self._end("interrupted", error)
            raise

    async def _pull_within(self, seconds: float) -> Any:
        try:
            with anyio.fail_after(seconds):
                return await self._pull()
        except TimeoutError as error:
            raise self._as_openai_error(error) from error

    async def __aiter__(self) -> AsyncIterator[_T]:
        while True:
            try:
                event = await self.__anext__()
            except StopAsyncIteration:
                return
            yield event

    async def close(self) -> None:
        await super().close()
        self._end(SERVED if self._watch.whole else CANCELLED)
