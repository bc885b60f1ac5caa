"""The ledger: records of calls in SQLite or PostgreSQL."""

from flextier._extras import needs_extra

with needs_extra("ledger"):
    import sqlalchemy as sqlalchemy

from flextier.costs.ledger.errors import (
    ForeignDatabaseError,
    LedgerError,
    LedgerWarning,
    NewerLedgerError,
)
from flextier.costs.ledger.ledger import Ledger
from flextier.costs.ledger.sessions import Session

__all__ = [
    "ForeignDatabaseError",
    "Ledger",
    "LedgerError",
    "LedgerWarning",
    "NewerLedgerError",
    "Session",
]
