"""``flextier journal``: shows, exports and deletes the contents of a journal."""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from flextier._utils.durations import span_with_units
from flextier._utils.formatting import count, moment, plain, seconds, text_table
from flextier.cli._common import fail, print_stderr, write_json, write_stdout

if TYPE_CHECKING:
    from flextier.journal.batches import BatchRow


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``flextier journal`` to a parser."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(
        run: Callable[[argparse.Namespace], int], name: str, summary: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=summary)
        added.set_defaults(run_verb=run)
        added.add_argument("path", metavar="PATH", help="of the journal")
        return added

    showing = verb(_show, "show", "number of its calls, pending batches, and size")
    showing.add_argument("--json", action="store_true", help="as JSON")
    exporting = verb(_export, "export", "write its answers to a JSONL file that only you can read")
    exporting.add_argument("out", metavar="OUT", help="is replaced as a whole")
    forgetting = verb(_forget, "forget", "delete its answers; pending batches stay")
    forgetting.add_argument(
        "--older-than",
        type=_age,
        default=0,
        metavar="AGE",
        help="only those received before then: 90m, 12h, 30d or 4w ago [all]",
    )


def run(options: argparse.Namespace) -> int:
    """Run a verb; return 0, 1 if the journal cannot be used, or 2 if OUT cannot be written."""
    from flextier.journal.errors import JournalError

    try:
        status: int = options.run_verb(options)
    except JournalError as error:
        return fail("journal", error, 1)
    return status


def _show(options: argparse.Namespace) -> int:
    from flextier.journal.reader import JournalReader

    with JournalReader(options.path) as journal:
        answers, first, last = journal.answers()
        content = {
            "path": options.path,
            "bytes": journal.size(),
            "calls": journal.counts(),
            "answers": answers,
            "first_at": first,
            "last_at": last,
            "batches": [_batch(row, lines) for row, lines in journal.batches()],
        }
    if options.json:
        return write_json("journal", content)
    return write_stdout("journal", _text(content))


def _batch(row: BatchRow, lines: int) -> dict[str, Any]:
    names = ("tag", "batch_id", "status", "model", "endpoint", "base_url", "lines", "sealed")
    return {**{name: getattr(row, name) for name in names}, "open_lines": lines}


def _text(content: dict[str, Any]) -> str:
    calls = content["calls"]
    lines = [
        f"{plain(content['path'])}, {_bytes(content['bytes'])}",
        f"answered: {calls['done']:,}, {content['answers']:,} of them with the answer kept"
        + (
            f", {_day(content['first_at'])} to {_day(content['last_at'])} UTC"
            if calls["done"]
            else ""
        ),
        f"in batches: {calls['batched']:,}",
        f"in the background: {calls['background']:,}",
        f"asked now: {calls['asked']:,}",
    ]
    now = time.time()
    rows = [
        (
            plain(batch["batch_id"] or "not known yet"),
            plain(batch["status"] or "-"),
            plain(batch["model"]),
            count(batch["open_lines"]),
            seconds(max(0.0, now - batch["sealed"])),
            plain(batch["tag"]),
        )
        for batch in content["batches"]
    ]
    text = "\n".join(lines) + "\n"
    if rows:
        heads = ("batch", "status", "model", "lines", "age", "flextier")
        text += "\n" + "\n".join(text_table([heads, *rows])) + "\n"
    return text


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _day(at: float) -> str:
    return moment(datetime.fromtimestamp(at, timezone.utc))


def _export(options: argparse.Namespace) -> int:
    from flextier._utils.atomic_file import atomic_write
    from flextier.journal.reader import JournalReader

    with JournalReader(options.path) as journal:
        try:
            with atomic_write(options.out) as file:
                # Lone surrogates are written as JSON escapes.
                text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="\n")
                written = journal.export(text)
                text.detach()
        except ValueError as error:
            return fail("journal", str(error), 2)
        except BrokenPipeError:
            return 0  # OUT is a pipe whose reader has closed it
        except OSError as error:
            return fail("journal", f"{options.out} cannot be written: {error.strerror or error}", 2)
    print_stderr(f"{count(written, 'answer')} in {options.out}")
    return 0


def _forget(options: argparse.Namespace) -> int:
    from flextier.journal.journal import Journal

    before = _size(options.path)  # fails if the file does not exist; Journal() would create it
    with closing(Journal(options.path)) as journal:
        deleted = journal.forget(older_than=options.older_than)
        left = journal.counts()["done"]
    return write_stdout(
        "journal",
        f"forgotten: {count(deleted, 'answer')}; left: {left:,}; {_bytes(before)} before, "
        f"{_bytes(_size(options.path))} now\n",
    )


def _size(path: str) -> int:
    from flextier.journal.reader import JournalReader

    with JournalReader(path) as reader:
        return reader.size()


def _age(given: str) -> float:
    age = span_with_units(given)  # with a unit: 30 may be meant as days
    if age is None:
        raise argparse.ArgumentTypeError(f"{given!r} is no age: give 90m, 12h, 30d or 4w")
    return age
