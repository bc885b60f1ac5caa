"""Sends a call to flextier's own clients as frames: retries, head, report, body, error, end.

A frame is a line of JSON. That of a part of the body, ``{"bytes": N}``, is followed by N bytes; an
empty line keeps the connection alive. The report comes before the last part of the body: who reads
no further has it. ``flextier/gateway/frames.py`` reads them.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.types import Send

from flextier._openai.error_transfer import error_to_dict
from flextier.calls.report import Retry
from flextier.errors import Detached
from flextier.serve.answer import Headers, KeptAnswer
from flextier.serve.answer_response import AnswerResponse, start, write
from flextier.serve.calls import ENDS

_HEAD: Headers = (
    ("content-type", "application/x-flextier-frames"),
    ("cache-control", "no-store"),
    ("x-accel-buffering", "no"),  # nginx would hold them back
)


class CallFrames(AnswerResponse):
    """As :class:`AnswerResponse`, for a caller that asks for frames."""

    async def _send(self, answer: KeptAnswer, send: Send) -> None:
        call, retries, parts = self._call, 0, 0
        has_head = has_report = False
        await start(send, 200, (*_HEAD, ("x-flextier-call", call.id)))
        while True:
            is_answered = answer.head is not None and not call.failed_early
            while retries < len(call.retries):
                await _frame(send, "retry", call.retries[retries])
                retries += 1
            if is_answered and not has_head:
                has_head = True
                await _frame(send, "head", answer.head)
            while is_answered and parts < len(answer.chunks):
                has_report = has_report or await self._report(send)
                data = answer.chunks[parts]
                await write(send, b'{"bytes": %d}\n' % len(data) + data)
                parts += 1
            if answer.complete and retries == len(call.retries):
                break
            if not await answer.changed(self._quiet):
                await write(send, b"\n")
        if not has_report:
            await self._report(send)
        if call.error is not None:
            await _frame(send, "error", self._error(answer))
        await write(send, b'{"end": 1}\n', last=True)

    async def _report(self, send: Send) -> bool:
        """Send the report; False: the call has none yet."""
        if self._call.report is None:
            return False
        await _frame(send, "report", self._call.report.to_dict())
        return True

    def _error(self, answer: KeptAnswer) -> dict[str, Any]:
        """The error; with its answer if that has none. ``again``: the call may be repeated."""
        error, head = self._call.error, answer.head
        assert error is not None
        again = isinstance(error, Detached) or ENDS in error.args
        frame: dict[str, Any] = {"error": error_to_dict(error), "again": again}
        if self._call.failed_early and head is not None:
            body = b"".join(answer.chunks).decode("utf-8", "replace")
            frame |= {"status": head.status, "headers": head.headers, "body": body}
            if getattr(error, "status_code", head.status) != head.status:
                frame["error"] = None  # it may quote the gateway's key
        return frame


async def _frame(send: Send, kind: str, value: Any) -> None:
    await write(send, json.dumps({kind: value}).encode() + b"\n")


def retry_to_dict(retry: Retry) -> dict[str, Any]:
    """A retry as JSON types."""
    plain = {name: getattr(retry, name) for name in ("model", "lane", "wait", "number", "waited")}
    return {**plain, "failed": retry.failed.to_dict(), "error": error_to_dict(retry.error)}
