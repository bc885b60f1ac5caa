"""The Batch API: many calls in one file, at half price, within 24 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use

if TYPE_CHECKING:
    from flextier.batch.jsonl import BatchLineError
    from flextier.batch.manager import detach
    from flextier.batch.manual import cancel, create, list_batches, retrieve, wait
    from flextier.batch.results import Fetched, fetch

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
if not TYPE_CHECKING:
    __getattr__, __dir__ = load_on_first_use(
        __name__,
        __all__,
        {
            "batch.jsonl": "BatchLineError",
            "batch.results": "Fetched fetch",
            "batch.manual": "cancel create list_batches retrieve wait",
            "batch.manager": "detach",
        },
    )
