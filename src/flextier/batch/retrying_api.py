"""The requests of one batch, each tried until it is answered, and none made twice."""

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
"""Seconds until a batch, if it was created, can be found in the list."""

CLOCKS_APART = 3600.0
"""Seconds by which the server's clock may be behind this machine's."""

_PATIENT_LOOKS = 5
"""How often we may be denied a batch that runs, before we believe it."""


class RequestRunner(Protocol):
    """Who makes the requests."""

    def api(self) -> BatchAPI:
        """The Batch API."""

    def pause(self, seconds: float) -> None:
        """Sleep, unless there is news."""

    def check_time(self) -> None:
        """Raises, if it is not worth to go on."""


class RetryingBatchAPI:
    """The requests of one batch."""

    def __init__(self, worker: RequestRunner, terms: GroupKey) -> None:
        self._worker = worker
        self._terms = terms
        self._clock = terms.clock
        self._denied = 0
        self.unsure = False
        """Whether it is unknown if a batch was created."""

    def upload(self, tag: str, content: IO[bytes], until: float) -> str:
        """Send the file; its id."""
        return self._persist(
            lambda api: api.upload(f"flextier-{tag}.jsonl", content), lambda: until
        )

    def create(self, tag: str, file_id: str, until: float) -> Batch:
        """Create the batch: once, also where the answer to that is lost."""
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
        """The batch that was to be created at ``sealed``, if it was."""
        return self._persist(lambda api: api.find(tag, sealed - CLOCKS_APART))

    def retrieve(self, batch_id: str) -> Batch:
        """A batch that is to be there.

        Raises:
            openai.NotFoundError: it is not, and was not a moment later either.
        """
        try:
            return self._persist(lambda api: api.retrieve(batch_id))
        except openai.NotFoundError:
            self._worker.pause(min(SETTLING, self._terms.poll))
            return self._persist(lambda api: api.retrieve(batch_id))

    def look(self, batch: Batch) -> Batch:
        """How a batch stands by now; as it stood before, where that cannot be known.

        What was sent is paid for, so we are patient.

        Raises:
            openai.APIStatusError: it is gone, or we have been denied it too often.
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
        """Stop a batch; whether that is done, or comes too late."""
        try:
            self._worker.api().cancel(batch_id)
        except openai.APIStatusError as error:
            return error.status_code < 500 and error.status_code != 429
        except openai.APIConnectionError:
            return False
        return True

    def download(self, file_id: str, out: IO[bytes]) -> bool:
        """Write a file's content to ``out``; False: it is not there any more."""
        try:
            self._persist(lambda api: api.download(file_id, out))
        except openai.NotFoundError:
            return False
        return True

    def _persist(
        self, ask: Callable[[BatchAPI], _T], until: Callable[[], float] = lambda: math.inf
    ) -> _T:
        """Ask until there is an answer, or an error that would come again, or ``until``."""
        tries = 0
        while True:
            try:
                return ask(self._worker.api())
            except openai.OpenAIError as error:  # noqa: PERF203 - each try is a request
                tries += 1
                wait = self._wait_after(error, tries)
                if wait is None or self._clock.now() + wait >= until():
                    raise
                self._worker.pause(wait)
                self._worker.check_time()

    def _wait_after(self, error: openai.OpenAIError, tries: int) -> float | None:
        """Seconds before the next try; None: there is no use in one."""
        if isinstance(error, openai.APIError) and is_about_room(error.code, error.message):
            return None
        return pause_after(error, self._clock, self._terms.backoff(tries))
