"""What the demo's calls cost: added up, and kept in a ledger for the page at the end."""

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
    """Counts calls and, where that extra is installed, keeps them in a ledger of the demo's own."""

    def __init__(self, page: str | None = None) -> None:
        """Begin them.

        Args:
            page: where the page will go; None: beside the ledger, in a new temporary directory.

        Raises:
            ValueError: the page cannot go there.
        """
        if page is not None and (Path(page).is_dir() or not Path(page).parent.is_dir()):
            raise ValueError(f"--report {page}: give a file, in a folder that is there")
        self._page = page
        self._ledger: Ledger | None = None
        self.totals = CostTotals()
        """What the calls came to."""
        self.file: Path | None = None
        """The ledger. None: nothing was counted, or an extra is missing."""

    @contextmanager
    def counting(self, framework: str, tag: str) -> Iterator[None]:
        """Count the calls inside.

        Args:
            framework: who makes them, as records name it.
            tag: the tag that distinguishes them.
        """
        self._open()

        def on_report(report: CallReport) -> None:
            record = record_of(report, framework=framework, tags=(tag,))
            self.totals.add(record)
            if self._ledger is not None:
                self._ledger.add(record)

        with listen(on_report):
            yield

    def _open(self) -> None:
        """Make the ledger, if it is not there and can be."""
        if self._ledger is not None:
            return
        try:
            from flextier.ledger import Ledger
        except ImportError:  # the page needs it as well, and says so
            return
        self.file = Path(mkdtemp(prefix="flextier-demo-")) / "flextier.db"
        self._ledger = Ledger(self.file)

    def close(self) -> None:
        """Write what is left; no call is kept any more."""
        if self._ledger is not None:
            self._ledger.close()

    def write_page(self) -> Path:
        """Write the report over the ledger, once that is closed; where it is.

        Raises:
            ImportError: an extra is missing for it.
            OSError: the file cannot be written.
        """
        from flextier.ledger import Ledger
        from flextier.report.aggregates import summarise
        from flextier.report.page import page
        from flextier.report.period import period_of

        assert self.file is not None  # else the ledger could not be imported: not now either
        period = period_of("all", "now", "UTC", datetime.now(timezone.utc))
        with Ledger(self.file, readonly=True) as ledger, ledger.reading() as connection:
            name, sessions = str(self.file), ledger.sessions()
            html = page(summarise(connection, period, ledger=name, sessions=sessions), "tag")
        target = self.file.with_name("report.html") if self._page is None else Path(self._page)
        target.write_text(html, encoding="utf-8", newline="\n")
        return target
