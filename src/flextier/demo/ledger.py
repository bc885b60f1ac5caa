"""A ledger of the demo's calls, and the HTML report on it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from tempfile import mkdtemp

from flextier.costs.records import CallRecord


def write_ledger(records: Iterable[CallRecord]) -> Path:
    """Write a ledger in a new temporary directory; returns its file.

    Raises:
        ImportError: the extra ``ledger`` is not installed.
    """
    from flextier.ledger import Ledger

    file = Path(mkdtemp(prefix="flextier-demo-")) / "flextier.db"
    with Ledger(file) as ledger:
        ledger.add_all(records)
    return file


def write_page(file: Path, page: str | None) -> Path:
    """Write the HTML report on a ledger to ``page``, or beside the ledger; returns its path.

    Raises:
        ImportError: a library is not installed.
        OSError: the file cannot be written.
    """
    from flextier.ledger import Ledger
    from flextier.report.aggregates import summarise
    from flextier.report.page import page as page_of
    from flextier.report.period import period_of

    period = period_of("all", "now", "UTC", datetime.now(timezone.utc))
    with Ledger(file, readonly=True) as ledger, ledger.reading() as connection:
        summary = summarise(connection, period, ledger=str(file), sessions=ledger.sessions())
    target = file.with_name("report.html") if page is None else Path(page)
    target.write_text(page_of(summary, "tag"), encoding="utf-8", newline="\n")
    return target
