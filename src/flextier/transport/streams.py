"""Streams that are complete or raise: the first event is awaited, an early end is an error."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import anyio
import openai
from openai import AsyncStream, Stream

from flextier._openai.http_library import connection_errors, timeout_errors
from flextier.calls.report import CANCELLED, SERVED
from flextier.errors import StreamInterruptedError
from flextier.pricing.usage import Usage
from flextier.transport.attempt_limits import TaskLimit, time_limit
from flextier.transport.stream_bytes import AsyncStreamBytes, StreamBytes

_T = TypeVar("_T")

# Responses streams begin with these at once, even if the call then waits in the flex queue and is
# refused: they are held back until an event with output of the model follows. So are chunks of chat
# completions that have a role only, or nothing.
# Tuples, not sets: a server may send a type that has no hash.
_PREAMBLE = ("response.created", "response.queued", "response.in_progress")
_COMPLETE = ("response.completed", "response.incomplete")
_REST_SECONDS = 1.0
"""Seconds that the end of a stream may take, and its usage, after the whole answer."""
_END_SECONDS = 0.1
"""Seconds that the end of the response may take after the last event, as in openai 3: a connection
whose response was read to its end is used again."""
_FAILED = ("response.failed", "error")
_NO_FIELDS: dict[str, Any] = {}
"""Of an event, or a part of one, that is no model of the SDK's. Models' own fields are read from
their ``__dict__``: pydantic takes long to find that an attribute is missing."""


class StreamProgress:
    """The events of a stream so far: whether it is complete, its service tier and its usage."""

    __slots__ = (
        "_failure", "_finished", "_open", "complete", "model", "request_id", "text_size", "tier",
        "usage",
    )  # fmt: skip

    def __init__(self, request_id: str | None = None) -> None:
        self.request_id = request_id
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._failure: dict[str, Any] | None = None
        self.tier: str | None = None
        self.usage: Usage | None = None
        self.model: str | None = None
        self.complete = False
        """Whether the stream is complete: all choices have finished, or the response has ended."""
        self.text_size = 0
        """The characters of a chat stream's text, refusal and tool calls."""

    @property
    def finished_choices(self) -> int:
        """How many choices have finished; 1 for a response that has ended."""
        return len(self._finished)

    def record(self, event: Any) -> None:
        """Record one event."""
        fields = getattr(event, "__dict__", _NO_FIELDS)
        kind = fields.get("type")
        if kind is None:  # only events of Responses have one
            self._record_totals(fields)
            choices = fields.get("choices")
            for choice in choices if isinstance(choices, list) else ():
                if choice is not None:
                    self._record_choice(getattr(choice, "__dict__", _NO_FIELDS))
        elif kind in _COMPLETE:
            self._finished.add(0)
            self.complete = True
            self._record_totals(getattr(fields.get("response"), "__dict__", _NO_FIELDS))
        elif kind in _FAILED:
            response = getattr(event, "response", None)
            error = event if kind == "error" else getattr(response, "error", None)
            # An `error` event's `type` is the event's name, not the error's.
            names = ("code", "message", "param")
            self._failure = {name: getattr(error, name, None) for name in names}

    def _record_choice(self, fields: dict[str, Any]) -> None:
        index = fields.get("index")
        if type(index) is not int:
            index = 0
        if fields.get("finish_reason") is not None:
            self._finished.add(index)
            self.complete = not self._open - self._finished
        elif index not in self._open:
            self._open.add(index)
            self.complete = self.complete and index in self._finished
        delta = getattr(fields.get("delta"), "__dict__", _NO_FIELDS)
        for text in (delta.get("content"), delta.get("refusal")):
            if isinstance(text, str):
                self.text_size += len(text)
        if isinstance(calls := delta.get("tool_calls"), list):
            for call in calls:
                arguments = getattr(getattr(call, "function", None), "arguments", None)
                self.text_size += len(arguments) if isinstance(arguments, str) else 0

    def _record_totals(self, fields: dict[str, Any]) -> None:
        if (tier := fields.get("service_tier")) and isinstance(tier, str):
            self.tier = tier
        if (model := fields.get("model")) and isinstance(model, str):
            self.model = model
        if (usage := fields.get("usage")) is not None:
            self.usage = Usage.from_openai(usage) or self.usage

    def record_unread(self, data: str) -> bool:
        """Record the JSON of an event that is not handed over; whether to go on to the next one."""
        if data.startswith("[DONE]"):
            return False
        fields = json.loads(data)
        if isinstance(fields, dict) and isinstance(fields.get("usage"), dict):
            self.usage = Usage.from_json(fields["usage"])
        return self.usage is None

    def failure(self, request: Any) -> openai.APIError | None:
        """The failure that the stream itself reported, as an exception."""
        if self._failure is None:
            return None
        message = self._failure.get("message") or "the server reported a failure in the stream"
        return openai.APIError(str(message), request, body=self._failure)

    def early_end(self, request: Any) -> openai.APIError | None:
        """The error for a stream that has ended now; None if it is complete."""
        if self.complete:
            return None
        return self.failure(request) or StreamInterruptedError(
            message="the stream ended before the response was complete "
            "(no finish_reason, no response.completed): the events so far are a part of it",
            request=request,
        )


def _has_output(chunk: Any) -> bool:
    """Whether a chunk has more than the role of its choices: only then is no refusal to follow."""
    choices = getattr(chunk, "choices", None)
    for choice in choices if isinstance(choices, list) else ():
        if getattr(choice, "finish_reason", None) is not None:
            return True
        fields = getattr(getattr(choice, "delta", None), "__dict__", {})
        extra = getattr(getattr(choice, "delta", None), "model_extra", None) or {}
        if any(value for name, value in {**fields, **extra}.items() if name != "role"):
            return True
    return False


class StreamOwner(NamedTuple):
    """The call that a stream belongs to."""

    ended: Callable[[str, StreamProgress, BaseException | None], None]
    """Called once, when the stream has ended, with its outcome."""
    silence_limit: Callable[[], float]
    """Returns the seconds that the next event may take."""
    deadline_error: Callable[[Any], Exception | None]
    """Returns the error for a stream past its deadline, given a request; else None."""
    recorder: Callable[[Any, StreamProgress], None] | None
    """Called with each event before it is handed over; None: they are not recorded."""
    has_deadline: bool
    """Whether the limit of an event becomes shorter, as a deadline comes closer."""
    is_whole: bool
    """Whether the stream was made from a whole response, so that its end can be awaited."""
    withholds_usage: bool
    """Whether to withhold the chunk that has the usage only."""
    choices: int
    """How many choices the stream will have."""
    ends_reads_in_time: bool
    """Whether :class:`time_limit` ends the reads of the stream."""
    lacks_report: Callable[[], bool] | None = None
    """Returns whether the stream still has to bring the call's report; None: it brings none."""


class _StreamBase:
    """The part that both stream classes share: held events, and the end reported once."""

    response: Any
    _events: Any = None
    """The events as the SDK decodes them, which can be read when its stream is being closed."""

    def _prepare(self) -> None:
        self._progress = StreamProgress(self.response.headers.get("x-request-id"))
        self._held: deque[Any] = deque()
        self._owner: StreamOwner | None = None
        self._recorder: Callable[[Any, StreamProgress], None] | None = None
        self._end_reported = False
        self._pulling = False
        self._withholds = False
        self._limit: float | None = None

    def _opened(self, owner: StreamOwner, content: Any) -> None:
        self._owner = owner
        self._withholds = owner.withholds_usage
        self._limit = None if owner.has_deadline else owner.silence_limit()
        if content is not None:
            content.opened(without_usage=self._withholds)

    @property
    def _may_have_usage(self) -> bool:
        """Whether the rest of a stream that is closed may have its usage, or its report, and can be
        read."""
        progress, owner = self._progress, self._owner
        if self._end_reported or self._pulling or not progress.complete:
            return False
        lacks_report = None if owner is None else owner.lacks_report
        if progress.usage and (lacks_report is None or not lacks_report()):
            return False
        return self.response.is_closed or self._ends_reads_in_time

    @property
    def _is_at_its_end(self) -> bool:
        """Whether the SDK closes the response after the last event, and its end can be read."""
        return self._pulling and self._progress.complete and self._ends_reads_in_time

    @property
    def _ends_reads_in_time(self) -> bool:
        return self._owner is not None and self._owner.ends_reads_in_time

    @property
    def _is_left(self) -> bool:
        """Whether a caller who stops reading has seen all that the stream has for them."""
        return self._withholds and self._progress.complete and not self._end_reported

    @property
    def is_untouched(self) -> bool:
        """Whether the events that opened the stream have not been read yet."""
        return bool(self._held)

    def _record(self, event: Any) -> None:
        self._progress.record(event)
        if self._recorder is not None:
            self._recorder(event, self._progress)

    def _hold(self, event: Any, owner: StreamOwner) -> bool:
        """Hold an event back; False once it may be passed to the caller."""
        failure = self._progress.failure(self.response.request)
        if failure is not None:
            raise failure
        self._held.append(event)
        if owner.is_whole:
            return not self._progress.complete
        kind = getattr(event, "type", None)
        return not _has_output(event) if kind is None else kind in _PREAMBLE

    def _as_openai_error(self, error: Exception) -> Exception:
        """The error as one of the SDK's types, which openai 2.x does not ensure inside a stream."""
        request = self.response.request
        if isinstance(error, (*timeout_errors, TimeoutError, openai.APITimeoutError)):
            return self._timeout(request)
        if isinstance(error, StreamInterruptedError):
            return error
        if isinstance(error, (*connection_errors, openai.APIConnectionError)):
            message = f"the stream broke off: {error.__cause__ or error}"
        elif isinstance(error, json.JSONDecodeError):
            message = f"the stream sent an event that is not JSON: {error}"
        else:
            return error
        return StreamInterruptedError(message=message, request=request)

    @property
    def _is_answered(self) -> bool:
        """Whether all of the answer has come: at most its usage follows."""
        progress, owner = self._progress, self._owner
        return progress.complete and (owner is None or progress.finished_choices >= owner.choices)

    def _next_limit(self) -> float:
        """Seconds that the next event may take; without any left, a timeout is raised."""
        assert self._owner is not None
        limit = self._owner.silence_limit() if self._limit is None else self._limit
        if limit <= 0 or (self._end_reported and not self._owner.ends_reads_in_time):
            raise self._timeout(self.response.request)
        is_answered = self._progress.complete and self._is_answered
        if self._owner.lacks_report is not None:
            return limit
        return min(limit, _REST_SECONDS) if is_answered else limit

    def _timeout(self, request: Any) -> Exception:
        """The error for a stream that was silent for too long, or is past the deadline."""
        exceeded = None if self._owner is None else self._owner.deadline_error(request)
        return exceeded or openai.APITimeoutError(request=request)

    def _is_withheld(self, event: Any) -> bool:
        """Whether an event is the chunk with the usage, for which the caller did not ask."""
        if not self._withholds or getattr(event, "choices", None) or getattr(event, "type", None):
            return False
        return getattr(event, "usage", None) is not None or self._progress.complete

    def _pass_on(self, event: Any) -> Any:
        """An event for the caller, who may stop reading at the one that ends a response."""
        if self._progress.complete and getattr(event, "type", None) in _COMPLETE:
            self._end(SERVED)
        return event

    def _response_closed(self) -> None:
        """Note that the response was closed: by the caller, unless the SDK did while reading."""
        if not self._pulling:
            self._end(SERVED if self._progress.complete else CANCELLED)

    def _ends_after(self, error: BaseException) -> bool:
        """Whether reading ends normally, as the connection was lost, or silent, after the response.

        Otherwise the end of the stream is reported, and the error must be raised.
        """
        if self._is_answered and isinstance(error, openai.APIConnectionError):
            self._end(SERVED)
            return True
        complete = isinstance(error, (StopIteration, StopAsyncIteration))
        self._end(SERVED if complete else "interrupted", None if complete else error)
        return False

    def _end(self, outcome: str, error: BaseException | None = None) -> None:
        if self._owner is not None and not self._end_reported:
            self._end_reported = True
            self._owner.ended(outcome, self._progress, error)


class FlexStream(Stream[_T], _StreamBase):  # the SDK reads the type off the first base
    """The SDK's stream, opened by the client and followed to its end."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._prepare()

    def open(self, owner: StreamOwner, *, readable_as_bytes: bool = False) -> None:
        """Wait for the first event with output, and raise failures until then.

        With ``readable_as_bytes``, the caller may read the response's bytes in place of events.
        """
        content = StreamBytes(self) if readable_as_bytes else None
        self._recorder = owner.recorder
        try:
            while self._hold(self._pull(), owner):
                pass
        except BaseException:
            self.close()
            raise
        self._opened(owner, content)
        # The SDK's stream helpers close the response, not the stream.
        close = self.response.close

        def close_and_report() -> None:
            if self._may_have_usage:
                self._read_rest()
            elif self._is_at_its_end:
                with suppress(Exception), time_limit(_END_SECONDS):
                    next(self._events)
            close()
            self._response_closed()

        self.response.close = close_and_report  # type: ignore[method-assign]  # this one's only

    def _pull(self) -> Any:
        self._pulling = True
        try:
            event = super().__next__()
        except StopIteration:
            if (error := self._progress.early_end(self.response.request)) is not None:
                raise error from None
            raise
        except Exception as error:
            raise self._as_openai_error(error) from error
        finally:
            self._pulling = False
        self._record(event)
        return event

    def _iter_events(self) -> Any:
        self._events = super()._iter_events()
        return self._events

    def _read_rest(self) -> None:
        # The caller has the whole response: an error here costs its usage only.
        with suppress(Exception), time_limit(_REST_SECONDS):
            while self._progress.record_unread(next(self._events).data):
                pass

    def __next__(self) -> Any:
        while self._held:
            if not self._is_withheld(event := self._held.popleft()):
                return self._pass_on(event)
        try:
            if self._owner is None:
                return self._pull()
            with time_limit(self._next_limit()):
                event = self._pull()
                while self._is_withheld(event):
                    event = self._pull()
                return self._pass_on(event)
        except BaseException as error:
            if self._ends_after(error):
                self.close()
                raise StopIteration from None
            raise

    def __iter__(self) -> Iterator[_T]:
        while True:
            try:
                event = next(self)
            except StopIteration:
                return
            try:
                yield event
            except GeneratorExit:
                if self._is_left:
                    self.close()
                raise

    def close(self) -> None:
        super().close()
        self._end(SERVED if self._progress.complete else CANCELLED)


class AsyncFlexStream(AsyncStream[_T], _StreamBase):
    """The async version of :class:`FlexStream`."""

    _rest_read: anyio.Event | None = None

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._prepare()

    async def open(self, owner: StreamOwner, *, readable_as_bytes: bool = False) -> None:
        """As :meth:`FlexStream.open`."""
        content = AsyncStreamBytes(self) if readable_as_bytes else None
        self._reads = TaskLimit()
        self._recorder = owner.recorder
        try:
            while self._hold(await self._pull(), owner):
                pass
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self.close()
            raise
        self._opened(owner, content)
        aclose = self.response.aclose

        async def close_and_report() -> None:
            await self._read_rest()
            if self._is_at_its_end:
                with suppress(Exception), anyio.move_on_after(_END_SECONDS):
                    await anext(self._events)
            await aclose()
            self._response_closed()

        self.response.aclose = close_and_report  # type: ignore[method-assign]  # this one's only

    async def _pull(self) -> Any:
        self._pulling = True
        try:
            event = await super().__anext__()
        except StopAsyncIteration:
            if (error := self._progress.early_end(self.response.request)) is not None:
                raise error from None
            raise
        except Exception as error:
            raise self._as_openai_error(error) from error
        finally:
            self._pulling = False
        self._record(event)
        return event

    def _iter_events(self) -> Any:
        self._events = super()._iter_events()
        return self._events

    async def _read_rest(self) -> None:
        if self._rest_read is not None:  # the stream is closed by another task, too
            await self._rest_read.wait()
        if not self._may_have_usage:
            return
        self._rest_read = anyio.Event()
        try:
            # The caller has the whole response: an error here costs its usage only.
            with suppress(Exception), anyio.move_on_after(_REST_SECONDS, shield=True):
                while self._progress.record_unread((await anext(self._events)).data):
                    pass
        finally:
            self._rest_read.set()

    async def __anext__(self) -> Any:
        while self._held:
            if not self._is_withheld(event := self._held.popleft()):
                return self._pass_on(event)
        try:
            if self._owner is None:
                return await self._pull()
            with self._reads.within(self._next_limit()):
                event = await self._pull()
                while self._is_withheld(event):
                    event = await self._pull()
                return self._pass_on(event)
            raise self._timeout(self.response.request)  # noqa: TRY301 - one coroutine less an event
        except BaseException as error:
            if self._ends_after(error):
                await self.close()
                raise StopAsyncIteration from None
            raise

    async def __aiter__(self) -> AsyncIterator[_T]:
        while True:
            try:
                event = await self.__anext__()
            except StopAsyncIteration:
                return
            try:
                yield event
            except GeneratorExit:
                if self._is_left:
                    await self.close()
                raise

    def _end(self, outcome: str, error: BaseException | None = None) -> None:
        if self._owner is not None:
            self._reads.stop()
        super()._end(outcome, error)

    async def close(self) -> None:
        await super().close()
        self._end(SERVED if self._progress.complete else CANCELLED)
