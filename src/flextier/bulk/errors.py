"""What ends a bulk run, or keeps it from beginning. A row that fails is none of these::

ValueError
└── BulkError          the run cannot begin, or cannot go on: names the option or the file
    ├── InputError     the input cannot be read any further
    ├── InUseError     another process works on the same output
    └── StorageError   what was answered, or the output, could not be written
"""

from __future__ import annotations


class BulkError(ValueError):
    """The run cannot begin, or cannot go on. The message names the option or the file."""


class InputError(BulkError):
    """The input cannot be read, or not any further. What was read before is done and kept."""


class InUseError(BulkError):
    """Another process works on the same output."""


class StorageError(BulkError):
    """Something could not be written: the disk is full, say. What was written before is kept."""
