"""What the journal knows of one call."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

State = Literal["ours", "busy", "batched", "background", "done"]
"""``ours``: to be asked now, by this call. ``busy``: another call makes it now. ``batched``: it is
in a batch. ``background``: it is a background response. ``done``: here is the answer."""


@dataclass(frozen=True, slots=True)
class JournaledResponse:
    """An answer that was paid for."""

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
    """What it is billed on."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One call, by what it asks and how often that has been asked before it."""

    key: bytes
    n: int
    state: State
    place: BatchPlace | None = None
    answer: JournaledResponse | None = None
    fetched_again: bool = False
    """Whether it was answered, in a batch or in the background, and the journal has left the answer
    out."""
    running: AcceptedResponse | None = None


def packed(body: bytes) -> bytes:
    """An answer as it is kept."""
    return zlib.compress(body, 1)


def unpacked(kept: bytes) -> bytes:
    """The answer again."""
    return zlib.decompress(kept)


def digest_of(body: bytes) -> bytes:
    """What is kept of an answer in any case."""
    return blake2b(body, digest_size=16).digest()
