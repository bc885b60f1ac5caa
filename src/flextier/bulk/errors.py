"""The errors that end a bulk run or prevent it. A failed row raises none of them::

ValueError
└── BulkError          the run cannot begin, or cannot continue: names the option or the file
    ├── InputError     the input cannot be read to its end
    ├── InUseError     another process works on the same output
    └── StorageError   responses or the output could not be written
"""

from __future__ import annotations


class BulkError(ValueError):
    """The run cannot begin, or cannot continue. The message names the option or the file."""


class InputError(BulkError):
    """The input cannot be read to its end. The rows before that point are done and kept."""


class InUseError(BulkError):
    """Another process works on the same output."""


class StorageError(BulkError):
    """Something could not be written: the disk is full, say. What was written before is kept."""
