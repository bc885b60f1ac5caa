"""One call of a caller: a task that makes it, and the answer that its connections read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from flextier.calls.report import CallReport
from flextier.journal.call_entry import CallEntries
from flextier.serve.answer import Headers, KeptAnswer
from flextier.serve.error_answers import error_answer
from flextier.serve.headers import returned

GRACE = 10.0
"""Seconds that a call goes on without its caller, where the caller may repeat it: the SDKs wait up
to 8 s before they do."""


class RunningCall:
    """A call, from its request until nothing is known of it any more.

    Args:
        make: sends it, and returns the SDK's raw response; passes the report to :meth:`reported`.
        call_id: the caller's id of it; None: a new one.
        owner: the name of its caller's token.
        stream: whether a stream is asked for.
        framed: whether its caller is one of flextier's clients, and gets frames.
        may_repeat: whether its caller is known to repeat calls whose connection is lost.
    """

    def __init__(
        self,
        make: Callable[[RunningCall], Awaitable[Any]],
        *,
        call_id: str | None = None,
        owner: str = "",
        stream: bool = False,
        framed: bool = False,
        may_repeat: bool = False,
    ) -> None:
        self.id = call_id or os.urandom(16).hex()
        self.owner = owner
        self.stream = stream
        self.framed = framed
        self.answer = KeptAnswer()
        self.report: CallReport | None = None
        self.retries: list[dict[str, Any]] = []
        """Those of a call of flextier's own clients, as JSON types."""
        self.error: BaseException | None = None
        """What the call has ended with; None: it has its answer, or may get one."""
        self.failed_early = False
        """Whether that was before its answer began: its error is the answer."""
        self.delivered = False
        """Whether a caller has read the answer to its end."""
        self.journal_entries = CallEntries()
        self.readers = 0
        self.on_end: Callable[[RunningCall], None] | None = None
        self._make: Callable[[RunningCall], Awaitable[Any]] | None = make
        self._grace = GRACE if may_repeat else 0.0
        self._ending: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._run())

    @property
    def headers(self) -> Headers:
        """What is known of the call, for the headers of its answer."""
        headers = [("x-flextier-call", self.id)]
        if (report := self.report) is not None:
            cost = report.cost
            headers += [
                ("x-flextier-lane", report.lane),
                ("x-flextier-waited", f"{report.waited:.3f}"),
            ]
            for name, amount in (("cost", cost.total), ("saved", cost.saved)):
                if amount is not None:
                    headers.append((f"x-flextier-{name}", f"{amount:f}"))
        return tuple(headers)

    def to_dict(self) -> dict[str, Any]:
        """What ``GET /flextier/calls/{id}`` shows."""
        head, report = self.answer.head, self.report
        return {
            "id": self.id,
            "state": "ended" if self.answer.complete else "running",
            "status": None if head is None else head.status,
            "report": None if report is None else report.to_dict(),
            "cost": None if report is None else report.cost.to_dict(),
        }

    def report_comment(self) -> bytes:
        """The last comment of a stream: the same, in a line that consumers of events ignore."""
        return b": flextier " + json.dumps(self.to_dict()).encode() + b"\n\n"

    @contextlib.contextmanager
    def reading(self) -> Iterator[KeptAnswer]:
        """Read the answer; a call that is left by all its readers is cancelled, soon or at once."""
        self.readers += 1
        if self._ending is not None:
            self._ending.cancel()
        try:
            yield self.answer
        finally:
            self.readers -= 1
            if not self.readers and not self.answer.complete:
                loop = asyncio.get_running_loop()
                self._ending = loop.call_later(self._grace, self.cancel)

    def read_to_end(self) -> None:
        """Note that a caller has the answer."""
        if not self.delivered:
            self.delivered = True
            for entry in self.journal_entries:
                entry.used_up()

    def cancel(self, why: str = "the call was cancelled") -> None:
        """Cancel the call, as a task that makes it would be."""
        self._task.cancel(why)

    async def ended(self) -> None:
        """Wait for the end of the call, which is cancelled or not."""
        await asyncio.wait({self._task})

    def reported(self, report: CallReport) -> None:
        """The call has ended, with this report."""
        self.report = report

    def retried(self, retry: dict[str, Any]) -> None:
        """A further attempt will be made."""
        self.retries.append(retry)
        self.answer.notify()

    async def _run(self) -> None:
        answer = self.answer
        try:
            make, self._make = self._make, None  # its body need not be kept with the answer
            assert make is not None
            sending = make(self)
            del make
            raw = await sending
            del sending
            response = raw.http_response
            answer.begin(response.status_code, (*returned(response), *self.headers))
            if self.stream:
                await self._pass_on(response)
            else:
                answer.write(response.content)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the caller gets it
            self._failed(error)
        finally:
            if self._ending is not None:
                self._ending.cancel()
            answer.end()
            if self.on_end is not None:
                self.on_end(self)

    async def _pass_on(self, response: Any) -> None:
        try:
            async for data in response.aiter_bytes():
                self.answer.write(data)
        finally:
            await asyncio.shield(response.aclose())

    def _failed(self, error: BaseException) -> None:
        self.error, self.failed_early = error, self.answer.head is None
        if self.framed and not self.failed_early:
            return  # no event of the stream
        status, headers, body = error_answer(error)
        self.answer.fail(status, (*headers, *self.headers), body)
