"""The Batch API: many calls in one file, at half price, within 24 hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._lazy import lazily

if TYPE_CHECKING:
    from flextier.batch.control import cancel as cancel
    from flextier.batch.control import create as create
    from flextier.batch.control import list_batches as list_batches
    from flextier.batch.control import retrieve as retrieve
    from flextier.batch.control import wait as wait
    from flextier.batch.desk import detach as detach
    from flextier.batch.lines import BatchLineError as BatchLineError
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

# Loaded when first used: a client needs none of them.
_HOMES = {
    "BatchLineError": "lines",
    "Fetched": "results",
    "cancel": "control",
    "create": "control",
    "detach": "desk",
    "fetch": "results",
    "list_batches": "control",
    "retrieve": "control",
    "wait": "control",
}

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return __all__
