"""Responses that no connection waits for: from the journal, a batch, the background.

Imported by the first call that needs it: most programs have none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from flextier._openai.compat import new_request
from flextier._openai.request_options import raw_response_headers, request_facts
from flextier._utils.clock import Clock
from flextier.background.api import BackgroundRequests, PolledResponse
from flextier.background.call_hooks import CallHooks
from flextier.background.lifecycle import BackgroundLifecycle
from flextier.background.poll_schedule import poll_schedule_of
from flextier.batch.api_errors import not_written
from flextier.batch.future import RESUBMIT, BatchFuture
from flextier.batch.line_response import http_response
from flextier.batch.manager import BatchCall, manager_of
from flextier.capacity import AccountKey
from flextier.journal.call_entry import CallEntry
from flextier.journal.records import JournaledResponse
from flextier.planning.fallback import Ladder
from flextier.policy import FlexPolicy


class DeferredResponse:
    """How one call gets such a response."""

    __slots__ = ("_account", "_clock", "_entry", "_ladder", "_options", "_policy")

    def __init__(
        self,
        options: Any,
        account: AccountKey,
        policy: FlexPolicy,
        clock: Clock,
        entry: CallEntry | None,
        ladder: Ladder,
    ) -> None:
        self._options = options
        self._account = account
        self._policy = policy
        self._clock = clock
        self._entry = entry
        self._ladder = ladder

    def replay(self, record: JournaledResponse) -> Any:
        """The HTTP response that the journal has."""
        return http_response(record.status, record.request_id, record.body, self._request())

    def wait_for_duplicate(self) -> float:
        """Seconds to wait for another call with the same body, before asking again; 0: no wait."""
        if self._entry is None:
            return 0.0
        self._entry.refresh()
        return self._entry.recheck(self._ladder.cancel_at) if self._entry.is_busy else 0.0

    def submit(self, client: Any) -> BatchFuture:
        """Add the call to the next batch, or find the batch that it is in.

        Raises:
            BatchNotSent: its line cannot be written to disk.
            JournalError: the journal cannot be used.
        """
        call = BatchCall(
            self._account,
            request_facts(self._options),
            self._policy,
            self._clock,
            self._entry,
            self._ladder,
        )
        try:
            return manager_of(self._account).submit(client, call)
        except OSError as error:
            raise not_written(self._request(), error) from error

    def batch_response(self, future: BatchFuture) -> Any:
        """The HTTP response for the line of a batch; None: submit it again, to another.

        Raises:
            openai.APITimeoutError: its time is up.
            openai.OpenAIError: the line has no response.
        """
        if future.outcome is None:
            future.cancel()
            raise openai.APITimeoutError(request=self._request())
        if future.outcome is RESUBMIT:
            if self._entry is not None:
                self._entry.batch_line_failed()
            return None
        return future.outcome.response(self._request())

    def background_lifecycle(
        self, hooks: CallHooks, run: Callable[[], str | None] | None
    ) -> BackgroundLifecycle:
        """The lifecycle of the call's background response, or of the one already accepted.

        Args:
            hooks: notified of its events.
            run: returns the run that the call is a step of.
        """
        policy, ladder, now = self._policy, self._ladder, self._clock.now()
        accepted = None if self._entry is None else self._entry.background_response
        return BackgroundLifecycle(
            BackgroundRequests(self._options),
            ladder.lane,
            None if run is None else run(),
            poll_schedule_of(self._account),
            self._clock,
            hooks,
            policy.background_poll_interval,
            ladder.cancel_at,
            min(ladder.attempt_ends_by, now + policy.attempt_timeout(ladder.lane.name)),
            None if accepted is None else accepted.response_id,
        )

    def background_response(self, polled: PolledResponse) -> Any:
        """The HTTP response for a background response that has ended."""
        return http_response(200, polled.request_id, polled.content, self._request())

    def _request(self) -> Any:
        url = self._account.url(str(self._options.url))
        return new_request(url, raw_response_headers(self._options))
