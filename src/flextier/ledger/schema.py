"""The tables of a ledger.

Times are microseconds since the epoch, UTC. Amounts are trillionths of a US$ (see ``rows``).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

TOKENS = (
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)
AMOUNTS = ("cost", "standard", "premium", "possibly_billed")
RATES = ("input", "output", "cached_input", "cache_write")

metadata = MetaData()

version = Table("flextier_ledger", metadata, Column("version", Integer, nullable=False))
"""One row."""

calls = Table(
    "flextier_calls",
    metadata,
    Column(  # in the order of writing; SQLite numbers rows by an INTEGER only
        "id",
        BigInteger().with_variant(Integer, "sqlite"),
        Identity(always=True),
        primary_key=True,
    ),
    Column("call_id", Text, nullable=False, unique=True),
    Column("at_us", BigInteger, nullable=False),
    Column("framework", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("served_model", Text),
    Column("lane", Text, nullable=False),
    Column("first_lane", Text, nullable=False),
    Column("answered", SmallInteger, nullable=False),  # 0 or 1, so that it can be summed
    Column("fallback", Text),
    Column("error", Text),
    *(Column(name, BigInteger) for name in TOKENS),  # NULL: the response reports no usage
    Column("basis", Text, nullable=False),
    *(Column(f"{name}_pico", BigInteger) for name in AMOUNTS),  # NULL: not known
    Column("refusals", Integer, nullable=False),
    Column("attempt_count", Integer, nullable=False),
    Column("possibly_billed_attempts", Integer, nullable=False),
    Column("waited", Double, nullable=False),
    Column("elapsed", Double, nullable=False),
    Column("tags", Text),  # a JSON array in the record's order; NULL: none
    Column("run_id", Text),
    Column("parent_run_id", Text),
    Column("priced_as", Text),
    Column("cost_model", Text, nullable=False),
    Column("cost_lane", Text, nullable=False),
    Column("reason", Text),
    *(Column(f"rate_{name}", Text) for name in RATES),  # US$ per million tokens, as text
    Column("attempts", Text),  # a JSON array of objects; NULL: none
    Index("flextier_calls_at", "at_us"),
)
"""One row for each call."""

# A covering index for sums: a quarter of the size of the rows. PostgreSQL scans tables faster, and
# rejects rows whose tags are too long for an index.
Index(
    "flextier_calls_sums",
    *(calls.c[name] for name in ("at_us", "model", "lane", "framework", "answered", "fallback")),
    *(calls.c[name] for name in ("basis", *TOKENS)),
    *(calls.c[f"{name}_pico"] for name in AMOUNTS),
    *(calls.c[name] for name in ("refusals", "possibly_billed_attempts", "waited", "tags")),
).ddl_if(dialect="sqlite")

sessions = Table(
    "flextier_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("seen_us", BigInteger, nullable=False),  # its last commit
    Column("ended_us", BigInteger),  # NULL: it has not closed the ledger
    Column("written", BigInteger, nullable=False),
    Column("lost", BigInteger, nullable=False),
)
"""One row for each process that has written."""
