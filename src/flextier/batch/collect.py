"""Results of a batch: recorded in the journal, then passed to the calls, in chunks."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from openai.types import Batch

from flextier._utils.safe_warn import safe_warn
from flextier.batch.api import is_failed, lines_of, response_of
from flextier.batch.future import DownloadedFile, ResultLine, UnreadResults
from flextier.batch.group_key import GroupKey
from flextier.batch.pending_calls import PendingCalls, Wakes, wake_all
from flextier.batch.retrying_api import RetryingBatchAPI
from flextier.journal import Journal, JournalError, JournalWarning
from flextier.journal.records import JournaledResponse
from flextier.lanes import BATCH

_CHUNK = 250
"""Lines that are recorded and passed on together."""

_UNREAD = 60.0
"""The most seconds to wait for calls that have not read their line, before the next chunk."""

_TURNS = threading.BoundedSemaphore(2)
"""Batches that pass on results at once: responses take memory until their calls return."""


class _Line(NamedTuple):
    custom_id: str
    said: ResultLine
    recorded: JournaledResponse | None
    """None: the line failed, and was not billed."""


def collect_results(
    batch: Batch, tag: str, requests: RetryingBatchAPI, terms: GroupKey, calls: PendingCalls
) -> None:
    """Pass the responses to their calls; release the other lines in the journal."""
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id is None:
            continue
        content = DownloadedFile(tempfile.TemporaryFile(prefix="flextier-"))  # noqa: SIM115 - calls read it
        if requests.download(file_id, content.file):
            _hand_over(_lines(content), tag, terms, calls)
    record(terms.journal, lambda journal: journal.unfinished(tag))


def record(journal: Journal | None, write: Callable[[Journal], Any]) -> None:
    """Write to the journal; if that fails, warn and go on."""
    if journal is None:
        return
    try:
        write(journal)
    except JournalError as error:
        safe_warn(f"a response is not in the journal: {error}", JournalWarning)


def _lines(content: DownloadedFile) -> Iterator[_Line]:
    """The lines of a file that have a response; the others were not processed."""
    for at, length, line in lines_of(content.file, content.lock):
        response = None if line is None else response_of(line)
        if line is None or response is None:
            continue
        status, request_id, body = response
        recorded = None
        if status < 400 and not is_failed(line["response"].get("body")):
            recorded = JournaledResponse(BATCH.name, status, request_id, body)
        yield _Line(str(line.get("custom_id")), ResultLine(content, at, length), recorded)


def _hand_over(lines: Iterator[_Line], tag: str, terms: GroupKey, calls: PendingCalls) -> None:
    while chunk := list(islice(lines, _CHUNK)):
        answered = [(line.custom_id, line.recorded) for line in chunk if line.recorded]
        failed = [line.custom_id for line in chunk if not line.recorded]
        keep = terms.policy.journal_store_responses
        record(terms.journal, partial(_record, tag, answered, failed, keep))
        mine = _TURNS.acquire(timeout=_UNREAD)
        try:
            backlog = UnreadResults()
            wake_all(_settled(chunk, calls, backlog))
            backlog.wait(_UNREAD)
        finally:
            if mine:
                _TURNS.release()


def _record(
    tag: str,
    answered: list[tuple[str, JournaledResponse]],
    failed: list[str],
    keep: bool,
    journal: Journal,
) -> None:
    journal.collected(tag, answered, failed, keep_answer=keep)


def _settled(chunk: Iterable[_Line], calls: PendingCalls, backlog: UnreadResults) -> Wakes:
    wakes: Wakes = []
    with calls.lock:
        for line in chunk:
            line.said.backlog = backlog
            wakes += calls.settle((line.custom_id,), line.said)
        backlog.more(len(wakes))
    return wakes
