"""Answers that do not come on a connection of their own: out of the journal, or of a batch.

Imported with the first call that needs it: most programs have none.
"""

from __future__ import annotations

from typing import Any

import openai

from flextier._sdk import new_request
from flextier.batch.api import http_response
from flextier.batch.pool import Asking, pool
from flextier.batch.ticket import FREE, Ticket
from flextier.clock import Clock
from flextier.journal.entry import Recorded
from flextier.ladder import Ladder
from flextier.lanes import Asked
from flextier.outgoing import raw_wanted
from flextier.policy import FlexPolicy
from flextier.remembering import Memory


class Fetching:
    """How one call gets such an answer."""

    def __init__(
        self,
        options: Any,
        url: str,
        where: tuple[str, str],
        asked: Asked,
        policy: FlexPolicy,
        clock: Clock,
        memory: Memory | None,
        ladder: Ladder,
    ) -> None:
        self._options = options
        self._url = url
        self._memory = memory
        model = str(asked.body.get("model", ""))
        self._asking = Asking(where, asked, model, policy, clock, memory, ladder)

    def replay(self, said: Recorded) -> Any:
        """The HTTP response that the journal has."""
        return http_response(said.status, said.request_id, said.body, self._request())

    def pooled(self, client: Any) -> Ticket:
        """Give the call to the next batch, or find the one that it is in.

        Raises:
            BatchNotSent: its line cannot be written to the disk.
            JournalError: the journal cannot be used.
        """
        return pool(client, self._asking, new_request(self._url))

    def fetched(self, ticket: Ticket) -> Any:
        """The HTTP response for the line of a batch; None: it has to be given to another.

        Raises:
            openai.APITimeoutError: it is out of time.
            openai.OpenAIError: there is none.
        """
        if ticket.outcome is None:
            ticket.leave()
            raise openai.APITimeoutError(request=new_request(self._url))
        if ticket.outcome is FREE:
            if self._memory is not None:
                self._memory.lost()
            return None
        return ticket.outcome.response(self._request())

    def _request(self) -> Any:
        return new_request(self._url, raw_wanted(self._options))
