"""``flextier batch``: the Batch API from the command line."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from flextier._utils.formatting import count, dollars, plain
from flextier.cli._common import DURATION, duration, fail, print_stderr, write_json, write_stdout

if TYPE_CHECKING:
    import openai
    from openai.types import Batch

    Verb = Callable[[openai.OpenAI, argparse.Namespace], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of ``flextier batch`` to a parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--base-url", metavar="URL", help="of the API [OPENAI_BASE_URL, or OpenAI's]"
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(run: Verb, name: str, summary: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=summary, description=summary, parents=[common])
        added.set_defaults(run_verb=run)
        return added

    listing = verb(_list, "list", "the batches of the project, the newest first")
    listing.add_argument(
        "--limit", type=_positive_int, default=20, metavar="N", help="[%(default)s]"
    )
    listing.add_argument("--status", action="append", help="only these; may be given again")
    listing.add_argument("--json", action="store_true", help="as JSON")
    showing = verb(_show, "show", "all details of a batch")
    showing.add_argument("id", metavar="ID")
    showing.add_argument("--json", action="store_true", help="as JSON")
    waiting = verb(
        _wait, "wait", "wait until a batch has ended; the status is 0 if it is completed"
    )
    waiting.add_argument("id", metavar="ID")
    _add_times(waiting)
    stopping = verb(_cancel, "cancel", "cancel a batch; lines that are done are kept, and charged")
    stopping.add_argument("id", metavar="ID")
    stopping.add_argument("--wait", action="store_true", help="until it has ended")
    _add_times(stopping)
    fetching = verb(_fetch, "fetch", "write the results of a batch to a JSONL file")
    fetching.add_argument("id", metavar="ID")
    fetching.add_argument("out", metavar="OUT", help="is replaced as a whole")
    fetching.add_argument("--json", action="store_true", help="counts and cost as JSON")
    creating = verb(
        _create, "create", "check and upload a JSONL file, create a batch of it; prints the id"
    )
    creating.add_argument("file", metavar="FILE", help="lines of custom_id, method, url and body")
    creating.add_argument("--endpoint", metavar="URL", help="[as the lines say]")
    creating.add_argument(
        "--metadata", action="append", default=[], type=_pair, metavar="KEY=VALUE"
    )


def _add_times(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--poll",
        type=duration,
        default=60.0,
        metavar=DURATION,
        help="the most between two polls: seconds, 90s, 5m [60]",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar=DURATION,
        help="wait no longer than that: seconds, 90m, 6h [no limit]",
    )


def run(options: argparse.Namespace) -> int:
    """Run a verb; return 0, 1 if the API or the batch has failed, or 2 for invalid arguments."""
    import openai

    try:
        client = openai.OpenAI(base_url=options.base_url, max_retries=0)
    except openai.OpenAIError as error:  # no key
        return fail("batch", str(error), 2)
    with client:
        try:
            status: int = options.run_verb(client, options)
        except (openai.OpenAIError, TimeoutError) as error:
            return fail("batch", _error_text(client, error), 1)
        except KeyboardInterrupt:
            return fail("batch", f"{options.verb} was interrupted: see 'flextier batch list'", 1)
    return status


def _list(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import formatting, manual

    found = manual.list_batches(client, limit=options.limit, status=options.status)
    if options.json:
        return write_json("batch", [formatting.as_dict(batch) for batch in found])
    return write_stdout("batch", formatting.table(found, time.time()))


def _show(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import formatting, manual

    batch = manual.retrieve(client, options.id)
    if options.json:
        return write_json("batch", formatting.as_dict(batch))
    return write_stdout("batch", formatting.page(batch))


def _wait(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import formatting, manual

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    batch_id, on_status = options.id, _print_status if is_terminal else None
    try:
        batch = manual.wait(
            client, batch_id, poll=options.poll, timeout=options.timeout, on_status=on_status
        )
    except KeyboardInterrupt:
        why = f"not waited for any more; {batch_id} goes on: 'flextier batch cancel {batch_id}'"
        return fail("batch", f"{why} stops it", 1)
    if batch.status == "completed":
        return 0
    why, *others = formatting.errors_of(batch) or [f"{formatting.done_of(batch)} lines are done"]
    more = f" (and {count(len(others), 'error')} more)" if others else ""
    return fail("batch", f"{batch.id} is {batch.status}: {why}{more}", 1)


def _print_status(batch: Batch) -> None:
    from flextier.batch import formatting

    now = time.strftime("%H:%M:%S")
    write_stdout(
        "batch", f"{now}  {plain(batch.id)}  {plain(batch.status)}  {formatting.done_of(batch)}\n"
    )


def _cancel(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import formatting, manual

    try:
        batch = manual.cancel(
            client, options.id, wait=options.wait, poll=options.poll, timeout=options.timeout
        )
    except KeyboardInterrupt:
        return fail("batch", f"{options.id} may still be cancelled: check it with 'show'", 1)
    text = f"{batch.id} is {batch.status}: {formatting.done_of(batch)} lines are done"
    if batch.request_counts is not None and batch.request_counts.completed:
        text += f"; they are charged, and kept: flextier batch fetch {batch.id} OUT"
    if batch.status in ("cancelling", "cancelled"):
        return write_stdout("batch", f"{plain(text)}\n")
    return fail("batch", f"too late: {text}", 1)


def _fetch(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import results

    try:
        fetched = results.fetch(client, options.id, options.out)
    except ValueError as error:
        return fail("batch", str(error), 1)
    except BrokenPipeError:
        return 0  # OUT is a pipe whose reader has ended
    except OSError as error:
        return fail("batch", f"{options.out} cannot be written: {error.strerror or error}", 2)
    if options.json:
        return write_json("batch", fetched.to_dict())
    text = (
        f"{fetched.batch.id} is {fetched.batch.status}: {fetched.done:,} done, "
        f"{fetched.failed:,} failed, {fetched.unfinished:,} unfinished, in {fetched.path}"
    )
    if fetched.done:
        text += f"; cost {dollars(fetched.cost)}"
        if fetched.saved is not None:
            text += f", {dollars(fetched.saved)} less than on standard"
        if fetched.unpriced:
            text += f"; without a known price: {fetched.unpriced:,}"
    if not os.path.isfile(fetched.path):  # a pipe, which must contain only the lines
        print_stderr(text)
        return 0
    return write_stdout("batch", f"{plain(text)}\n")


def _create(client: openai.OpenAI, options: argparse.Namespace) -> int:
    from flextier.batch import manual

    try:
        batch = manual.create(
            client, options.file, endpoint=options.endpoint, metadata=dict(options.metadata)
        )
    except ValueError as error:
        return fail("batch", f"{options.file}: {error}", 2)
    except OSError as error:
        reason = error.strerror or str(error)
        if error.filename is None:  # a temporary file
            return fail("batch", reason, 2)
        return fail("batch", f"{options.file} cannot be read: {reason}", 2)
    return write_stdout("batch", f"{plain(batch.id)}\n")


def _error_text(client: openai.OpenAI, error: Exception) -> str:
    """An error in one line."""
    import openai

    if isinstance(error, openai.APIStatusError):
        text = error.body.get("message") if isinstance(error.body, dict) else None
        return f"{error.status_code}: {text or error.message}"
    if isinstance(error, openai.APIConnectionError):
        cause = f" ({error.__cause__})" if str(error.__cause__ or "") else ""
        return f"{client.base_url}: {error.message}{cause}"
    return str(error)


def _positive_int(given: str) -> int:
    if not given.isdecimal() or not int(given):
        raise argparse.ArgumentTypeError(f"{given!r} is not a whole number of at least 1")
    return int(given)


def _pair(given: str) -> tuple[str, str]:
    key, sign, value = given.partition("=")
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"{given!r} is not KEY=VALUE")
    return key, value
