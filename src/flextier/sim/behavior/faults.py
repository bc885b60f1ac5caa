"""Scripted faults: what shall happen to one request, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from flextier.lanes import LANES, PRIORITY
from flextier.sim.base import api_errors, token_bucket, validation
from flextier.sim.base.api_errors import ErrorReply
from flextier.sim.base.tokens import Tokens

LANE_NAMES = (*(x.name for x in LANES.values() if x.execution != "batch"), PRIORITY.name)
"""The lanes that a fault can be limited to."""
Break = Literal["error", "failed", "end", "reset", "stall"]

S = TypeVar("S", bound="float | None")


@dataclass(frozen=True)
class Serve:
    """A normal answer, some of it scripted."""

    tier: str | None = None
    text: str | None = None
    tokens: Tokens | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Stall:
    """Silence before any byte: for ``seconds``, then an answer; None: without end."""

    seconds: float | None = None


@dataclass(frozen=True)
class Reset:
    """The connection is reset before any byte; ``after_effect``: when all was done."""

    after_effect: bool = False


@dataclass(frozen=True)
class Cut:
    """A body that promises more bytes than it brings."""

    after_bytes: int


@dataclass(frozen=True)
class NotJson:
    """A body that is not JSON, or not what was asked for; ``content``: None for a usual one."""

    content_type: str
    content: bytes | None = None


@dataclass(frozen=True)
class Trickle:
    """A body that takes ``seconds`` to arrive, ``step`` bytes at a time."""

    seconds: float
    step: int


@dataclass(frozen=True)
class StreamBreak:
    """A stream that goes wrong after ``after`` events, in one of the ways of ``Break``."""

    after: int
    how: Break
    code: str = ""
    seconds: float | None = None


Action = Serve | ErrorReply | Stall | Reset | Cut | NotJson | Trickle | StreamBreak


@dataclass(frozen=True)
class FaultConditions:
    """Which requests a fault waits for; what is None matches everything."""

    lane: str | None = None
    model: str | None = None
    path: str | None = None
    stream: bool | None = None
    method: str | None = None

    def accept(self, lane: str, model: str, path: str, stream: bool) -> bool:
        """Whether a request for an answer with these traits is one of them."""
        return (
            self.lane in (None, lane)
            and self.method in (None, "POST")
            and self.stream in (None, stream)
            and (self.model is None or fnmatchcase(model, self.model))
            and (self.path is None or path.endswith(self.path))
        )

    def accept_other(self, method: str, path: str, route: str) -> bool:
        """Whether a request for something else is one of them: only if a path is given.

        ``route`` is the path with ``{id}`` in place of an id.
        """
        return (
            self.path is not None
            and (self.lane, self.model, self.stream) == (None, None, None)
            and self.method in (None, method)
            and (path.endswith(self.path) or route.endswith(self.path))
        )


@dataclass(frozen=True)
class Fault:
    """What happens to one request. Made by the class methods, narrowed with :meth:`on`.

    Give faults to :meth:`flextier.sim.Simulator.script`; each is used once.
    """

    action: Action
    conditions: FaultConditions = field(default=FaultConditions())

    def on(
        self,
        *,
        lane: str | None = None,
        model: str | None = None,
        path: str | None = None,
        stream: bool | None = None,
        method: str | None = None,
    ) -> Fault:
        """The same fault, waiting for the first request that matches every given condition.

        Args:
            lane: The lane the request asks for: ``flex``, ``standard`` (no tier, ``auto`` or
                ``default``) or ``priority``; for background responses ``background-soonest``,
                ``background-2h`` or ``background-8h``.
            model: The model's name, or a shell pattern such as ``"gpt-5*"``.
            path: The end of the path: ``"/chat/completions"`` or ``"/responses"``. Any other
                path needs one to meet a fault: ``"/files"``, ``"/batches"``, ``"/batches/{id}"``
                (any id), ``"/files/{id}/content"``, ``"/responses/{id}"``,
                ``"/responses/{id}/cancel"``, ``"/embeddings"``.
            stream: Whether a stream is asked for.
            method: The HTTP method, such as ``"POST"``: it separates creating from listing.

        Raises:
            ValueError: The lane is none of these.
        """
        if lane is not None and lane not in LANE_NAMES:
            raise ValueError(f"lane must be one of {', '.join(LANE_NAMES)}, not {lane!r}")
        return replace(self, conditions=FaultConditions(lane, model, path, stream, method))

    @classmethod
    def serve(
        cls,
        tier: str | None = None,
        text: str | None = None,
        usage: Tokens | Mapping[str, int] | None = None,
        delay: float = 0.0,
    ) -> Fault:
        """A normal answer.

        Args:
            tier: The tier the answer reports; None: the one asked for.
            text: What the model says; None: what it would have said.
            usage: What the answer reports as used, with the names of :class:`Tokens`; None:
                an estimate.
            delay: Seconds of waiting on top of the simulator's latency.
        """
        tokens = None if usage is None else Tokens.of(usage)
        return cls(Serve(tier, text, tokens, _checked("delay", delay)))

    @classmethod
    def refuse(
        cls,
        code: str = "flex_unavailable",
        retry_after: float | str | None = None,
        should_retry: bool | None = None,
    ) -> Fault:
        """The flex lane's 429.

        Args:
            code: ``flex_unavailable``, or ``resource_unavailable`` as older texts have it.
            retry_after: The ``retry-after`` header: seconds, or any text; None: no header.
            should_retry: The ``x-should-retry`` header; None: no header.
        """
        hint = None if should_retry is None else str(should_retry).lower()
        refusal = api_errors.flex_unavailable(code)
        return cls(refusal.with_headers(retry_after=retry_after, x_should_retry=hint))

    @classmethod
    def rate_limit(
        cls,
        retry_after: float | str | None = None,
        retry_after_ms: float | None = None,
        reset: str | None = None,
    ) -> Fault:
        """The 429 of the account's rate limit.

        Args:
            retry_after: The ``retry-after`` header: seconds, or any text.
            retry_after_ms: The ``retry-after-ms`` header, in milliseconds.
            reset: The ``x-ratelimit-reset-requests`` header: ``"1s"``, ``"6m0s"``, ``"20ms"``.
        """
        reply = api_errors.rate_limited().with_headers(
            retry_after=retry_after,
            retry_after_ms=retry_after_ms,
            x_ratelimit_reset_requests=reset,
        )
        return cls(reply)

    @classmethod
    def token_limit(
        cls, limit: int = 200_000, used: int = 195_663, requested: int = 7_592, model: str = "o3"
    ) -> Fault:
        """The 429 of the account's limit of tokens per minute.

        Args:
            limit: Tokens per minute.
            used: Tokens in use.
            requested: Tokens of the request; above ``limit`` it is "Request too large".
            model: The model that the message names.

        Raises:
            ValueError: The request would fit.
        """
        reply = token_bucket.over(model, limit, used, requested)
        if reply is None:
            raise ValueError(f"requested must be above limit - used, not {requested!r}")
        return cls(reply)

    @classmethod
    def quota(cls) -> Fault:
        """The 429 of an account without credit."""
        return cls(api_errors.out_of_quota())

    @classmethod
    def unsupported(cls, tier: str = "flex") -> Fault:
        """The 400 of a model that is not sold on this tier."""
        return cls(api_errors.tier_unsupported(tier))

    @classmethod
    def unverified(cls, param: str = "stream") -> Fault:
        """The 400 of an unverified organisation: ``stream`` or ``reasoning.summary``."""
        return cls(api_errors.unverified(param))

    @classmethod
    def status(
        cls,
        code: int,
        *,
        message: str = "The server had an error while processing your request.",
        type: str | None = None,
        error_code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Fault:
        """Any error status, with OpenAI's error object.

        Args:
            code: The HTTP status, 400 to 599.
            message: The error's message.
            type: The error's type; None: ``server_error`` from 500 on, else
                ``invalid_request_error``.
            error_code: The error's code.
            param: The error's param.
            headers: Headers to send with it.

        Raises:
            ValueError: The status is not an error's.
        """
        if not 400 <= code <= 599:
            raise ValueError(f"code must be an error status, 400 to 599, not {code}")
        kind = type or ("server_error" if code >= 500 else "invalid_request_error")
        extra = tuple((headers or {}).items())
        return cls(ErrorReply(code, message, kind, error_code, param, extra, "error"))

    @classmethod
    def stall(cls, seconds: float | None = None) -> Fault:
        """Accepted, then silence: until the client leaves, or for ``seconds`` before an answer."""
        return cls(Stall(_checked("seconds", seconds)))

    @classmethod
    def reset(cls, after_effect: bool = False) -> Fault:
        """The connection is reset (TCP RST) before any byte of a response.

        Args:
            after_effect: Whether the request was carried out before: the batch is created, the
                file is kept, the answer is computed, and only its answer is lost.
        """
        return cls(Reset(after_effect))

    @classmethod
    def cut(cls, after_bytes: int = 20) -> Fault:
        """A 200 whose body ends after ``after_bytes``, short of its Content-Length. Plain only."""
        return cls(Cut(_checked("after_bytes", after_bytes)))

    @classmethod
    def not_json(cls, content_type: str = "text/html") -> Fault:
        """A 200 whose body is not JSON: a page, or cut-off JSON for ``application/json``.

        Plain requests only.
        """
        return cls(NotJson(content_type))

    @classmethod
    def body(cls, content: str | bytes, content_type: str = "application/json") -> Fault:
        """A 200 with this body, whatever was asked for. Plain requests only."""
        whole = content.encode() if isinstance(content, str) else content
        return cls(NotJson(content_type, whole))

    @classmethod
    def trickle(cls, seconds: float, bytes: int = 1) -> Fault:
        """A whole body that takes ``seconds`` to arrive, a few bytes at a time. Plain only."""
        validation.positive("bytes", bytes)
        return cls(Trickle(_checked("seconds", seconds), bytes))

    @classmethod
    def stream_error(
        cls,
        after: int = 0,
        code: str = "flex_unavailable",
        how: Literal["error", "failed"] = "error",
    ) -> Fault:
        """A stream whose next event after ``after`` good ones is an error. Streams only.

        Args:
            after: Good events before it; 0: not even ``response.created``.
            code: The error's code.
            how: ``error``: an ``error`` event (Responses) or an ``error`` object (chat);
                ``failed``: a ``response.failed`` event, Responses only.
        """
        if how not in ("error", "failed"):
            raise ValueError(f"how must be 'error' or 'failed', not {how!r}")
        return cls(StreamBreak(_checked("after", after), how, code))

    @classmethod
    def stream_end(cls, after: int = 1) -> Fault:
        """A stream that ends in good order after ``after`` events, unfinished. Streams only."""
        return cls(StreamBreak(_checked("after", after), "end"))

    @classmethod
    def stream_reset(cls, after: int = 1) -> Fault:
        """A stream whose connection drops after ``after`` events. Streams only."""
        return cls(StreamBreak(_checked("after", after), "reset"))

    @classmethod
    def stream_stall(cls, after: int = 1, seconds: float | None = None) -> Fault:
        """A stream that falls silent after ``after`` events. Streams only.

        ``seconds`` later it goes on; None: it never does.
        """
        return cls(
            StreamBreak(_checked("after", after), "stall", seconds=_checked("seconds", seconds))
        )


def _checked(name: str, value: S) -> S:
    validation.not_negative(name, value)
    return value
