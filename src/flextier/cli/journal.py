"""``flextier journal``: shows, exports and deletes the contents of a journal."""

from __future__ import annotations

import argparse
import io
import time
from datetime import datetime, timezone
from typing import Any

from flextier._utils.durations import span_with_units
from flextier.cli._common import fail, print_stderr, write_stdout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``flextier journal`` to a parser."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(name: str, summary: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=summary)
        added.add_argument("path", metavar="PATH", help="of the journal")
        return added

    showing = verb("show", "number of its calls, pending batches, and size")
    showing.add_argument("--json", action="store_true", help="as JSON")
    exporting = verb("export", "write its answers to a JSONL file that only you can read")
    exporting.add_argument("out", metavar="OUT", help="is replaced as a whole")
    forgetting = verb("forget", "delete its answers; pending batches stay")
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
        return _VERBS[options.verb](options)
    except JournalError as error:
        return fail("journal", str(error), 1)


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
        import json

        return write_stdout("journal", json.dumps(content, indent=2) + "\n")
    return write_stdout("journal", _text(content))


def _batch(row: Any, lines: int) -> dict[str, Any]:
    return {
        "tag": row.tag,
        "batch_id": row.batch_id,
        "status": row.status,
        "model": row.model,
        "endpoint": row.endpoint,
        "base_url": row.base_url,
        "lines": row.lines,
        "open_lines": lines,
        "sealed": row.sealed,
    }


def _text(content: dict[str, Any]) -> str:
    from flextier._utils.formatting import count, plain, seconds, text_table

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
    from flextier._utils.formatting import moment

    return moment(datetime.fromtimestamp(at, timezone.utc))


def _export(options: argparse.Namespace) -> int:
    from flextier._utils.atomic_file import atomic_write
    from flextier._utils.formatting import count
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
    from flextier._utils.formatting import count
    from flextier.journal.journal import Journal
    from flextier.journal.reader import JournalReader

    with JournalReader(
        options.path
    ) as reader:  # fails if the file does not exist; Journal() would create it
        before = reader.size()
    journal = Journal(options.path)
    try:
        deleted = journal.forget(older_than=options.older_than)
        left = journal.counts()["done"]
    finally:
        journal.close()
    with JournalReader(options.path) as reader:
        after = reader.size()
    return write_stdout(
        "journal",
        f"forgotten: {count(deleted, 'answer')}; left: {left:,}; {_bytes(before)} before, "
        f"{_bytes(after)} now\n",
    )


_VERBS = {"show": _show, "export": _export, "forget": _forget}


def _age(given: str) -> float:
    age = span_with_units(given)  # with a unit: 30 may be meant as days
    if age is None:
        raise argparse.ArgumentTypeError(f"{given!r} is no age: give 90m, 12h, 30d or 4w")
    return age
