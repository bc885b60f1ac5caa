"""Batch API requests that are retried after transient failures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from flextier._openai import public_names as openai
from flextier._openai.error_conversion import failure_of
from flextier._openai.public_names import Batch
from flextier._utils.clock import Clock
from flextier.batch.api import BatchAPI
from flextier.batch.api_errors import is_enqueue_limit
from flextier.batch.pending_calls import GroupKey
from flextier.batch.submit import LIST_DELAY
from flextier.lanes import STANDARD
from flextier.lanes.failures import PERMANENT, classify
from flextier.lanes.retry_after import retry_after

_T = TypeVar("_T")

_MAX_ATTEMPTS = 6
"""Of one request by hand: they span a fault of about half a minute."""

_MAX_WAIT = 60.0
"""The most seconds before a retry by hand."""

_MAX_REJECTED_POLLS = 5
"""Rejected polls in a row, as with 401 or 404, after which the batch is given up."""


def retry_wait(error: openai.OpenAIError, clock: Clock, backoff: float) -> float | None:
    """Seconds before the retry: the server's ``Retry-After``, else ``backoff``. None: no retry."""
    failure = failure_of(error)
    if failure is None:
        return None
    kind = classify(failure, STANDARD)
    if kind in PERMANENT:
        return None
    server_wait = retry_after(failure, kind, clock.wall())
    return backoff if server_wait is None else server_wait


def default_backoff(attempts: int, clock: Clock) -> float:
    """Seconds to wait after ``attempts`` failed attempts, without a policy's own backoff."""
    return clock.random() * min(_MAX_WAIT, 2.0 ** min(attempts, 10))


def growing_interval(first: float, polls: int, longest: float) -> float:
    """Seconds to the next poll of a batch: ``first``, then more and more, up to ``longest``."""
    return min(longest, first * 1.5 ** min(polls, 60))


def with_retries(send: Callable[[], _T], clock: Clock) -> _T:
    """What ``send`` returns, or what the last attempt raises, after at most six attempts."""
    attempts = 0
    while True:
        try:
            return send()
        except openai.OpenAIError as error:  # noqa: PERF203 - each attempt is a request
            attempts += 1
            wait = retry_wait(error, clock, default_backoff(attempts, clock))
            if wait is None or attempts >= _MAX_ATTEMPTS or wait > _MAX_WAIT:
                raise
            clock.sleep(wait)


@dataclass
class RetryingBatchAPI:
    """The API requests of one batch of the lane, with retries."""

    api: Callable[[], BatchAPI]
    """Returns the current Batch API of the account."""
    group: GroupKey
    pause: Callable[[float], None]
    """Sleeps, unless woken."""
    check_deadlines: Callable[[], None]
    """Called before each retry; raises if no call needs the batch any more."""
    _rejected_polls: int = 0

    @property
    def list_delay(self) -> float:
        """Seconds until a created batch can be found."""
        return min(LIST_DELAY, self.group.policy.batch_poll_interval)

    def retry(self, send: Callable[[BatchAPI], _T], until: float = math.inf) -> _T:
        """What ``send`` returns, retried after transient failures ``until`` a time."""
        attempts = 0
        while True:
            try:
                return send(self.api())
            except openai.OpenAIError as error:  # noqa: PERF203 - each attempt is a request
                if isinstance(error, openai.APIError) and is_enqueue_limit(
                    error.code, error.message
                ):
                    raise
                attempts += 1
                wait = retry_wait(error, self.group.clock, self.group.backoff(attempts))
                if wait is None or self.group.clock.now() + wait >= until:
                    raise
                self.pause(wait)
                self.check_deadlines()

    def retrieve(self, batch_id: str) -> Batch:
        """The batch, which should exist: if it does not, it is requested a few seconds later."""
        try:
            return self.retry(lambda api: api.retrieve(batch_id))
        except openai.NotFoundError:
            self.pause(self.list_delay)
            return self.retry(lambda api: api.retrieve(batch_id))

    def poll(self, batch: Batch) -> Batch:
        """The current state of a batch; its last known state if the poll fails.

        A batch that was sent is paid for: only many rejections in a row end the wait.
        """
        try:
            polled = self.api().retrieve(batch.id)
        except openai.OpenAIError as error:
            failure = failure_of(error)
            if failure is None:
                raise
            if classify(failure, STANDARD) in PERMANENT:
                self._rejected_polls += 1
                if self._rejected_polls >= _MAX_REJECTED_POLLS:
                    raise
            self.pause(self.group.backoff(3))
            return batch
        self._rejected_polls = 0
        return polled

    def cancel(self, batch_id: str) -> bool:
        """Cancel a batch; return whether it is cancelled or has ended."""
        try:
            self.api().cancel(batch_id)
        except openai.APIStatusError as error:
            return error.status_code < 500 and error.status_code != 429
        except openai.APIConnectionError:
            return False
        return True
