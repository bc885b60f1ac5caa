"""Writes streams to the journal, each as the whole response that its events amount to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flextier._openai.assembled_stream import AssembledStream
from flextier._utils.safe_warn import safe_warn
from flextier.journal import JournalWarning
from flextier.transport.streams import StreamProgress

MAX_STREAM_BYTES = 16 * 2**20
"""The most bytes of JSON that the journal puts together from a stream, and stores."""


class StreamRecorder:
    """Writes one stream when its last event has arrived, before that is handed over."""

    __slots__ = ("_assembled", "_choices", "_whole", "_write")

    def __init__(
        self,
        write: Callable[[bytes, str | None, str | None], None],
        whole: bytes | None,
        choices: int,
    ) -> None:
        """Record nothing yet.

        Args:
            write: writes a response, given its JSON, its service tier and its request id.
            whole: the JSON of the response that the stream was made from; None: it is to be put
                together.
            choices: how many choices the call requested.
        """
        self._write = write
        self._whole = whole
        self._choices = choices
        self._assembled: AssembledStream | None = AssembledStream()

    def __call__(self, event: Any, progress: StreamProgress) -> None:
        """Record one event. A chat completion is written again when its usage follows."""
        if self._assembled is None:
            return
        if self._whole is None:
            self._assembled.add(event)
        is_complete = progress.complete and progress.finished_choices >= self._choices
        body = b"" if not is_complete else self._whole or self._assembled.body()
        if max(self._assembled.text_length, len(body)) > MAX_STREAM_BYTES:
            self._assembled = None
            safe_warn(
                f"a streamed response of more than {MAX_STREAM_BYTES:,} bytes is not in the "
                "journal: started again, the program makes the call again",
                JournalWarning,
            )
        elif is_complete:
            self._write(body, progress.tier, progress.request_id)
