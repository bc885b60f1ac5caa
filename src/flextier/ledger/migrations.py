"""Migrations: each upgrades a ledger by one version; a new ledger runs all of them.

A released migration is never changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from sqlalchemy import Connection, inspect, text

from flextier.ledger.errors import ForeignDatabaseError, NewerLedgerError

APPLICATION_ID = 0x464C5854
"""Marks a SQLite file as a ledger of flextier: "FLXT" in ASCII."""

_VERSION = "flextier_ledger"
_PREFIX = "flextier_"
_LOCK = (
    0x464C58544C454447  # key of PostgreSQL's advisory lock during a migration: any number will do
)

_TYPES = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY", "double": "REAL"},
    "postgresql": {
        "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "double": "DOUBLE PRECISION",
    },
}

_CALLS = """
CREATE TABLE flextier_calls (
    id {serial},
    call_id TEXT NOT NULL UNIQUE,
    at_us BIGINT NOT NULL,
    framework TEXT NOT NULL,
    model TEXT NOT NULL,
    served_model TEXT,
    lane TEXT NOT NULL,
    first_lane TEXT NOT NULL,
    answered SMALLINT NOT NULL,
    fallback TEXT,
    error TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    cached_input_tokens BIGINT,
    cache_write_tokens BIGINT,
    reasoning_tokens BIGINT,
    basis TEXT NOT NULL,
    cost_nano BIGINT,
    cost_atto BIGINT,
    standard_nano BIGINT,
    standard_atto BIGINT,
    premium_nano BIGINT,
    premium_atto BIGINT,
    possibly_billed_nano BIGINT,
    possibly_billed_atto BIGINT,
    refusals INTEGER NOT NULL,
    attempt_count INTEGER NOT NULL,
    possibly_billed_attempts INTEGER NOT NULL,
    waited {double} NOT NULL,
    elapsed {double} NOT NULL,
    tags TEXT,
    run_id TEXT,
    parent_run_id TEXT,
    priced_as TEXT,
    cost_model TEXT NOT NULL,
    cost_lane TEXT NOT NULL,
    reason TEXT,
    rate_input TEXT,
    rate_output TEXT,
    rate_cached_input TEXT,
    rate_cache_write TEXT,
    attempts TEXT,
    exact TEXT
)
"""
_SESSIONS = """
CREATE TABLE flextier_sessions (
    id TEXT NOT NULL PRIMARY KEY,
    host TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started_us BIGINT NOT NULL,
    seen_us BIGINT NOT NULL,
    ended_us BIGINT,
    written BIGINT NOT NULL,
    lost BIGINT NOT NULL
)
"""

# A covering index for sums: a quarter of the size of the rows. PostgreSQL scans tables faster, and
# rejects rows whose tags are too long for an index.
_SUMS = {
    "sqlite": """
CREATE INDEX flextier_calls_sums ON flextier_calls (
    at_us, model, lane, framework, answered, fallback, basis, input_tokens, output_tokens,
    cached_input_tokens, cache_write_tokens, reasoning_tokens, cost_nano, cost_atto, standard_nano,
    standard_atto, premium_nano, premium_atto, possibly_billed_nano, possibly_billed_atto, refusals,
    possibly_billed_attempts, waited, tags
)
"""
}

Statement = str | Mapping[str, str]
"""SQL for every database, or by the name of the database."""

STEPS: tuple[tuple[Statement, ...], ...] = (
    (
        _CALLS,
        "CREATE INDEX flextier_calls_at ON flextier_calls (at_us)",
        "CREATE INDEX flextier_calls_exact ON flextier_calls (at_us) WHERE exact IS NOT NULL",
        _SUMS,
    ),
    (_SESSIONS,),
)
"""The migrations; the first creates version 1 in an empty database."""


def found_version(connection: Connection, shown: str) -> int:
    """The version of the ledger in the database; 0: the database is empty.

    Args:
        connection: to the database, which is only read.
        shown: the database's name for messages.

    Raises:
        ForeignDatabaseError: it is the database of another program, or damaged.
        NewerLedgerError: this version of flextier is too old for it.
    """
    names = set(inspect(connection).get_table_names())
    if _VERSION not in names:
        _refuse_foreign(connection, names, shown)
        return 0
    rows = connection.execute(text(f"SELECT version FROM {_VERSION}")).scalars().all()
    if len(rows) != 1 or not isinstance(rows[0], int) or rows[0] < 1:
        raise ForeignDatabaseError(f"{shown} has a damaged table {_VERSION}: no version in it")
    if rows[0] > len(STEPS):
        raise NewerLedgerError(
            f"{shown} is a ledger of version {rows[0]}, and this flextier reads {len(STEPS)}: "
            "upgrade flextier to use it"
        )
    return rows[0]


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
            f"{shown} has tables named like a ledger's, and no {_VERSION}: {', '.join(ours)}"
        )


def upgrade(connection: Connection, shown: str) -> None:
    """Upgrade the ledger to the latest version, within the transaction of the connection.

    On PostgreSQL this waits for other processes that upgrade it; on SQLite the transaction must
    block all other writers (``BEGIN IMMEDIATE``).

    Raises:
        ForeignDatabaseError, NewerLedgerError: as :func:`found_version`.
    """
    dialect = connection.dialect.name
    if dialect == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    before = found_version(connection, shown)
    if before == len(STEPS):
        return
    for statement in chain.from_iterable(STEPS[before:]):
        sql = statement if isinstance(statement, str) else statement.get(dialect)
        if sql is not None:
            connection.exec_driver_sql(sql.format(**_TYPES[dialect]))
    if before == 0:
        connection.exec_driver_sql(f"CREATE TABLE {_VERSION} (version INTEGER NOT NULL)")
        connection.exec_driver_sql(f"INSERT INTO {_VERSION} VALUES ({len(STEPS)})")
    else:
        connection.exec_driver_sql(f"UPDATE {_VERSION} SET version = {len(STEPS)}")
    if dialect == "sqlite":
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
