"""Ledgers in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.ledger import postgres
from tests.pricing.conftest import public_prices as public_prices
from tests.skips import NO_POSTGRESQL

_NAMES = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The directory of the socket of a server that was started for the tests."""
    programs = postgres.binaries()
    if programs is None:
        pytest.skip(NO_POSTGRESQL)
    with postgres.server(programs) as socket:
        yield socket


@pytest.fixture
def postgres_url(postgres_server: Path) -> str:
    """The URL of an empty database."""
    import psycopg

    name = f"ledger_{next(_NAMES)}"
    with psycopg.connect(
        host=str(postgres_server), user="tester", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql://tester@/{name}?host={postgres_server}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a SQLite ledger may be made."""
    return tmp_path / "flextier.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """Where a ledger may be made, in each kind of database."""
    if request.param == "postgresql":
        made: str = request.getfixturevalue("postgres_url")
        return made
    return f"sqlite:///{request.getfixturevalue('file')}"
