"""The Batch API: many calls in one file, at half price, within 24 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import lazy_getattr

if TYPE_CHECKING:
    from flextier.batch.jsonl import BatchLineError as BatchLineError
    from flextier.batch.manager import detach as detach
    from flextier.batch.manual import cancel as cancel
    from flextier.batch.manual import create as create
    from flextier.batch.manual import list_batches as list_batches
    from flextier.batch.manual import retrieve as retrieve
    from flextier.batch.manual import wait as wait
    from flextier.batch.results import Fetched as Fetched
    from flextier.batch.results import fetch as fetch

__all__ = [
    "BatchLineError",
    "Fetched",
    "cancel",
    "create",
    "detach",
    "fetch",
    "list_batches",
    "retrieve",
    "wait",
]

# Loaded on first use: a client needs none of them.
_HOMES = {
    "BatchLineError": "flextier.batch.jsonl",
    "Fetched": "flextier.batch.results",
    "cancel": "flextier.batch.manual",
    "create": "flextier.batch.manual",
    "detach": "flextier.batch.manager",
    "fetch": "flextier.batch.results",
    "list_batches": "flextier.batch.manual",
    "retrieve": "flextier.batch.manual",
    "wait": "flextier.batch.manual",
}

__getattr__ = lazy_getattr(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
