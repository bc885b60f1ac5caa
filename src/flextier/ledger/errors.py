"""What goes wrong with a ledger::

RuntimeError
└── LedgerError               it cannot be opened or read
    ├── ForeignDatabaseError  the database is no ledger: nothing in it was changed
    └── NewerLedgerError      a later flextier made it
RuntimeWarning
└── LedgerWarning             it cannot be written: calls go on, records wait or are lost
"""

from __future__ import annotations


class LedgerError(RuntimeError):
    """A ledger cannot be opened or read. The message names it, without its password."""


class ForeignDatabaseError(LedgerError):
    """The database is no ledger, or a damaged one. Nothing in it was changed."""


class NewerLedgerError(LedgerError):
    """A later version of flextier made the ledger. Nothing in it was changed."""


class LedgerWarning(RuntimeWarning):
    """A ledger cannot be written. Issued once a ledger; its ``pending`` and ``lost`` count."""
