"""``flextier report``: costs and savings of a ledger's calls as a table, JSON, CSV or HTML."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from flextier._utils.extras import needs_extra
from flextier.cli._common import fail

if TYPE_CHECKING:
    from flextier.ledger.url import LedgerUrl
    from flextier.report.period import Period
    from flextier.report.summary import Summary

_LEDGER = "sqlite:///flextier.db"


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
    from flextier.ledger import LedgerError
    from flextier.report import output
    from flextier.report.period import period_of

    try:
        _check_output(options)
        period = period_of(options.since, options.until, options.tz, datetime.now(timezone.utc))
        with ThreadPoolExecutor(1) as executor:
            # The page's libraries take a second to load; the database is queried meanwhile.
            page = executor.submit(_page) if options.format == "html" else None
            summary = _summary(options.ledger, period)
            rendered = page.result()(summary, options.by) if page else _rendered(summary, options)
    except LedgerError as error:
        return fail("report", f"--ledger: {error}")
    except ValueError as error:
        return fail("report", str(error))
    try:
        output.write(rendered, options.output)
    except OSError as error:
        place = "standard output" if options.output is None else f"--output {options.output}"
        return fail("report", f"{place} cannot be written: {error.strerror}")
    return 0


def _check_output(options: argparse.Namespace) -> None:
    from flextier.report import output

    ledger = _address(options.ledger).path
    if options.output is None:
        return
    try:
        output.refuse_database(options.output, ledger)
    except OSError as error:
        raise ValueError(f"--output {options.output} cannot be written: {error.strerror}") from None


def _address(url: str) -> LedgerUrl:
    from flextier.ledger.url import LedgerUrl

    try:
        return LedgerUrl.read(url)
    except ValueError as error:
        raise ValueError(f"--ledger: {error}") from error


def _summary(url: str, period: Period) -> Summary:
    from flextier.ledger import Ledger
    from flextier.report.aggregates import summarise

    name = _address(url).shown
    try:
        ledger = Ledger(url, readonly=True)
    except ValueError as error:
        raise ValueError(f"--ledger: {error}") from error
    with ledger, ledger.reading() as connection:
        return summarise(connection, period, ledger=name, sessions=ledger.sessions())


def _page() -> Callable[[Summary, str | None], str]:
    with needs_extra("report"):
        from flextier.report.charts import warm_up
        from flextier.report.page import page
    warm_up()
    return page


def _rendered(summary: Summary, options: argparse.Namespace) -> str:
    from flextier.report import formats, output

    if options.format == "json":
        return formats.as_json(summary, options.by)
    if options.format == "csv":
        is_terminal = output.is_terminal(options.output)
        return formats.comma_separated(summary, options.by or "lane", for_terminal=is_terminal)
    return formats.text(summary, options.by) + "\n"
