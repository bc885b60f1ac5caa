"""Errors and warnings of a ledger::

RuntimeError
└── LedgerError               it cannot be opened or read
    ├── ForeignDatabaseError  the database is not a ledger
    └── NewerLedgerError      a later version of flextier created it
RuntimeWarning
└── LedgerWarning             it cannot be written: calls continue, records wait or are lost
"""

from __future__ import annotations


class LedgerError(RuntimeError):
    """A ledger cannot be opened or read. The message names it, without its password."""


class ForeignDatabaseError(LedgerError):
    """The database is not a ledger, or is damaged. Nothing in it was changed."""


class NewerLedgerError(LedgerError):
    """A later version of flextier created the ledger. Nothing in it was changed."""


class LedgerWarning(RuntimeWarning):
    """A ledger cannot be written. Issued once per ledger; see its ``pending`` and ``lost``."""
