"""Datasets in, datasets out: something run over every row, resumable, on the cheapest lanes."""

from flextier.bulk.errors import BulkError, InputError, InUseError, StorageError
from flextier.bulk.result import BulkResult, Progress
from flextier.bulk.run import arun, run
from flextier.quotes.quote import Quote

__all__ = [
    "BulkError",
    "BulkResult",
    "InUseError",
    "InputError",
    "Progress",
    "Quote",
    "StorageError",
    "arun",
    "run",
]
