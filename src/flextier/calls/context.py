"""What the code around a call has set: track(), override(), listeners, budgets: its scope."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flextier.calls.report import CallReport, Retry
from flextier.policy import FlexPolicy

if TYPE_CHECKING:
    from decimal import Decimal

RetryListener = Callable[[Retry], Awaitable[None] | None]


@dataclass(frozen=True, slots=True)
class Scope:
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

    def merged(self, inner: Scope) -> Scope:
        """Both scopes: each listener once, and the inner changes over the outer ones."""
        return Scope(
            tuple(dict.fromkeys((*self.reports, *inner.reports))),
            tuple(dict.fromkeys((*self.retries, *inner.retries))),
            tuple(sorted({**dict(self.changes), **dict(inner.changes)}.items())),
            tuple(dict.fromkeys((*self.budgets, *inner.budgets))),
            tuple(dict.fromkeys((*self.streams, *inner.streams))),
            inner.run or self.run,
        )


_EMPTY = Scope()
_SCOPE: ContextVar[Scope] = ContextVar("flextier_scope", default=_EMPTY)


def current_scope() -> Scope:
    """The scope of the running context."""
    return _SCOPE.get()


class listen:
    """Listen to the calls made inside: to each report, and to each retry before its wait.

    ``on_retry`` may be async for calls of the async client. ``on_stream`` gets the SDK's stream of
    a streamed call. ``outer`` is merged in: the scope where a call was requested that begins only
    now, maybe in another context. ``run`` returns the run that the calls are part of, unless the
    code around has set one. For framework adapters; users have :func:`track`.
    """

    # A class, as frameworks use it once a call: it creates fewer objects than a generator.
    __slots__ = ("_on_report", "_on_retry", "_on_stream", "_outer", "_run", "_token")

    def __init__(
        self,
        on_report: Callable[[CallReport], None] | None = None,
        on_retry: RetryListener | None = None,
        *,
        on_stream: Callable[[Any], None] | None = None,
        outer: Scope | None = None,
        run: Callable[[], str | None] | None = None,
    ) -> None:
        self._run = run
        self._on_report = on_report
        self._on_retry = on_retry
        self._on_stream = on_stream
        self._outer = outer

    def __enter__(self) -> None:
        scope = _SCOPE.get()
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
        self._token = _SCOPE.set(
            Scope(reports, retries, scope.changes, scope.budgets, streams, run)
        )

    def __exit__(self, *_: object) -> None:
        _SCOPE.reset(self._token)


@contextmanager
def scoped(**fields: Any) -> Iterator[None]:
    """Run calls inside with these fields of :class:`Scope` replaced."""
    token = _SCOPE.set(replace(_SCOPE.get(), **fields))
    try:
        yield
    finally:
        _SCOPE.reset(token)


@contextmanager
def track() -> Iterator[list[CallReport]]:
    """Collect the reports of the calls made inside, failed ones included, through any framework.

    Tasks started inside are covered, and so are threads that carry the context along
    (``asyncio.to_thread``, LangChain's ``batch``); a bare ``threading.Thread`` is not. A streamed
    call is reported when its stream ends or is closed.

    Example::

        with track() as calls:
            client.chat.completions.create(model="o3", messages=[...])
        print(calls[-1].lane)
    """
    reports: list[CallReport] = []
    with listen(reports.append):
        yield reports


@contextmanager
def override(**changes: Any) -> Iterator[None]:
    """Use other policy values for the calls made inside, through any framework.

    The names are the fields of :class:`flextier.FlexPolicy`. Inner blocks win over outer ones.

    Raises:
        PolicyError: a name or value is wrong.
    """
    merged = {**dict(_SCOPE.get().changes), **changes}
    FlexPolicy.check(merged)
    if "lanes" in changes:
        from flextier.calls.run_tracking import start_run_tracking

        lanes = changes["lanes"]
        start_run_tracking(lanes.split(",") if isinstance(lanes, str) else lanes)
    with scoped(changes=tuple(sorted(merged.items()))):
        yield
