"""What the code around a call has set: track(), override(), listeners, budgets: its scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from typing_extensions import Unpack

from flextier._utils.clock import SYSTEM_CLOCK, Clock
from flextier._utils.durations import next_time_of_day
from flextier.calls.blocks import Block
from flextier.calls.hooks import process_wide
from flextier.calls.report import CallReport, Retry
from flextier.errors import PolicyError
from flextier.lanes import CallFacts
from flextier.policy import FlexPolicy, PolicyFields

if TYPE_CHECKING:
    from decimal import Decimal

RetryListener = Callable[[Retry], Awaitable[None] | None]
Reach = Literal["context", "process"]
"""Which calls a block sees: those made in its context, or all of the process."""


class LocalAnswers(Protocol):
    """Answers that are made in this process, for a quote."""

    is_open: bool
    """Whether they still are: threads that were started meanwhile keep the quote's context."""

    def __call__(self, facts: CallFacts, lanes: tuple[str, ...]) -> tuple[int, bytes]:
        """The status and JSON of the response to a call, given the names of its lanes."""

    def left(self, scope: Scope) -> Scope:
        """The scope of a call in the quote's context after its end."""


class Scope(NamedTuple):
    """The settings and listeners of the code around a call."""

    reports: tuple[Callable[[CallReport], None], ...] = ()
    retries: tuple[RetryListener, ...] = ()
    changes: tuple[tuple[str, Any], ...] = ()
    budgets: tuple[tuple[Any, Decimal], ...] = ()
    """Spendings that the calls are charged to (``flextier.calls.budget``), each with its limit."""
    streams: tuple[Callable[[Any], None], ...] = ()
    run: Callable[[], str | None] | None = None
    """Returns the run that the calls are part of (``flextier.continuation``), for lanes that use
    it; None: of none."""
    blocks: tuple[Block, ...] = ()
    """The user's blocks around the calls."""
    framework: str | None = None
    """Who makes the calls, as records name it; None: no framework."""
    simulated: bool = False
    """Whether nothing is paid for the calls: no block or ledger of the whole process sees them."""
    until: float | None = None
    """When the calls must have ended: seconds since the epoch. None: no such end is set."""
    local: LocalAnswers | None = None
    """Makes the answers of the calls in this process, for a quote: nothing is sent. None: the API
    does."""
    tags: tuple[str, ...] = ()
    """Tags of the calls, for a gateway's ledger."""
    name_call: Callable[[bytes], str] | None = None
    """Given the body of a call through a gateway, returns its id: a repeat joins the call, or gets
    its response. None: each call has a new one."""

    def merged(self, inner: Scope) -> Scope:
        """Both scopes: each listener once, and the inner changes over the outer ones."""
        return Scope(
            tuple(dict.fromkeys((*self.reports, *inner.reports))),
            tuple(dict.fromkeys((*self.retries, *inner.retries))),
            tuple(sorted({**dict(self.changes), **dict(inner.changes)}.items())),
            tuple(dict.fromkeys((*self.budgets, *inner.budgets))),
            tuple(dict.fromkeys((*self.streams, *inner.streams))),
            inner.run or self.run,
            tuple(dict.fromkeys((*self.blocks, *inner.blocks))),
            inner.framework or self.framework,
            self.simulated or inner.simulated,
            earlier(self.until, inner.until),
            inner.local or self.local,
            tuple(dict.fromkeys((*self.tags, *inner.tags))),
            inner.name_call or self.name_call,
        )


def earlier(one: float | None, other: float | None) -> float | None:
    """The earlier of two ends; None: neither is set."""
    return min((end for end in (one, other) if end is not None), default=None)


_EMPTY = Scope()
SCOPE: ContextVar[Scope] = ContextVar("flextier_scope", default=_EMPTY)
"""The scope of the running context: a call reads it once, when it begins."""


def current_scope() -> Scope:
    """The scope of the running context."""
    return SCOPE.get()


class listen:
    """Listen to the calls made inside: to each report, and to each retry before its wait.

    ``on_retry`` may be async for calls of the async client. ``on_stream`` gets the SDK's stream of
    a streamed call. ``outer`` is merged in: the scope where a call was requested that begins only
    now, maybe in another context. ``run`` returns the run that the calls are part of, unless the
    code around has set one; ``framework`` names who makes them, ``tags`` are theirs. For framework
    adapters; users have :func:`track`.
    """

    # A class, as frameworks use it once a call: it creates fewer objects than a generator.
    __slots__ = (
        "_framework", "_on_report", "_on_retry", "_on_stream", "_outer", "_run", "_tags", "_token"
    )  # fmt: skip

    def __init__(
        self,
        on_report: Callable[[CallReport], None] | None = None,
        on_retry: RetryListener | None = None,
        *,
        on_stream: Callable[[Any], None] | None = None,
        outer: Scope | None = None,
        run: Callable[[], str | None] | None = None,
        framework: str | None = None,
        tags: tuple[str, ...] = (),
    ) -> None:
        self._framework = framework
        self._tags = tags
        self._run = run
        self._on_report = on_report
        self._on_retry = on_retry
        self._on_stream = on_stream
        self._outer = outer

    def __enter__(self) -> None:
        scope = SCOPE.get()
        if self._outer is not None and self._outer is not scope:
            scope = self._outer.merged(scope)
        reports, retries, streams = scope.reports, scope.retries, scope.streams
        if self._on_report is not None:
            reports = (*reports, self._on_report)
        if self._on_retry is not None:
            retries = (*retries, self._on_retry)
        if self._on_stream is not None:
            streams = (*streams, self._on_stream)
        run = scope.run or self._run
        framework = self._framework or scope.framework
        self._token = SCOPE.set(
            Scope(
                reports,
                retries,
                scope.changes,
                scope.budgets,
                streams,
                run,
                scope.blocks,
                framework,
                scope.simulated,
                scope.until,
                scope.local,
                (*scope.tags, *self._tags) if self._tags else scope.tags,
                scope.name_call,
            )
        )

    def __exit__(self, *_: object) -> None:
        SCOPE.reset(self._token)


@contextmanager
def scoped(**fields: Any) -> Iterator[None]:
    """Run calls inside with these fields of :class:`Scope` replaced."""
    token = SCOPE.set(SCOPE.get()._replace(**fields))
    try:
        yield
    finally:
        SCOPE.reset(token)


@contextmanager
def block(name: str, **fields: Any) -> Iterator[Block]:
    """Run calls inside with these fields of :class:`Scope` replaced, as the user's block ``name``.

    Yields the block. It is logged if it sees no call while others run that it does not reach.
    """
    scope = SCOPE.get()
    opened = Block(name)
    token = SCOPE.set(scope._replace(blocks=(*scope.blocks, opened), **fields))
    try:
        yield opened
    finally:
        opened.close(scope.blocks)
        SCOPE.reset(token)


def reporting(
    name: str, scope: Reach, on_report: Callable[[CallReport], None], tags: tuple[str, ...] = ()
) -> AbstractContextManager[Any]:
    """The user's block ``name``, which passes the reports of its calls to ``on_report``.

    Raises:
        ValueError: there is no such scope.
    """
    if scope == "process":
        return process_wide(on_report)
    if scope != "context":
        raise ValueError(f'{name}(scope={scope!r}): must be "context" or "process"')
    outer = SCOPE.get()
    return block(name, reports=(*outer.reports, on_report), tags=(*outer.tags, *tags))


@contextmanager
def track(*, scope: Reach = "context") -> Iterator[list[CallReport]]:
    """Collect the reports of the calls made inside, failed ones included, through any framework.

    Tasks started inside are covered, and so are threads that carry the context along
    (``asyncio.to_thread``, LangChain's ``batch``, a pool that runs ``flextier.wrap(function)``); a
    plain thread or pool is not. A streamed call is reported when its stream ends or is closed.

    Args:
        scope: ``"process"``: all calls of the process that begin meanwhile, in every thread and
            event loop. Other processes, also children, are never covered.

    Example::

        with track() as calls:
            client.chat.completions.create(model="o3", messages=[...])
        print(calls[-1].lane)
    """
    reports: list[CallReport] = []
    with reporting("track", scope, reports.append):
        yield reports


@contextmanager
def override(
    *, until: str | None = None, clock: Clock = SYSTEM_CLOCK, **changes: Unpack[PolicyFields]
) -> Iterator[None]:
    """Use other policy values for the calls made inside, through any framework.

    The names are the fields of :class:`flextier.FlexPolicy`. Inner blocks win over outer ones.
    Tasks and threads are covered as with :func:`track`.

    Args:
        until: one end for all calls inside: a time of day such as ``"06:00"``, local time, the next
            one after the block is entered. A call's deadline is then the earlier of its own and
            what is left; with nothing left, it raises ``FlexDeadlineExceeded`` and sends nothing.
            Of nested blocks the earlier end counts.
        clock: for tests.
        **changes: fields of the policy.

    Raises:
        PolicyError: a name or value is wrong.
    """
    scope = SCOPE.get()
    end = scope.until
    if until is not None:
        try:
            end = earlier(end, next_time_of_day(until, clock.wall()))
        except ValueError as error:
            raise PolicyError(f"override(until=…): {error}") from None
    merged = {**dict(scope.changes), **changes}
    FlexPolicy.check(merged)
    if "lanes" in changes:
        from flextier.calls.run_tracking import start_run_tracking

        lanes = changes["lanes"]
        start_run_tracking(lanes.split(",") if isinstance(lanes, str) else lanes)
    with block("override", changes=tuple(sorted(merged.items())), until=end):
        yield
