"""The version of a ledger: found in a database, or written to an empty one with the tables."""

from __future__ import annotations

from sqlalchemy import Connection, inspect, select, text

from flextier.ledger.errors import ForeignDatabaseError, NewerLedgerError
from flextier.ledger.schema import metadata, version

VERSION = 1
"""The only version that this flextier reads and writes."""
APPLICATION_ID = 0x464C5854
"""Marks a SQLite file as a ledger of flextier: "FLXT" in ASCII."""

_PREFIX = "flextier_"
_LOCK = 0x464C58544C454447  # key of PostgreSQL's advisory lock while a ledger is created


def is_ledger(connection: Connection, shown: str) -> bool:
    """Whether the database, which messages name ``shown``, is a ledger; False: it is empty.

    Raises:
        ForeignDatabaseError: it is the database of another program, or damaged.
        NewerLedgerError: this version of flextier is too old for it.
    """
    names = set(inspect(connection).get_table_names())
    if version.name not in names:
        _refuse_foreign(connection, names, shown)
        return False
    found = connection.execute(select(version.c.version)).scalars().all()
    if len(found) != 1 or not isinstance(found[0], int) or found[0] < VERSION:
        raise ForeignDatabaseError(f"{shown} has a damaged table {version.name}: no version in it")
    if found[0] > VERSION:
        raise NewerLedgerError(
            f"{shown} is a ledger of version {found[0]}, and this flextier reads {VERSION}: "
            "upgrade flextier to use it"
        )
    return True


def _refuse_foreign(connection: Connection, names: set[str], shown: str) -> None:
    if connection.dialect.name == "sqlite":
        mark = connection.exec_driver_sql("PRAGMA application_id").scalar()
        if names or mark not in (0, APPLICATION_ID):
            what = f", with the tables {', '.join(sorted(names)[:5])}" if names else ""
            raise ForeignDatabaseError(
                f"{shown} is the SQLite database of another program{what}: "
                "give the ledger a file of its own"
            )
        return
    ours = sorted(name for name in names if name.startswith(_PREFIX))
    if ours:
        raise ForeignDatabaseError(
            f"{shown} has tables named like a ledger's, and no {version.name}: {', '.join(ours)}"
        )


def create(connection: Connection, shown: str) -> None:
    """Create the tables in an empty database, within the transaction of the connection.

    On PostgreSQL this waits for other processes that create them; on SQLite the transaction must
    block all other writers (``BEGIN IMMEDIATE``).

    Raises:
        ForeignDatabaseError, NewerLedgerError: as :func:`is_ledger`.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if is_ledger(connection, shown):  # another process has created it meanwhile
        return
    metadata.create_all(connection)
    connection.execute(version.insert().values(version=VERSION))
    if dialect == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
