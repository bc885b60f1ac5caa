"""Submitting a batch: upload its input file, create it once, keep to the enqueued-token limit."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier.batch.api import TAG, BatchAPI
from flextier.batch.api_errors import surely_not_processed

LIST_DELAY = 5.0
"""Seconds until a created batch appears in the list."""

CLOCK_SKEW = 3600.0
"""Seconds by which the server's clock may be behind this machine's."""

_LIMIT = re.compile(r"limit:?\s*([\d,]+)\s*enqueued tokens", re.IGNORECASE)


@dataclass
class BatchSubmission:
    """Uploads the input file of one batch, and creates the batch once.

    Its methods do not retry. They may be called again after an error: a batch whose creation had no
    response is then looked up by its tag.
    """

    endpoint: str
    """With ``/v1``."""
    metadata: dict[str, str]
    """Of the batch, with its tag."""
    pause: Callable[[float], None]
    list_delay: float = LIST_DELAY
    """Seconds to wait after a creation without a response."""
    maybe_created: bool = False
    """Whether the batch may have been created, as a creation had no response."""

    def upload(self, api: BatchAPI, content: IO[bytes]) -> str:
        """Upload the input file; return its id."""
        return api.upload(f"flextier-{self.metadata[TAG]}.jsonl", content)

    def create(
        self, api: BatchAPI, file_id: str, since: float, *, reuse_failed: bool = False
    ) -> Batch:
        """Create the batch, or find it if an earlier creation had no response.

        No batch with this tag was created before ``since``. With ``reuse_failed`` a failed one with
        the tag counts as created; not if the tag was used for an earlier batch.
        """
        found = api.find(self.metadata[TAG], since) if self.maybe_created else None
        if found is None or (found.status == "failed" and not reuse_failed):
            try:
                found = api.create(file_id, self.endpoint, self.metadata)
            except openai.APIError as error:
                if not surely_not_processed(error):
                    self.maybe_created = True
                    self.pause(self.list_delay)
                raise
        self.maybe_created = False
        return found


class EnqueueLimit:
    """The enqueued batches of one model, and the limit of their tokens. Not locked.

    The API names the limit when it refuses a batch.
    """

    def __init__(self) -> None:
        self._enqueued: dict[Any, int] = {}
        self.limit = math.inf
        """Tokens; infinite until a refusal is seen."""

    def admit(self, batch: Any, tokens: int) -> bool:
        """Whether a batch may be created now; if so, it counts as enqueued."""
        others = sum(self._enqueued.values())
        if batch not in self._enqueued and self._enqueued and others + tokens > self.limit:
            return False
        self._enqueued[batch] = tokens
        return True

    def remove(self, batch: Any) -> None:
        """Note that a batch is not enqueued any more."""
        self._enqueued.pop(batch, None)

    def refused(self, batch: Any, message: str) -> bool:
        """Learn from a refusal; return whether no other batch of this process is enqueued."""
        tokens = self._enqueued.pop(batch, 0)
        others = sum(self._enqueued.values())
        match = _LIMIT.search(message)
        if match is not None:
            self.limit = float(match[1].replace(",", ""))
        elif others:
            self.limit = min(self.limit, others + tokens - 1)
        return not self._enqueued
