"""Results of a batch: recorded in the journal, then passed to the calls, in chunks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier._utils.safe_warn import safe_warn
from flextier.batch.download import DownloadedFile
from flextier.batch.future import ResultLine
from flextier.batch.line_response import line_response, read_lines
from flextier.batch.pending_calls import GroupKey, PendingCalls, Wakes, wake_all
from flextier.batch.retrying_api import RetryingBatchAPI
from flextier.journal import Journal, JournalError, JournalWarning
from flextier.journal.records import BatchPlace, JournaledResponse
from flextier.lanes import BATCH

_CHUNK = 250
"""Lines that are recorded and passed on together."""

_READ_TIMEOUT = 60.0
"""The most seconds to wait for calls that have not read their line, before the next chunk."""

_DELIVERIES = threading.BoundedSemaphore(2)
"""Batches that pass on results at once: responses take memory until their calls return."""


class _Line(NamedTuple):
    custom_id: str
    result: ResultLine
    recorded: JournaledResponse | None
    """None: the line failed, and was not billed."""


def collect_results(
    batch: Batch, tag: str, api: RetryingBatchAPI, group: GroupKey, calls: PendingCalls
) -> None:
    """Pass the responses to their calls; mark the other lines as unfinished in the journal."""
    for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
        content = DownloadedFile()
        with suppress(openai.NotFoundError):  # the file is deleted
            api.retry(partial(content.download, file_id=file_id))
            lines = _lines(content, group.endpoint)
            while chunk := list(islice(lines, _CHUNK)):
                _deliver(chunk, tag, group, calls)
    record(group.journal, lambda journal: journal.unfinished(tag))
    group.log("collected", batch)


def record(journal: Journal | None, write: Callable[[Journal], Any]) -> None:
    """Write to the journal; only warn if that fails."""
    try:
        if journal is not None:
            write(journal)
    except JournalError as error:
        warn_unwritten(error)


def warn_unwritten(error: Exception) -> None:
    """Warn that a response could not be written to the journal."""
    safe_warn(f"a response is not in the journal: {error}", JournalWarning)


def _lines(content: DownloadedFile, endpoint: str) -> Iterator[_Line]:
    """The lines of a file that have a response; the others were not processed."""
    for offset, length, line in read_lines(content.file, content.lock):
        response = line_response(line, endpoint)
        if line is None or response is None:
            continue
        recorded = None
        if response.is_answer:
            status, request_id, body = response.status, response.request_id, response.body
            recorded = JournaledResponse(BATCH.name, status, request_id, body)
        result = ResultLine(content, endpoint, offset, length)
        yield _Line(str(line.get("custom_id")), result, recorded)


def _deliver(chunk: list[_Line], tag: str, group: GroupKey, calls: PendingCalls) -> None:
    answered = [(line.custom_id, line.recorded) for line in chunk if line.recorded]
    failed = [line.custom_id for line in chunk if not line.recorded]
    keep = group.policy.journal_store_responses
    unclaimed = set() if group.journal is None else group.journal.unclaimed
    with calls.lock:
        late = {line.custom_id for line in chunk if not calls.waits_for(line.custom_id)}
    unclaimed.update(BatchPlace(tag, name) for name, _ in answered if name in late)
    record(group.journal, lambda j: j.collected(tag, answered, failed, keep_answer=keep))
    acquired = _DELIVERIES.acquire(timeout=_READ_TIMEOUT)
    try:
        read: SimpleQueue[None] = SimpleQueue()
        wakes: Wakes = []
        with calls.lock:
            for line in chunk:
                if calls.waits_for(line.custom_id):
                    unclaimed.discard(BatchPlace(tag, line.custom_id))
                line.result.read = read
                wakes += calls.settle((line.custom_id,), line.result)
        wake_all(wakes)
        # Much memory would be needed if all calls of a batch parsed their responses at once.
        with suppress(Empty):  # an event loop may have ended
            for _ in wakes:
                read.get(timeout=_READ_TIMEOUT)
    finally:
        if acquired:
            _DELIVERIES.release()
