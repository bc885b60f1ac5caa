"""Costs of the demo's calls: totals, and a ledger for the HTML report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from flextier.calls.context import listen
from flextier.calls.report import CallReport
from flextier.costs.records import record_of
from flextier.costs.totals import CostTotals

if TYPE_CHECKING:
    from flextier.ledger import Ledger


class DemoCosts:
    """Totals of the calls and, if the extra ``ledger`` is installed, a ledger of them."""

    def __init__(self, page: str | None = None) -> None:
        """Start with no calls.

        Args:
            page: file of the HTML report; None: beside the ledger, in a new temporary directory.

        Raises:
            ValueError: ``page`` is a directory, or in a directory that does not exist.
        """
        if page is not None and (Path(page).is_dir() or not Path(page).parent.is_dir()):
            raise ValueError(f"--report {page}: give a file in an existing directory")
        self._page = page
        self._ledger: Ledger | None = None
        self.totals = CostTotals()
        """Totals of all calls."""
        self.file: Path | None = None
        """The ledger's file. None: no call was counted, or the extra is not installed."""

    @contextmanager
    def counting(self, framework: str, tag: str) -> Iterator[None]:
        """Count the calls inside.

        Args:
            framework: the framework's name in records.
            tag: the tag of the records.
        """
        self._open_ledger()

        def on_report(report: CallReport) -> None:
            record = record_of(report, framework=framework, tags=(tag,))
            self.totals.add(record)
            if self._ledger is not None:
                self._ledger.add(record)

        with listen(on_report):
            yield

    def _open_ledger(self) -> None:
        if self._ledger is not None:
            return
        try:
            from flextier.ledger import Ledger
        except ImportError:  # write_page() raises the same
            return
        self.file = Path(mkdtemp(prefix="flextier-demo-")) / "flextier.db"
        self._ledger = Ledger(self.file)

    def close(self) -> None:
        """Write the remaining records and close the ledger."""
        if self._ledger is not None:
            self._ledger.close()

    def write_page(self) -> Path:
        """Write the HTML report on the closed ledger; returns its path.

        Raises:
            ImportError: a library is not installed.
            OSError: the file cannot be written.
        """
        from flextier.ledger import Ledger
        from flextier.report.aggregates import summarise
        from flextier.report.page import page
        from flextier.report.period import period_of

        assert self.file is not None  # else the import above fails
        period = period_of("all", "now", "UTC", datetime.now(timezone.utc))
        with Ledger(self.file, readonly=True) as ledger, ledger.reading() as connection:
            name, sessions = str(self.file), ledger.sessions()
            html = page(summarise(connection, period, ledger=name, sessions=sessions), "tag")
        target = self.file.with_name("report.html") if self._page is None else Path(self._page)
        target.write_text(html, encoding="utf-8", newline="\n")
        return target
