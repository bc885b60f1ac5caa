"""The API requests of one batch, with retries; a batch is created only once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import IO, Protocol, TypeVar

import openai
from openai.types import Batch

from flextier._openai.compat import failure_of
from flextier.batch.api import TAG, BatchAPI
from flextier.batch.api_errors import is_about_room, surely_not_sent
from flextier.batch.api_retry import lasts, pause_after
from flextier.batch.group_key import GroupKey

_T = TypeVar("_T")

SETTLING = 5.0
"""Seconds until a created batch appears in the list."""

CLOCKS_APART = 3600.0
"""Seconds by which the server's clock may be behind this machine's."""

_PATIENT_LOOKS = 5
"""Rejected polls in a row, as with 401 or 404, until the batch is given up."""


class RequestRunner(Protocol):
    """What the requests need of the worker."""

    def api(self) -> BatchAPI:
        """The Batch API."""

    def pause(self, seconds: float) -> None:
        """Sleep, unless woken."""

    def check_time(self) -> None:
        """Raise if no call needs the batch any more."""


class RetryingBatchAPI:
    """The API requests of one batch, with retries."""

    def __init__(self, worker: RequestRunner, terms: GroupKey) -> None:
        self._worker = worker
        self._terms = terms
        self._clock = terms.clock
        self._denied = 0
        self.unsure = False
        """Whether the batch may have been created, as a creation had no response."""

    def upload(self, tag: str, content: IO[bytes], until: float) -> str:
        """Upload the file; return its id."""
        return self._persist(
            lambda api: api.upload(f"flextier-{tag}.jsonl", content), lambda: until
        )

    def create(self, tag: str, file_id: str, until: float) -> Batch:
        """Create the batch: once, even if the response to that is lost."""
        since = self._clock.wall() - CLOCKS_APART

        def create(api: BatchAPI) -> Batch:
            found = api.find(tag, since) if self.unsure else None
            if found is not None and found.status != "failed":
                return found
            try:
                return api.create(file_id, self._terms.endpoint, {TAG: tag})
            except openai.APIError as error:
                if not surely_not_sent(error):
                    self.unsure = True
                    self._worker.pause(min(SETTLING, self._terms.poll))
                raise

        batch = self._persist(create, lambda: until)
        self.unsure = False
        return batch

    def find(self, tag: str, sealed: float) -> Batch | None:
        """The batch with this tag, created at ``sealed`` or later; None if there is none."""
        return self._persist(lambda api: api.find(tag, sealed - CLOCKS_APART))

    def retrieve(self, batch_id: str) -> Batch:
        """The batch, which should exist.

        Raises:
            openai.NotFoundError: it does not, nor a few seconds later.
        """
        try:
            return self._persist(lambda api: api.retrieve(batch_id))
        except openai.NotFoundError:
            self._worker.pause(min(SETTLING, self._terms.poll))
            return self._persist(lambda api: api.retrieve(batch_id))

    def look(self, batch: Batch) -> Batch:
        """The current state of a batch; its last known state if the poll fails.

        A batch that was sent is paid for, so a failed poll does not end the wait.

        Raises:
            openai.APIStatusError: the poll was rejected too often in a row.
        """
        try:
            seen = self._worker.api().retrieve(batch.id)
        except openai.OpenAIError as error:
            failure = failure_of(error)
            if failure is None:
                raise
            if lasts(failure):
                self._denied += 1
                if self._denied >= _PATIENT_LOOKS:
                    raise
            self._worker.pause(self._terms.backoff(3))
            return batch
        self._denied = 0
        return seen

    def cancel(self, batch_id: str) -> bool:
        """Cancel a batch; return whether it is cancelled or has ended."""
        try:
            self._worker.api().cancel(batch_id)
        except openai.APIStatusError as error:
            return error.status_code < 500 and error.status_code != 429
        except openai.APIConnectionError:
            return False
        return True

    def download(self, file_id: str, out: IO[bytes]) -> bool:
        """Write a file's content to ``out``; return False if the file is deleted."""
        try:
            self._persist(lambda api: api.download(file_id, out))
        except openai.NotFoundError:
            return False
        return True

    def _persist(
        self, ask: Callable[[BatchAPI], _T], until: Callable[[], float] = lambda: math.inf
    ) -> _T:
        """Retry until a response comes, an error that would come again, or ``until``."""
        tries = 0
        while True:
            try:
                return ask(self._worker.api())
            except openai.OpenAIError as error:  # noqa: PERF203 - each attempt is a request
                tries += 1
                wait = self._wait_after(error, tries)
                if wait is None or self._clock.now() + wait >= until():
                    raise
                self._worker.pause(wait)
                self._worker.check_time()

    def _wait_after(self, error: openai.OpenAIError, tries: int) -> float | None:
        """Seconds before the retry; None: no retry."""
        if isinstance(error, openai.APIError) and is_about_room(error.code, error.message):
            return None
        return pause_after(error, self._clock, self._terms.backoff(tries))
