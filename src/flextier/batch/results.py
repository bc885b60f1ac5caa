"""Fetches the results of a batch into one file, a line for each request."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

from flextier._openai import public_names as openai
from flextier._openai.public_names import Batch
from flextier._utils.atomic_file import atomic_write
from flextier._utils.clock import SYSTEM_CLOCK, Clock
from flextier.batch.api import TERMINAL, BatchAPI, files_are_missing
from flextier.batch.download import DownloadedFile
from flextier.batch.line_response import line_response, read_lines
from flextier.batch.pricing import BatchBill
from flextier.batch.retrying_api import with_retries
from flextier.pricing.decimals import optional_digits
from flextier.pricing.usage import Usage

_FILE_WAITS = (1.0, 2.0, 4.0)
"""Seconds between polls of an ended batch that does not name its files yet."""

_UNPROCESSED = frozenset({"batch_expired", "batch_cancelled"})
"""Error codes of lines that the batch did not process before its end: they are not charged."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """The results of a batch: where they are, their counts and their cost."""

    batch: Batch
    """The batch, ended."""
    path: str
    """The file with the lines."""
    done: int
    """Requests with a successful response; these are charged."""
    failed: int
    """Requests with an error, or with a line that cannot be read."""
    unfinished: int
    """Requests that the batch did not process before its end."""
    in_order: bool
    """Whether the lines are in the order of the input file. False if that file is deleted: then the
    lines of the output file come first, and requests without a result have no line."""
    usage: Usage
    """The tokens of the responses."""
    cost: Decimal | None
    """US$ for the responses with a known price; None: there are responses, but none has one."""
    saved: Decimal | None
    """US$ saved against the standard lane."""
    unpriced: int
    """Responses without a known price: not counted in ``cost`` and ``saved``."""

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON types, of the batch only id and status; money as digits."""
        return {
            "batch_id": self.batch.id,
            "status": self.batch.status,
            **{name: getattr(self, name) for name in self.__slots__ if name != "batch"},
            "usage": self.usage.to_dict(),
            "cost": optional_digits(self.cost),
            "saved": optional_digits(self.saved),
        }


def fetch(
    client: openai.OpenAI,
    batch_id: str,
    out: str | os.PathLike[str],
    *,
    clock: Clock = SYSTEM_CLOCK,
) -> Fetched:
    """Write the results of a batch as JSONL: one line for each of its requests.

    The lines are as OpenAI writes them (``id``, ``custom_id``, ``response``, ``error``), of output
    and error file, joined with the input file on ``custom_id``: in its order; a request without a
    line in either gets one with the error ``batch_<status>``. Batches that expired or were
    cancelled keep the lines that were done by then, which are charged.

    Args:
        client: any client of the SDK, also a ``FlexOpenAI``.
        batch_id: the batch, which has ended.
        out: the file. It is replaced as a whole, and only its owner can read it.
        clock: time, sleep and random numbers, for tests.

    Raises:
        ValueError: the batch has not ended, or ``out`` is a database.
        OSError: ``out`` cannot be written.
        openai.OpenAIError: the API cannot be reached, or does not know the batch or its files.
    """
    api = BatchAPI(client)
    batch = with_retries(lambda: api.retrieve(batch_id), clock)
    for seconds in _FILE_WAITS:
        if batch.status in TERMINAL and files_are_missing(batch):
            clock.sleep(seconds)
            batch = with_retries(lambda: api.retrieve(batch_id), clock)
    if batch.status not in TERMINAL:
        raise ValueError(f"{batch.id} is {batch.status}: fetch its results when it has ended")
    bill = BatchBill(batch)
    with atomic_write(out) as file:
        results = _Results(bill, batch.endpoint)
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id)):
            results.add_file(_content(api, file_id, clock))
        requests = _requests(api, batch, clock)
        results.write(file, requests, batch)
    return Fetched(
        batch=batch,
        path=os.fspath(out),
        done=results.done,
        failed=results.failed,
        unfinished=results.unfinished,
        in_order=requests is not None,
        usage=bill.usage,
        cost=bill.cost,
        saved=bill.saved,
        unpriced=bill.unpriced,
    )


def _content(api: BatchAPI, file_id: str, clock: Clock) -> DownloadedFile:
    content = DownloadedFile()
    with_retries(lambda: content.download(api, file_id), clock)
    return content


def _requests(api: BatchAPI, batch: Batch, clock: Clock) -> DownloadedFile | None:
    """The input file; None if it is deleted, or the key may not read it."""
    try:
        return _content(api, batch.input_file_id, clock)
    except openai.APIStatusError as error:
        if error.status_code in (400, 403, 404, 410):
            return None
        raise


class _Results:
    """Where each line is in the output and error file, and the counts of the lines."""

    def __init__(self, bill: BatchBill, endpoint: str) -> None:
        self.done = self.failed = self.unfinished = 0
        self._bill = bill
        self._endpoint = endpoint
        self._lines_by_id: dict[str, tuple[DownloadedFile, int, int]] = {}
        self._other_lines: list[tuple[DownloadedFile, int, int]] = []

    def add_file(self, content: DownloadedFile) -> None:
        """Add the lines of the output or error file."""
        for offset, length, line in read_lines(content.file):
            self._count(line)
            custom_id, place = _id_of(line), (content, offset, length)
            if custom_id is not None and custom_id not in self._lines_by_id:
                self._lines_by_id[custom_id] = place
            else:
                self._other_lines.append(place)

    def _count(self, line: dict[str, Any] | None) -> None:
        response = line_response(line, self._endpoint)
        error = None if line is None else line.get("error")
        if line is not None and response is not None and response.is_answer:
            self.done += 1
            self._bill.add(line["response"]["body"])
        elif response is None and isinstance(error, dict) and error.get("code") in _UNPROCESSED:
            self.unfinished += 1
        else:
            self.failed += 1

    def write(self, file: BinaryIO, requests: DownloadedFile | None, batch: Batch) -> None:
        """Write all lines, in the order of the input file if it is given."""
        for _, _, request in () if requests is None else read_lines(requests.file):
            custom_id = _id_of(request)
            place = self._lines_by_id.pop(custom_id or "", None)
            if place is not None:
                file.write(_read(place))
            else:
                self.unfinished += 1
                message = "The batch has no line for this request."
                error = {"code": f"batch_{batch.status}", "message": message}
                line = {"id": None, "custom_id": custom_id, "response": None, "error": error}
                file.write(json.dumps(line).encode() + b"\n")
        for place in (*self._lines_by_id.values(), *self._other_lines):
            file.write(_read(place))
        if requests is None and batch.request_counts is not None:
            counted = self.done + self.failed + self.unfinished
            self.unfinished += max(0, batch.request_counts.total - counted)


def _id_of(line: dict[str, Any] | None) -> str | None:
    custom_id = None if line is None else line.get("custom_id")
    return custom_id if isinstance(custom_id, str) else None


def _read(place: tuple[DownloadedFile, int, int]) -> bytes:
    content, offset, length = place
    return content.read(offset, length).rstrip(b"\r\n") + b"\n"
