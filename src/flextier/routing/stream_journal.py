"""Writes streams to the journal, each as the whole response that its events amount to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flextier._openai.assembled_stream import AssembledStream
from flextier._openai.response_json import json_bytes
from flextier._utils.safe_warn import safe_warn
from flextier.calls.answer import why_unreadable
from flextier.calls.call import Call
from flextier.journal import JournalWarning
from flextier.transport.streams import StreamProgress

MAX_STREAM_BYTES = 16 * 2**20
"""The most bytes of JSON that the journal puts together from a stream, and stores."""


class StreamJournal:
    """Writes one stream when its last event has arrived, before that is handed over."""

    __slots__ = ("_assembled", "_choices", "_endpoint", "_whole", "_write")

    def __init__(
        self,
        write: Callable[[bytes, str | None, str | None], None],
        whole: bytes | None,
        call: Call,
    ) -> None:
        """Record nothing yet.

        ``write`` gets the JSON of a response, its service tier and its request id; ``whole`` is the
        JSON that the stream was made from, None: it is to be put together.
        """
        self._write = write
        self._whole = whole
        self._choices = call.choices
        self._endpoint = call.endpoint
        self._assembled: AssembledStream | None = AssembledStream()

    def __call__(self, event: Any, progress: StreamProgress) -> None:
        """Record one event. A chat completion is written again when its usage follows."""
        if self._assembled is None:
            return
        try:
            body = self._body(self._assembled, event, progress)
        except (ValueError, RecursionError) as error:  # nested beyond what can be written
            self._pass_by(str(error))
        else:
            if max(self._assembled.text_length, len(body or b"")) > MAX_STREAM_BYTES:
                self._pass_by(f"it is longer than {MAX_STREAM_BYTES:,} bytes")
            elif body is not None:
                self._write(body, progress.tier, progress.request_id)

    def _body(
        self, assembled: AssembledStream, event: Any, progress: StreamProgress
    ) -> bytes | None:
        """The response with this event; None: it is not whole."""
        if self._whole is None:
            assembled.add(event)
        if not progress.complete or progress.finished_choices < self._choices:
            return None
        if self._whole is not None:
            return self._whole
        body = assembled.body()
        return None if why_unreadable(self._endpoint, body) else json_bytes(body)

    def _pass_by(self, why: str) -> None:
        self._assembled = None
        safe_warn(
            f"a streamed response is not in the journal, and will be paid for again: {why}",
            JournalWarning,
        )
