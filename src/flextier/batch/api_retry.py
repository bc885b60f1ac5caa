"""Retries of Batch API requests after transient failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import openai

from flextier._openai.compat import failure_of
from flextier._utils.clock import Clock
from flextier.lanes import STANDARD
from flextier.lanes.failures import Failure, classify
from flextier.lanes.retry_after import retry_after

_T = TypeVar("_T")

_TRIES = 6
"""Attempts of one request: they span a fault of about half a minute."""

_FIRST, _LONGEST = 1.0, 60.0
"""Seconds: the most before the first retry, and before any retry."""

_LASTING = frozenset({"rejected", "quota", "lane_unsupported", "stream_unverified"})
"""Failures that a retry would meet again."""


def lasts(failure: Failure) -> bool:
    """Whether the same request would fail again."""
    return classify(failure, STANDARD) in _LASTING


def pause_after(error: openai.OpenAIError, clock: Clock, backoff: float) -> float | None:
    """Seconds before the retry: the server's ``Retry-After``, else ``backoff``. None: no retry."""
    failure = failure_of(error)
    if failure is None or lasts(failure):
        return None
    server_wait = retry_after(failure, classify(failure, STANDARD), clock.wall())
    return backoff if server_wait is None else server_wait


def usual_backoff(tries: int, clock: Clock) -> float:
    """Seconds to wait after ``tries`` failed attempts, without a policy's own backoff."""
    return clock.random() * min(_LONGEST, _FIRST * 2.0 ** min(tries, 10))


def persist(ask: Callable[[], _T], clock: Clock) -> _T:
    """What ``ask`` returns, after at most six attempts.

    Raises:
        openai.OpenAIError: what the last attempt raised.
    """
    tries = 0
    while True:
        try:
            return ask()
        except openai.OpenAIError as error:  # noqa: PERF203 - each attempt is a request
            tries += 1
            pause = pause_after(error, clock, usual_backoff(tries, clock))
            if pause is None or tries >= _TRIES or pause > _LONGEST:
                raise
            clock.sleep(pause)
