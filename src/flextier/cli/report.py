"""``flextier report``: costs and savings of a ledger's calls as a table, JSON, CSV or HTML."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from flextier._utils.atomic_file import atomic_write, refuse_database
from flextier._utils.extras import needs_extra
from flextier.cli._common import fail, write_stdout

if TYPE_CHECKING:
    from flextier.report.summary import Summary

_LEDGER = "sqlite:///flextier.db"
_SUFFIXES = ("", "-wal", "-shm", "-journal")
"""Suffixes of the files of a SQLite database."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier report`` to a parser."""
    parser.add_argument(
        "--ledger",
        metavar="URL",
        default=os.environ.get("FLEXTIER_LEDGER", "").strip() or _LEDGER,
        help=f"the ledger, or its file [FLEXTIER_LEDGER, else {_LEDGER}]",
    )
    parser.add_argument(
        "--since",
        metavar="WHEN",
        default="7d",
        help="calls from then on: 90m, 12h, 7d or 4w ago, 2026-11-01, or all [%(default)s]",
    )
    parser.add_argument(
        "--until", metavar="WHEN", default="now", help="calls before then [%(default)s]"
    )
    parser.add_argument(
        "--by", choices=("model", "lane", "tag", "day"), help="what to group calls by"
    )
    parser.add_argument(
        "--format", choices=("table", "json", "csv", "html"), default="table", help="[%(default)s]"
    )
    parser.add_argument("--output", metavar="FILE", help="write there [to the terminal]")
    parser.add_argument(
        "--tz", metavar="ZONE", default="UTC", help="whose days and hours [%(default)s]"
    )


def run(options: argparse.Namespace) -> int:
    """Write the report; return 0, or 2 if it cannot be written."""
    # Imported here, so that `--help` loads neither SQLAlchemy nor the drawing library.
    from flextier.ledger import Ledger, LedgerError
    from flextier.ledger.url import LedgerUrl
    from flextier.report.aggregates import summarise
    from flextier.report.period import period_of

    try:
        address = LedgerUrl.read(options.ledger)
    except ValueError as error:
        return fail("report", f"--ledger: {error}")
    try:
        _check_output(options.output, address.path)
        period = period_of(options.since, options.until, options.tz, datetime.now(timezone.utc))
        with Ledger(options.ledger, readonly=True) as ledger, ThreadPoolExecutor(1) as executor:
            # The page's libraries take a second to load; the database is queried meanwhile.
            page = executor.submit(_page) if options.format == "html" else None
            with ledger.reading() as connection:
                sessions = ledger.sessions()
                summary = summarise(connection, period, ledger=address.shown, sessions=sessions)
            rendered = page.result()(summary, options.by) if page else _rendered(summary, options)
    except LedgerError as error:
        return fail("report", f"--ledger: {error}")
    except ValueError as error:
        return fail("report", error)
    if options.output is None:
        return write_stdout("report", rendered)
    try:
        with atomic_write(options.output, private=False) as file:
            file.write(rendered.encode("utf-8", "backslashreplace"))
    except OSError as error:
        return fail("report", f"--output {options.output} cannot be written: {error.strerror}")
    return 0


def _check_output(output: str | None, ledger: Path | None) -> None:
    """Check, before the report is made, that it would not overwrite a database.

    Raises:
        ValueError: the output is the ledger, one of the files beside it, or a SQLite database.
    """
    if output is None:
        return
    if ledger is not None:
        target = Path(output).resolve()
        # SQLite follows links: its files are beside the target of a link.
        files = [f"{path}{suffix}" for path in (ledger, ledger.resolve()) for suffix in _SUFFIXES]
        if str(target) in files or (target.exists() and target.samefile(ledger)):
            raise ValueError(
                f"--output {output} is the ledger itself, or a file that belongs to it"
            )
    try:
        refuse_database(output)
    except OSError as error:
        raise ValueError(f"--output {output} cannot be written: {error.strerror}") from None


def _page() -> Callable[[Summary, str | None], str]:
    with needs_extra("report"):
        from flextier.report.charts import warm_up
        from flextier.report.page import page
    warm_up()
    return page


def _rendered(summary: Summary, options: argparse.Namespace) -> str:
    from flextier.report import formats

    if options.format == "json":
        return formats.as_json(summary, options.by)
    if options.format == "csv":
        is_terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
        return formats.comma_separated(summary, options.by or "lane", for_terminal=is_terminal)
    return formats.text(summary, options.by) + "\n"
