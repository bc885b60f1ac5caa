"""The ledger: records of calls in SQLite or PostgreSQL."""

from flextier._utils.extras import needs_extra

with needs_extra("ledger"):
    import sqlalchemy as sqlalchemy

from flextier.ledger.errors import (
    ForeignDatabaseError,
    LedgerError,
    LedgerWarning,
    NewerLedgerError,
)
from flextier.ledger.ledger import Ledger
from flextier.ledger.sessions import Session

__all__ = [
    "ForeignDatabaseError",
    "Ledger",
    "LedgerError",
    "LedgerWarning",
    "NewerLedgerError",
    "Session",
]
