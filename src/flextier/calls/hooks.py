"""Callbacks for every call of this process: telemetry hooks, and blocks with scope="process"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flextier.calls.call import Call
from flextier.calls.report import CallReport, Retry

if TYPE_CHECKING:
    from flextier.calls.context import Scope


class CallStart(NamedTuple):
    """A call that begins."""

    base_url: str
    """The client's."""
    path: str
    """The API that is called: ``"/chat/completions"`` or ``"/responses"``."""
    stream: bool
    """Whether the response is to be streamed."""


class CallListener(Protocol):
    """The callbacks of one call. An error of ``retried`` would fail the call: it must not raise."""

    def retried(self, retry: Retry) -> None:
        """A further attempt will be made, after a wait that begins now."""

    def ended(self, report: CallReport) -> None:
        """The call is over."""


Hook = Callable[[CallStart], CallListener]
"""Called when a call begins, in the context of its caller. It must not raise."""

call_hooks: tuple[Hook, ...] = ()
_lock = Lock()


def add_hook(hook: Hook) -> None:
    """Call ``hook`` for every call that begins from now on, in all threads and event loops."""
    global call_hooks
    with _lock:
        call_hooks = (*call_hooks, hook)


def remove_hook(hook: Hook) -> None:
    """Call ``hook`` for no further calls; its listeners of calls in flight are still notified."""
    global call_hooks
    with _lock:
        call_hooks = tuple(other for other in call_hooks if other != hook)


OnReport = Callable[[CallReport], None]

# A dict, as its operations are atomic: a lock could be held by another thread at a fork.
listeners: dict[object, OnReport] = {}
Recorder = Callable[[str, CallReport], None]
"""Gets the framework that made a call, ``"openai"`` for none, and the call's report."""
recorder: Recorder | None = None


def record_every_call(new: Recorder | None) -> None:
    """Pass the report of every call that begins from now on to ``new``, after all others."""
    global recorder
    recorder = new


@contextmanager
def process_wide(on_report: OnReport) -> Iterator[None]:
    """Pass on the reports of the calls that begin meanwhile, in all threads and event loops."""
    key = object()
    listeners[key] = on_report
    try:
        yield
    finally:
        del listeners[key]


def with_recorder(scope: Scope) -> Scope:
    """The scope of a call that the ledger of the process records."""
    if recorder is None or scope.simulated:
        return scope
    record = partial(recorder, scope.framework or "openai")
    return scope._replace(reports=(*scope.reports, record))


def with_hooks(scope: Scope, base_url: str, call: Call) -> Scope:
    """The scope of a call that begins, with a listener of every hook, and process-wide ones.

    These come last: blocks around the call know more of it, and a ledger keeps the first record.
    """
    if listeners and not scope.simulated:
        scope = scope._replace(reports=(*scope.reports, *listeners.values()))
    hooks = call_hooks
    if not hooks:
        return scope
    start = CallStart(base_url, call.endpoint, call.stream)
    started = [hook(start) for hook in hooks]
    return scope._replace(
        reports=(*(listener.ended for listener in started), *scope.reports),
        retries=(*(listener.retried for listener in started), *scope.retries),
    )
