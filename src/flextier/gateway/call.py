"""One call through a gateway: sent with its id, followed frame by frame, cancelled if it is left.

A connection that breaks is made again: the request with the same id joins the call that runs, or
gets its answer. Steps, as in ``flextier/routing``, so that a thread or a task can take them.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import openai

from flextier._openai.http_library import NOT_CONNECTED, connection_errors, http
from flextier.calls.call import Call
from flextier.calls.gathered_lines import INFO, LINES, LOG
from flextier.calls.log import CallLog
from flextier.calls.report import (
    CANCELLED,
    Attempt,
    CallReport,
    Retry,
    attach_report,
)
from flextier.errors import BudgetExceeded, GatewayUnavailable, PolicyError, StreamInterruptedError
from flextier.gateway.answers import GatewayAnswers, stream_report
from flextier.gateway.connections import SILENCE, KnownGateway, Link
from flextier.gateway.frames import BrokenFrames, Frame, FrameReader
from flextier.gateway.sent import body_of, headers_of, limits_of, query_of
from flextier.routing.call import CallSetting
from flextier.routing.driver import notify
from flextier.routing.reporting import publish
from flextier.routing.steps import Pause, Request, Steps
from flextier.transport.streams import StreamOwner, StreamProgress

MARGIN = 5.0
"""Seconds after the deadline in which a gateway must say that it has passed."""
LOST = 30.0
"""Seconds for which a gateway that was reached before is tried again."""
_LONGEST_WAIT = 5.0
_AT_ONCE = 0.1
"""Seconds after its beginning in which a call is sent with its whole deadline."""
_BUSY = frozenset({502, 503, 504})
"""Statuses of a gateway that ends or is full, and of a proxy before it."""


class _Busy(Exception):
    """The gateway cannot take the call now: it is full, or is started again."""


_LOST_BY: tuple[type[Exception], ...] = (
    *connection_errors,
    openai.APITimeoutError,
    BrokenFrames,
    _Busy,
)
"""What the connection of a call that has not ended is lost by."""
_NO_REPORT: tuple[type[Exception], ...] = (
    *connection_errors,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


@dataclass(slots=True, eq=False)
class GatewayCall:
    """The course of one call at a gateway."""

    call: Call
    exchange: Any
    """The client's ``CallExchange``."""
    setting: CallSetting
    gateway: KnownGateway
    link: Link
    new_wait: Callable[[], Any]
    path: str = field(init=False)
    """Where the gateway serves the client's base URL."""
    answers: GatewayAnswers = field(init=False)
    id: str = field(init=False)
    started_at: float = field(init=False)
    at: float = field(init=False)
    deadline: float = field(init=False)
    """When the call must have ended, by its clock."""
    done: bool = False
    lines: CallLog | None = None
    ended: bool = False
    """Whether the gateway has ended it."""
    report: CallReport | None = None
    """The gateway's."""
    delivered: int = 0
    """Bytes of the body that the caller has got."""
    _parts: list[bytes] = field(default_factory=list)
    """The body so far, of a call that is not streamed."""
    _is_sent: bool = False
    """Whether the gateway may have the call."""
    _retries: int = 0
    _frames: deque[Frame] = field(default_factory=deque)
    _reader: FrameReader = field(default_factory=FrameReader)
    _response: Any = None
    _following: Callable[[], Any] | None = None
    _skipped: int = 0
    """Bytes of the body, and retries, that come once more on a new connection."""
    _known_retries: int = 0
    _failures: int = 0
    _lost_at: float | None = None

    def __post_init__(self) -> None:
        clock, deadline = self.setting.clock, self.setting.policy.deadline
        name = self.setting.scope.name_call
        self.id = os.urandom(16).hex() if name is None else name(body_of(self.exchange.options))
        self.started_at, self.at = clock.now(), clock.wall()
        self.deadline = self.started_at + (math.inf if deadline is None else deadline)
        self.answers = GatewayAnswers(self.exchange, self.setting, self.gateway, self.started_at)

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - self.setting.clock.now()

    @property
    def may_go_on_locally(self) -> bool:
        """Whether the call may be made without the gateway, if that is lost."""
        return self.setting.policy.gateway_fallback == "local" and not self.delivered

    # --- the course -------------------------------------------------------------------------------

    def steps(self, path: str, new_body: Callable[[GatewayCall], Any]) -> Steps[Any]:
        """What the caller gets.

        Args:
            path: where the gateway serves the client's base URL.
            new_body: makes the body of a stream's response.

        Raises:
            GatewayUnavailable: the gateway cannot be reached any more.
        """
        self.path = path
        if LOG.isEnabledFor(INFO):
            self.lines = CallLog(self.setting.account, self.call.model, self.setting.clock)
        try:
            status, headers = yield from self._head()
            content = new_body(self) if self.call.stream else (yield from self._content())
            response = self.answers.response(status, headers, content)
            served = yield from self.exchange.read_for(self._owner(), response)
        except GeneratorExit as left:
            self.finish(left)
            raise
        except BaseException as error:
            if isinstance(error, GatewayUnavailable) and self.may_go_on_locally:
                if self.lines is not None:
                    LINES.ends()
                raise
            try:
                yield from self.leave()
            finally:
                self.finish(error)
            raise
        if served.stream is None:
            self.finish(served.error)
        else:
            for listener in self.setting.scope.streams:
                listener(served.stream)
        return served.value

    def _head(self) -> Steps[tuple[int, Any]]:
        """Status and headers of the answer; retries before it are notified of."""
        if self.left <= 0:
            raise self.answers.deadline_exceeded()
        while True:
            kind, value = yield from self._next_frame()
            if kind == "head":
                status, headers = value
                return status, headers

    def _content(self) -> Steps[bytes]:
        while part := (yield from self.next_part()):
            self._parts.append(part)
        return b"".join(self._parts)

    def next_part(self) -> Steps[bytes]:
        """The next part of the body; empty: it has ended."""
        while not self.ended:
            kind, value = yield from self._next_frame()
            if kind == "bytes" and (part := self._new_bytes(value)):
                self.delivered += len(part)
                return part
        return b""

    def _new_bytes(self, part: bytes) -> bytes:
        known = min(self._skipped, len(part))
        self._skipped -= known
        return part[known:]

    def _next_frame(self) -> Steps[Frame]:
        """The next frame that is the caller's concern, on this connection or on a new one."""
        while True:
            while not self._frames:
                yield from self._receive()
            frame = self._frames.popleft()
            if frame.kind == "retry":
                yield from self._retried(frame.value)
            elif frame.kind == "report":
                self.report = CallReport.from_dict(frame.value)
            elif frame.kind == "error" and frame.value.get("again"):
                yield from self._cut_off(_Busy("the gateway ends"))
            elif frame.kind == "error":
                yield from self._end()
                raise self.answers.error(frame.value)
            elif frame.kind == "end":
                yield from self._end()
                return frame
            else:
                return frame

    def _receive(self) -> Steps[None]:
        try:
            limit = self.left + MARGIN
            with self.exchange.client._time_limit(limit, None, self.exchange.new_request):
                if self._following is None:
                    yield from self._open()
                assert self._following is not None
                data = yield Request(self._following)
            self._frames.extend(self._reader.feed(data))
            self._failures, self._lost_at = 0, None
        except http.LocalProtocolError as error:  # a header that HTTP does not allow
            request = self.exchange.new_request()
            raise openai.APIConnectionError(message=str(error), request=request) from error
        except _LOST_BY as error:
            yield from self._cut_off(error)

    # --- connections ------------------------------------------------------------------------------

    def _open(self) -> Steps[None]:
        """Send the call; or ask for the rest of a body that the caller has a part of."""
        options, client, policy = self.exchange.options, self.exchange.client, self.setting.policy
        if self.delivered and self.call.stream:
            method, path, content = "GET", f"/flextier/calls/{self.id}/answer", None
            headers: dict[str, str] = {}
        else:
            if policy.deadline is not None and policy.deadline - self.left > _AT_ONCE:
                policy = policy.model_copy(update={"deadline": max(self.left, 0.001)})
            method, content = "POST", body_of(options)
            path = f"{self.path}{self.call.endpoint}{query_of(client, options)}"
            headers = headers_of(client, options, policy, self.setting.scope)
            headers |= {"content-type": "application/json", "x-flextier-call": self.id}
            self.delivered = 0
            self._parts.clear()
        headers["x-flextier-frames"] = "1"
        request = self.gateway.request(method, path, read=SILENCE, content=content, **headers)
        was_sent, self._is_sent = self._is_sent, True
        try:
            response, following = yield Request(partial(self.link.open, request))
        except NOT_CONNECTED:
            self._is_sent = was_sent
            raise
        self._response = response
        if "x-flextier-frames" not in response.headers.get("content-type", ""):
            yield from self._refused(method, response)
        self._following, self._reader = following, FrameReader()
        self._skipped, self._known_retries = self.delivered, self._retries

    def _refused(self, method: str, response: Any) -> Steps[None]:
        """Raise the error for a response without frames."""
        yield Request(partial(self.link.finish, response))
        why = self.gateway.refusal(response)
        if response.status_code in _BUSY:
            raise _Busy(why)
        if method == "GET":
            raise StreamInterruptedError(
                message=f"the stream broke off, and the gateway does not have its rest: {why}",
                request=self.exchange.new_request(),
            )
        if response.status_code < 400:
            raise self.gateway.unavailable(why)
        raise self.answers.refusal(response, why)

    def _cut_off(self, error: Exception) -> Steps[None]:
        """Wait until the call is sent again.

        Raises:
            GatewayUnavailable, FlexDeadlineExceeded: there is no time for that.
        """
        yield from self._close()
        now, policy = self.setting.clock.now(), self.setting.policy
        if self.left <= 0:
            raise self.answers.deadline_exceeded() from error
        if self._lost_at is None:
            self._lost_at = now
        if isinstance(error, _Busy):
            self._is_sent = False
        patience, is_local = LOST, policy.gateway_fallback == "local"
        if isinstance(error, _Busy) and not is_local:
            patience = policy.patience_seconds
        elif isinstance(error, NOT_CONNECTED) and not self._is_sent and is_local:
            patience = 0.0
        if now - self._lost_at >= patience:
            self._is_sent = False
            raise self.gateway.unavailable(str(error) or type(error).__name__) from error
        self._failures += 1
        longest = min(0.1 * 2**self._failures, _LONGEST_WAIT, self.left)
        wait = self.new_wait()
        wait.prepare()
        yield Pause(longest * (0.5 + self.setting.clock.random() / 2), wait)

    def _close(self) -> Steps[None]:
        response, self._response, self._following = self._response, None, None
        self._frames.clear()
        if response is not None:
            with suppress(*connection_errors):
                yield Request(partial(self.link.close, response))

    def _end(self) -> Steps[None]:
        """Note that the gateway has ended the call; its connection can be used again."""
        self.ended = True
        with suppress(*connection_errors):
            while self._following is not None and (yield Request(self._following)):
                pass
        yield from self._close()

    def leave(self) -> Steps[None]:
        """Cancel the call at the gateway, if it has not ended; its report comes back."""
        if self._is_sent and not self.ended:
            self.ended = True
            request = self.gateway.request("DELETE", f"/flextier/calls/{self.id}")
            try:
                answer = yield Request(partial(self.link.last_words, request))
                if (report := answer.json().get("report")) is not None:
                    self.report = CallReport.from_dict(report)
            except _NO_REPORT as error:
                LOG.debug("%s: not cancelled at the gateway: %r", self.call.model, error)
        yield from self._close()

    # --- frames -----------------------------------------------------------------------------------

    def _retried(self, data: dict[str, Any]) -> Steps[None]:
        if self._known_retries:  # notified of before the connection was lost
            self._known_retries -= 1
            return
        self._retries += 1
        if listeners := self.setting.scope.retries:
            error = self.answers.rebuilt(data.pop("error"))
            failed = Attempt.from_dict(data.pop("failed"))
            yield from notify(listeners, Retry(**data, failed=failed, error=error))

    # --- the end ----------------------------------------------------------------------------------

    def _owner(self) -> StreamOwner:
        return StreamOwner(
            ended=self._stream_ended,
            silence_limit=lambda: self.left + MARGIN,
            deadline_error=self._late_error,
            recorder=None,
            has_deadline=self.deadline < math.inf,
            is_whole=False,
            withholds_usage=not self.call.usage_requested,
            choices=self.call.choices,
            ends_reads_in_time=True,
            lacks_report=lambda: self.report is None,
        )

    def _late_error(self, request: Any) -> Exception | None:
        return self.answers.deadline_exceeded() if self.left <= 0 else None

    def _stream_ended(
        self, outcome: str, progress: StreamProgress, error: BaseException | None
    ) -> None:
        if self.report is None:
            if error is not None and not isinstance(error, Exception):
                outcome = CANCELLED
            seconds = self.setting.clock.now() - self.started_at
            self.report = stream_report(self._own_report(), outcome, progress, seconds)
        self.finish(error)

    def finish(self, error: BaseException | None = None) -> None:
        """End the call: its report goes to all who listen."""
        if self.done:
            return
        self.done = True
        if self.report is None and isinstance(error, (BudgetExceeded, PolicyError)):
            return  # no call has begun
        setting, report = self.setting, self.report or self._own_report()
        report = replace(
            report,
            at=self.at,
            elapsed=setting.clock.now() - self.started_at,
            limits=limits_of(report.limits, setting.limits, setting.policy),
            error=None if error is None else type(error).__name__,
        )
        if self.lines is not None:
            self.lines.ended(report)
        if isinstance(error, Exception):
            attach_report(error, report)
        publish(report, (*setting.charges, *setting.scope.reports))

    def _own_report(self) -> CallReport:
        """The report of a call of which the gateway has sent none."""
        lane = self.setting.policy.lanes[0]
        return CallReport(
            self.call.model,
            lane,
            (),
            0.0,
            0.0,
            id=self.id,
            first_lane=lane,
            output_limit=self.call.output_limit,
            limits=self.setting.limits,
        )
