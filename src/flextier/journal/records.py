"""The records of the journal: entries of calls, responses, places in batches."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

State = Literal["ours", "busy", "batched", "background", "done"]
"""``ours``: this call sends it. ``busy``: another call is sending it. ``batched``: it is a line of
a batch. ``background``: it is a background response. ``done``: the journal has the response."""


@dataclass(frozen=True, slots=True)
class JournaledResponse:
    """A response that was paid for."""

    lane: str
    status: int
    request_id: str | None
    body: bytes
    """JSON."""


@dataclass(frozen=True, slots=True)
class BatchPlace:
    """A line of a batch."""

    tag: str
    custom_id: str


@dataclass(frozen=True, slots=True)
class AcceptedResponse:
    """A background response that was accepted."""

    response_id: str
    lane: str
    """The lane that it is billed on."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """The entry of one call: its cache key, and its number among the calls with that key."""

    key: bytes
    n: int
    state: State
    place: BatchPlace | None = None
    answer: JournaledResponse | None = None
    fetched_again: bool = False
    """Whether it was served in a batch or in the background, and its response is not stored."""
    background_response: AcceptedResponse | None = None


def digest_of(body: bytes) -> bytes:
    """The digest of a response body, which is stored even where the body is not."""
    return blake2b(body, digest_size=16).digest()
