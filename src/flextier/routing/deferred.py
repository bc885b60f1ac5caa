"""Answers that do not come on a connection of their own: of the journal, a batch, the background.

Imported with the first call that needs it: most programs have none.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

import openai

from flextier._openai.compat import new_request
from flextier._openai.request_options import asked, raw_wanted
from flextier._utils.clock import Clock
from flextier.background.api import Requests, Said
from flextier.background.lifecycle import Account, Course
from flextier.background.poll_schedule import pace_of
from flextier.batch.api import http_response
from flextier.batch.future import FREE, Ticket
from flextier.batch.submit import Asking, pool
from flextier.errors import BatchNotSent
from flextier.journal.call_entry import Memory
from flextier.journal.records import Recorded
from flextier.planning.fallback import Ladder
from flextier.policy import FlexPolicy


class Fetching:
    """How one call gets such an answer."""

    __slots__ = ("_clock", "_ladder", "_memory", "_options", "_policy", "_where")

    def __init__(
        self,
        options: Any,
        where: tuple[str, str],
        policy: FlexPolicy,
        clock: Clock,
        memory: Memory | None,
        ladder: Ladder,
    ) -> None:
        self._options = options
        self._where = where
        self._policy = policy
        self._clock = clock
        self._memory = memory
        self._ladder = ladder

    def replay(self, said: Recorded) -> Any:
        """The HTTP response that the journal has."""
        return http_response(said.status, said.request_id, said.body, self._request())

    def waits(self) -> float:
        """Seconds until it is known better whether somebody else asks the same; 0: nobody does."""
        if self._memory is None:
            return 0.0
        self._memory.refresh()
        return self._memory.look(self._ladder.withdraw_by) if self._memory.is_busy else 0.0

    def pooled(self, client: Any) -> Ticket:
        """Give the call to the next batch, or find the one that it is in.

        Raises:
            BatchNotSent: its line cannot be written to the disk.
            JournalError: the journal cannot be used.
        """
        call = Asking(
            self._where,
            asked(self._options),
            self._policy,
            self._clock,
            self._memory,
            self._ladder,
            self._ladder.lane.least,
        )
        try:
            return pool(client, call)
        except OSError as error:
            raise BatchNotSent(
                message="no line of a batch can be written to the disk (TMPDIR, "
                f"{tempfile.gettempdir()}): {error.strerror or error}",
                request=self._request(),
            ) from error

    def fetched(self, ticket: Ticket) -> Any:
        """The HTTP response for the line of a batch; None: it has to be given to another.

        Raises:
            openai.APITimeoutError: it is out of time.
            openai.OpenAIError: there is none.
        """
        if ticket.outcome is None:
            ticket.leave()
            raise openai.APITimeoutError(request=self._request())
        if ticket.outcome is FREE:
            if self._memory is not None:
                self._memory.lost()
            return None
        return ticket.outcome.response(self._request())

    def course(self, account: Account, run: Callable[[], str | None] | None) -> Course:
        """The course of the call's background response; of the one that there is, where there is.

        Args:
            account: keeps the accounts of it.
            run: tells the run that the call is a step of.
        """
        policy, ladder, now = self._policy, self._ladder, self._clock.now()
        running = None if self._memory is None else self._memory.running
        return Course(
            Requests(self._options),
            ladder.lane,
            None if run is None else run(),
            pace_of(self._where),
            self._clock,
            account,
            policy.background_poll_interval,
            ladder.withdraw_by,
            min(ladder.cut_by, now + policy.attempt_timeout(ladder.lane.name)),
            None if running is None else running.response_id,
        )

    def ended(self, said: Said) -> Any:
        """The HTTP response for a background response that has ended."""
        return http_response(200, said.request_id, said.content, self._request())

    def _request(self) -> Any:
        url = self._where[0].rstrip("/") + str(self._options.url)
        return new_request(url, raw_wanted(self._options))
