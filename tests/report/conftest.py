"""Ledgers to report on, and a browser to look at the page with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest

from flextier.costs import CallRecord
from flextier.ledger import Ledger
from flextier.report.aggregates import summarise
from flextier.report.period import period_of
from flextier.report.summary import Summary
from tests.ledger.conftest import postgres_server as postgres_server
from tests.ledger.conftest import postgres_url as postgres_url
from tests.report.browser import Browser
from tests.skips import NO_CHROMIUM

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def summary_of(url: str | Path, since: str = "all", until: str = "now", tz: str = "UTC") -> Summary:
    """Return the summary of a ledger."""
    with Ledger(url, readonly=True) as ledger, ledger.reading() as connection:
        period = period_of(since, until, tz, NOW)
        return summarise(connection, period, ledger="the ledger", sessions=ledger.sessions())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a ledger may be made."""
    return tmp_path / "flextier.db"


@pytest.fixture
def keep(file: Path) -> Callable[[Iterable[CallRecord]], Path]:
    """Writes records to a ledger; returns its file."""

    def write(records: Iterable[CallRecord]) -> Path:
        with Ledger(file) as ledger:
            ledger.add_all(records)
        return file

    return write


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless browser."""
    found = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if found is None:
        pytest.skip(NO_CHROMIUM)
    with Browser.started(found) as started:
        yield started
