"""One batch, from its creation to its end."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any
from uuid import uuid4

from flextier.sim.base import api_errors, paid_lines
from flextier.sim.base import batch_errors as problems
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.batch_errors import BatchInputError
from flextier.sim.base.request_log import RequestLog
from flextier.sim.base.tokens import PromptCache, Tokens
from flextier.sim.behavior.batch_behavior import BatchWeather, Seconds
from flextier.sim.behavior.batch_outcomes import FINAL, BatchOutcome, OutputFile
from flextier.sim.stores.batch_files import BatchFiles, encoded
from flextier.sim.stores.batch_input import InputValidator
from flextier.sim.stores.batch_line import answer_line
from flextier.sim.stores.files import FileStore

#: What the unfinished lines of these batches say, by the batch's status. The first is
#: documented, the second is a guess.
_UNFINISHED = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "cancelled": (
        "batch_cancelled",
        "This request could not be executed before the batch was cancelled.",
    ),
}


@dataclass(frozen=True)
class BatchParameters:
    """What a batch was created with.

    Attributes:
        input_file_id: The file.
        endpoint: The endpoint that answers its lines.
        completion_window: ``24h``.
        metadata: The caller's own pairs; None: not given.
        output_lifetime: Seconds that its output is kept; None: without end.
        account: Whose it is.
    """

    input_file_id: str
    endpoint: str
    completion_window: str = "24h"
    metadata: dict[str, str] | None = None
    output_lifetime: int | None = None
    account: str = ""


@dataclass(frozen=True)
class BatchContext:
    """What a batch needs of the provider.

    Attributes:
        files: Where its input is, and where its output goes.
        accounts: Where finished lines are billed.
        cache: The prompt cache.
        weather: How batches of a model behave; of no model: before it is known.
        enqueued: Tokens of the unfinished batches of an account and model.
    """

    files: FileStore
    accounts: RequestLog
    cache: PromptCache
    weather: Callable[[str], BatchWeather]
    enqueued: Callable[[str, str], int]


@dataclass
class BatchUsage:
    """Tokens of the finished lines, added up."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, tokens: Tokens) -> None:
        """One line more."""
        for name in ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_tokens"):
            self.counts[name] = self.counts.get(name, 0) + getattr(tokens, name)

    def describe(self) -> dict[str, Any]:
        """The batch's ``usage``."""
        read, written = self.counts.get("input_tokens", 0), self.counts.get("output_tokens", 0)
        return {
            "input_tokens": read,
            "input_tokens_details": {"cached_tokens": self.counts.get("cached_input_tokens", 0)},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": self.counts.get("reasoning_tokens", 0)},
            "total_tokens": read + written,
        }


# What a batch does, in small steps; each returns when the next one is due, in the provider's time.
Steps = Generator[float, None, None]


class BatchJob:
    """One batch: a series of small steps, each with the moment at which it is due.

    Args:
        order: What was asked for.
        provider: The provider.
        now: The provider's time, in seconds since the epoch.
        chance: Where the batch's random numbers are drawn from.
        outcome: What shall become of it; None: the weather decides.
    """

    def __init__(
        self,
        order: BatchParameters,
        provider: BatchContext,
        now: float,
        chance: Random,
        outcome: BatchOutcome | None,
    ) -> None:
        self.id = f"batch_{uuid4().hex}"
        self.order = order
        self.status = "validating"
        self.model: str | None = None
        self.enqueued_tokens = 0
        self.total = self.completed = self.failed = 0
        self._provider = provider
        self._chance = chance
        self._outcome = outcome
        self._weather = provider.weather("")
        self._created = now
        self._expires = now + self._weather.expire_after
        self._stamps: dict[str, int] = {"created": int(now), "expires": int(self._expires)}
        self._problems: tuple[BatchInputError, ...] = ()
        self._usage: BatchUsage | None = None
        self._files = BatchFiles(provider.files)
        self._polls_without_files = 0 if outcome is None else outcome.late
        # The lines' places in the input file, in the order in which they are done.
        self._places = array("Q")
        self._moment = now
        self._behind = False
        self._steps = self._life()
        self._due = next(self._steps)

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL

    @property
    def due(self) -> float:
        """When its next step is due, in the provider's time."""
        return self._due

    def advance(self, now: float, due: float, until: float) -> bool:
        """Do what is due, in order.

        Args:
            now: The provider's time.
            due: Do steps that are due then or before; not after now.
            until: When to stop, as ``time.perf_counter()`` has it.

        Returns:
            Whether all of these steps are done.
        """
        try:
            while self._due <= due:
                if time.perf_counter() >= until:
                    # From here on steps happen when there is time, not when they are due.
                    self._behind = True
                    return False
                self._moment = now if self._behind else max(self._moment, self._due)
                self._due = next(self._steps, inf)
        finally:
            self._files.shut()
        self._behind = self._behind and self._due <= now
        return True

    def cancel(self, now: float) -> None:
        """Begin to cancel it; lines that are finished stay so.

        Raises:
            Rejected: It has ended, and was not cancelled.
        """
        if self.status in ("cancelling", "cancelled"):
            return
        if self.ended:
            raise Rejected(api_errors.not_cancellable(self.status))
        self._moment = now
        self._steps.close()
        self._steps = self._cancel()
        self._due = next(self._steps, inf)

    def close(self) -> None:
        """Stop it and release its files."""
        self._steps.close()
        self._due = inf
        self._files.discard()

    # -- what the API says of it ----------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The ``batch`` object."""
        problems = [problem.describe() for problem in self._problems]
        files, no_file = (
            self._files.published,
            None if self._outcome is None else self._outcome.no_file,
        )
        if self.ended and self._polls_without_files > 0:
            self._polls_without_files -= 1
            files = {}
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.order.endpoint,
            "model": self.model,
            "errors": {"object": "list", "data": problems} if self.status == "failed" else None,
            "input_file_id": self.order.input_file_id,
            "completion_window": self.order.completion_window,
            "status": self.status,
            "output_file_id": files.get("output", no_file),
            "error_file_id": files.get("error", no_file),
            **{f"{name}_at": self._stamps.get(name) for name in _STAMPS},
            "request_counts": {
                "total": self.total,
                "completed": self.completed,
                "failed": self.failed,
            },
            "usage": None if self._usage is None else self._usage.describe(),
            "metadata": self.order.metadata,
        }

    def _enter(self, status: str) -> None:
        self.status = status
        if status in _STAMPS:
            self._stamps[status] = int(self._moment)

    # -- its life, step by step; each yields when the next is due --------------------------

    def _life(self) -> Steps:
        if self._stays("validating"):
            yield inf
        yield min(self._created + self._drawn(self._weather.validating), self._expires)
        if self._moment >= self._expires:
            self._end("expired")
            return
        lines = InputValidator(self.order.endpoint, self._weather)
        if self._outcome is None or self._outcome.kind != "fail":
            yield from self._validate(lines)
        if self._problems or self._is("fail"):
            self._fail()
            return
        yield from self._answer(lines)

    def _validate(self, lines: InputValidator) -> Steps:
        source = self._provider.files.find(self.order.input_file_id)
        if source is None or source.purpose != "batch":
            self._problems = (problems.no_file(self.order.input_file_id),)
            return
        self._files.hold(source)
        for _ in lines.read(self._files.read):
            yield self._moment
        self._problems = tuple(lines.problems)
        if self._problems:
            return
        self.model = lines.model
        self._weather = self._provider.weather(lines.model)
        limit = self._weather.enqueued_limit
        waiting = self._provider.enqueued(self.order.account, lines.model)
        if limit is not None and waiting + lines.tokens > limit:
            self._problems = (problems.too_many_enqueued(lines.model, limit),)

    def _fail(self) -> None:
        if self._outcome is not None and self._outcome.kind == "fail":
            self._problems = self._outcome.problems
        self._end("failed")

    def _answer(self, lines: InputValidator) -> Steps:
        self.total = len(lines.places)
        self.enqueued_tokens = lines.tokens
        self._usage = BatchUsage()
        self._enter("in_progress")
        self._places = lines.places
        self._chance.shuffle(self._places)
        start, seconds = self._moment, self._drawn(self._weather.seconds)
        stop = self._stop()
        for number, place in enumerate(self._places, start=1):
            if self.done == stop:
                yield from self._interrupt()
                return
            due = start + seconds * number / self.total
            if due > self._expires:
                yield self._expires
                yield from self._leave("expired")
                return
            yield due
            self._finish(place)
        if self.done == stop:
            yield from self._interrupt()
            return
        yield from self._finalize()

    def _finalize(self) -> Steps:
        self._enter("finalizing")
        if self._stays("finalizing"):
            yield inf
        yield self._moment + self._drawn(self._weather.finalizing)
        self._end("completed")

    def _stop(self) -> int | None:
        """How many lines are done when the script interferes; None: it does not."""
        if self._outcome is None or self._outcome.kind not in ("expire", "cancel", "stay"):
            return None
        if self._outcome.status == "finalizing":
            return None
        return min(self._outcome.after, self.total)

    def _interrupt(self) -> Steps:
        if self._is("expire"):
            yield from self._leave("expired")
        elif self._is("cancel"):
            yield from self._cancel()
        elif self._outcome is not None:
            self._enter(self._outcome.status)
            yield inf

    def _cancel(self) -> Steps:
        self._enter("cancelling")
        if self._stays("cancelling"):
            yield inf
        yield self._moment + self._drawn(self._weather.cancelling)
        yield from self._leave("cancelled")

    def _leave(self, status: str) -> Steps:
        """End before every line is done: the others go to the error file."""
        code, message = _UNFINISHED[status]
        for place in self._places[self.done :]:
            self._files.write_error(
                self._files.line(place), None, {"code": code, "message": message}
            )
            yield self._moment
        self._end(status)

    def _end(self, status: str) -> None:
        self._files.publish(self.id, self.order.output_lifetime)
        self._places = array("Q")
        self.enqueued_tokens = 0
        self._enter(status)

    # -- lines ----------------------------------------------------------------------------

    @property
    def done(self) -> int:
        """InputValidator that are finished, well or not."""
        return self.completed + self.failed

    def _finish(self, place: int) -> None:
        line = self._files.line(place)
        if self._outcome is not None and self.done < len(self._outcome.written):
            self._write_odd(line, self._outcome.written[self.done], self._outcome.file)
            return
        try:
            self._strike()
            said, tokens = answer_line(self.order.endpoint, line["body"], self._provider.cache)
        except Rejected as rejected:
            self.failed += 1
            body = {"error": rejected.reply.error()}
            self._files.write_error(line, _response(rejected.reply.status, body), None)
        except Exception as error:  # noqa: BLE001 - one line must not stop the whole provider
            self.failed += 1
            self._provider.accounts.warn(f"{self.id}: {line['custom_id']}: {error!r}")
            self._files.write_error(
                line, _response(500, {"error": api_errors.server_error().error()}), None
            )
        else:
            self.completed += 1
            self._bill(line["body"], tokens)
            self._files.write("output", encoded(line, _response(200, said)))

    def _write_odd(
        self, line: dict[str, Any], written: Mapping[str, Any] | str, file: OutputFile
    ) -> None:
        """Write what the script has for a line; the line is not billed."""
        if file == "output":
            self.completed += 1
        else:
            self.failed += 1
        odd = written.encode() + b"\n" if isinstance(written, str) else encoded(line, written)
        self._files.write(file, odd)

    def _strike(self) -> None:
        """Raise what the script or the weather has in store for a line."""
        if self._outcome is not None and self._outcome.error is not None:
            raise Rejected(self._outcome.error)
        refused, broken = self._weather.line_rate_limits, self._weather.line_errors
        if refused or broken:
            drawn = self._chance.random()
            if drawn < refused + broken:
                raise Rejected(
                    api_errors.rate_limited() if drawn < refused else api_errors.server_error()
                )

    def _bill(self, body: dict[str, Any], tokens: Tokens) -> None:
        if self._usage is not None:
            self._usage.add(tokens)
        accounts = self._provider.accounts
        key = "" if accounts.paid is None else paid_lines.digest(self.order.endpoint, body)
        accounts.bill(self.model or "", "batch", tokens, key)

    # -- chance and script ----------------------------------------------------------------

    def _drawn(self, seconds: Seconds) -> float:
        return self._chance.uniform(*seconds) if isinstance(seconds, tuple) else seconds

    def _is(self, kind: str) -> bool:
        return self._outcome is not None and self._outcome.kind == kind

    def _stays(self, status: str) -> bool:
        return self._outcome is not None and self._outcome.status == status


_STAMPS = (
    "created",
    "in_progress",
    "expires",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)


def _response(status: int, body: dict[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": uuid4().hex, "body": body}
