"""Who hears of every call of this process, whoever makes it: what telemetry listens by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Protocol

from flextier.calls.context import Scope
from flextier.calls.report import CallReport, Retry


@dataclass(frozen=True, slots=True)
class Beginning:
    """A call that begins."""

    base_url: str
    """The client's."""
    path: str
    """The API that is called: ``"/chat/completions"`` or ``"/responses"``."""
    stream: bool
    """Whether the answer is to be streamed."""


class Heard(Protocol):
    """What a hearer keeps of one call. ``retried`` must not raise: the call would fail of it."""

    def retried(self, retry: Retry) -> None:
        """A new try, before the wait for it."""

    def ended(self, report: CallReport) -> None:
        """The call is over."""


Hearer = Callable[[Beginning], Heard]
"""Asked when a call begins, in the context of whoever makes it. It must not raise either."""

_hearers: tuple[Hearer, ...] = ()
_lock = Lock()


def hear(hearer: Hearer) -> None:
    """Tell ``hearer`` of every call that begins from now on, in all threads and event loops."""
    global _hearers
    with _lock:
        _hearers = (*_hearers, hearer)


def unhear(hearer: Hearer) -> None:
    """Tell ``hearer`` of no further calls. Those that have begun it still hears of."""
    global _hearers
    with _lock:
        _hearers = tuple(other for other in _hearers if other != hearer)


def with_hearers(scope: Scope, base_url: str, options: Any) -> Scope:
    """The scope of a call that begins, with those who hear of every call in it.

    Args:
        scope: what the code around the call has asked for.
        base_url: the client's.
        options: the SDK's options of the call.
    """
    hearers = _hearers
    if not hearers:
        return scope
    path = options.url.partition("?")[0]
    beginning = Beginning(base_url, path, bool(options.json_data.get("stream")))
    heard = [hearer(beginning) for hearer in hearers]
    return replace(
        scope,
        reports=(*(one.ended for one in heard), *scope.reports),
        retries=(*(one.retried for one in heard), *scope.retries),
    )
