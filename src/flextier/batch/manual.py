"""Batches by hand: create, retrieve, list, wait, cancel. The batch lane does these by itself.

All functions block; from async code: ``await asyncio.to_thread(wait, client, batch_id)``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier._utils.clock import SYSTEM_CLOCK, Clock
from flextier._utils.durations import Duration, named_seconds
from flextier.batch.api import TAG, TERMINAL, BatchAPI, created_at
from flextier.batch.jsonl import Lines, input_file
from flextier.batch.retrying_api import default_backoff, growing_interval, retry_wait, with_retries
from flextier.batch.submit import CLOCK_SKEW, BatchSubmission

_PAGE = 100
_MAX_PAIRS, _MAX_KEY, _MAX_VALUE = 16, 64, 512


def create(
    client: openai.OpenAI,
    lines: Lines,
    *,
    endpoint: str | None = None,
    metadata: Mapping[str, str] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Batch:
    """Upload requests and create a batch of them, done within 24 hours at half price.

    Every line is checked before anything is sent. The batch is created once, even if the response
    to its creation is lost: it is found by its tag, ``metadata["flextier"]``.

    Args:
        client: any client of the SDK, also a ``FlexOpenAI``.
        lines: the path of a JSONL file, or an iterable of request bodies, whose ids are then
            ``request-1`` and so on; of ``(custom_id, body)``; or of complete lines as dicts. It is
            iterated once, and written to disk.
        endpoint: such as ``"/v1/responses"``. None: the lines' ``url``, else Chat
            Completions for bodies with ``messages``, Responses for those with ``input``.
        metadata: up to 15 pairs of your own.
        clock: time, sleep and random numbers, for tests.

    Raises:
        BatchLineError: a line that the Batch API would reject; a ValueError with ``line`` and
            ``field``.
        ValueError: there are no lines, or the metadata are invalid.
        OSError: a file cannot be read, or the disk is full.
        openai.OpenAIError: the API cannot be reached, or rejects a request.
    """
    tag = os.urandom(8).hex()
    api, since = BatchAPI(client), clock.wall() - CLOCK_SKEW
    pairs = {**_checked(metadata), TAG: tag}
    with input_file(lines, endpoint) as file:
        submission = BatchSubmission(file.endpoint, pairs, clock.sleep)
        file_id = with_retries(lambda: submission.upload(api, file.file), clock)
        return with_retries(
            lambda: submission.create(api, file_id, since, reuse_failed=True), clock
        )


def _checked(metadata: Mapping[str, str] | None) -> dict[str, str]:
    pairs = dict(metadata or {})
    if TAG in pairs:
        raise ValueError(f"metadata: the key {TAG!r} is reserved: flextier finds the batch by it")
    if len(pairs) >= _MAX_PAIRS:
        raise ValueError(f"metadata: {len(pairs)} pairs, but at most {_MAX_PAIRS - 1} are allowed")
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f"metadata: {key!r}: {value!r} must both be strings")  # noqa: TRY004
        if len(key) > _MAX_KEY or len(value) > _MAX_VALUE:
            raise ValueError(
                f"metadata: {key!r}: keys have up to {_MAX_KEY} characters, values {_MAX_VALUE}"
            )
    return pairs


def retrieve(client: openai.OpenAI, batch_id: str, *, clock: Clock = SYSTEM_CLOCK) -> Batch:
    """The current state of a batch.

    Raises:
        openai.OpenAIError: the API cannot be reached, or does not know it.
    """
    api = BatchAPI(client)
    return with_retries(lambda: api.retrieve(batch_id), clock)


def list_batches(
    client: openai.OpenAI,
    *,
    limit: int | None = None,
    status: str | Collection[str] | None = None,
    since: datetime | float | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[Batch]:
    """The batches of the project, the newest first; pages are requested as they are needed.

    Args:
        client: any client of the SDK.
        limit: the most batches. None: all.
        status: only batches with this status, or one of these. None: any.
        since: only batches created then or later: a time (UTC, if it has no zone) or seconds since
            the epoch. None: no limit.
        clock: time, sleep and random numbers, for tests.

    Raises:
        ValueError: ``limit`` is less than 1.
        openai.OpenAIError: the API cannot be reached, or rejects a request.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: must be at least 1, or None for all")
    statuses = {status} if isinstance(status, str) else None if status is None else set(status)
    size = _PAGE if limit is None or statuses is not None else min(limit, _PAGE)
    if isinstance(since, datetime):
        since = (since if since.tzinfo else since.replace(tzinfo=timezone.utc)).timestamp()
    first = -math.inf if since is None else since
    return islice(_pages(BatchAPI(client), size, statuses, first, clock), limit)


def _pages(
    api: BatchAPI, size: int, statuses: Collection[str] | None, since: float, clock: Clock
) -> Iterator[Batch]:
    after = None
    while True:
        last = after
        page = with_retries(lambda: api.page(size, last), clock)  # noqa: B023 - it is called here
        for batch in page.batches:
            if (created_at(batch) or math.inf) < since:
                return
            if statuses is None or batch.status in statuses:
                yield batch
        if page.next_after is None:
            return
        after = page.next_after


def wait(
    client: openai.OpenAI,
    batch_id: str,
    *,
    poll: Duration = 60.0,
    timeout: Duration | None = None,
    on_status: Callable[[Batch], Any] | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Batch:
    """The batch when it has ended, well or not: see its ``status``. Transient faults are retried.

    Args:
        client: any client of the SDK.
        batch_id: the batch.
        poll: the most time between two polls, in seconds or as ``"5m"``; the first come sooner.
        timeout: the most time to wait. None: no limit. 0: one poll.
        on_status: called with the batch at the first poll, and whenever its status has changed.
        clock: time, sleep and random numbers, for tests.

    Raises:
        TimeoutError: it has not ended in that time; it goes on.
        ValueError: ``poll`` or ``timeout`` is no duration, or the former 0.
        openai.OpenAIError: the API does not know the batch, or denies access to it.
    """
    most = named_seconds("poll", poll)
    limit = math.inf if timeout is None else named_seconds("timeout", timeout)
    if not most > 0 or limit < 0:
        raise ValueError(f"poll={poll} must be more than 0 s, timeout={timeout} at least 0 s")
    api = BatchAPI(client)
    until = clock.now() + limit
    status, polls, failed = None, 0, 0
    while True:
        poll_error: openai.OpenAIError | None = None
        try:
            batch = api.retrieve(batch_id)
        except openai.OpenAIError as error:
            poll_error = error
            failed += 1
            pause = retry_wait(error, clock, default_backoff(failed, clock))
            if pause is None:
                raise
        else:
            polls, failed = polls + 1, 0
            pause = growing_interval(1.0, polls, most) * (0.75 + 0.25 * clock.random())
            if batch.status != status:
                status = batch.status
                if on_status is not None:
                    on_status(batch)
            if batch.status in TERMINAL:
                return batch
        left = until - clock.now()
        if left <= 0:
            state = f"is {status}" if status else "could not be polled"
            raise TimeoutError(f"{batch_id} {state} after {limit:g} s; it goes on") from poll_error
        clock.sleep(min(pause, left))


def cancel(
    client: openai.OpenAI,
    batch_id: str,
    *,
    wait: bool = False,
    poll: Duration = 60.0,
    timeout: Duration | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Batch:
    """Cancel a batch. Lines that are done by then are kept, and charged: see :func:`fetch`.

    It is ``cancelling`` for up to ten minutes. A batch that has already ended is returned as it is:
    see its ``status``.

    Args:
        client: any client of the SDK.
        batch_id: the batch.
        wait: whether to wait until it has ended.
        poll: the most time between two polls, in seconds or as ``"5m"``.
        timeout: the most time to wait. None: no limit.
        clock: time, sleep and random numbers, for tests.

    Raises:
        TimeoutError: it has not ended in that time.
        openai.OpenAIError: the API cannot be reached, or does not know the batch.
    """
    api = BatchAPI(client)
    batch = with_retries(lambda: _cancelled_or_ended(api, batch_id), clock)
    if wait and batch.status not in TERMINAL:
        return _wait(client, batch_id, poll=poll, timeout=timeout, clock=clock)
    return batch


def _cancelled_or_ended(api: BatchAPI, batch_id: str) -> Batch:
    try:
        return api.cancel(batch_id)
    except (openai.BadRequestError, openai.ConflictError):
        batch = api.retrieve(batch_id)
        if batch.status not in TERMINAL:
            raise
        return batch


_wait = wait  # in ``cancel`` the name ``wait`` is a parameter
