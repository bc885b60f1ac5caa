"""Scripted outcomes: what shall become of one batch, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from flextier.sim.base import api_errors as errors
from flextier.sim.base import validation
from flextier.sim.base.api_errors import ErrorReply
from flextier.sim.base.batch_errors import BatchInputError

Kind = Literal["fail", "expire", "cancel", "only_errors", "stay", "complete"]

OutputFile = Literal["output", "error"]

FINAL = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class BatchOutcome:
    """The outcome of one batch. Made by the class methods.

    Give outcomes to :meth:`flextier.sim.Simulator.script_batches`; each is used once, in the
    order of creation.

    Attributes:
        kind: Which of the class methods made it.
        problems: What ``errors.data`` holds (``fail``).
        after: Lines that are finished before it happens.
        error: What every line is answered (``only_errors``).
        status: Where the batch stays (``stay``).
        written: What is written in place of the first lines' answers (``complete``).
        file: The file that it is written to (``complete``).
        late: Polls of the ended batch that do not name its files yet (``complete``).
        no_file: The id of a file that does not exist (``complete``).
    """

    kind: Kind
    problems: tuple[BatchInputError, ...] = ()
    after: int = 0
    error: ErrorReply | None = None
    status: str = ""
    written: tuple[Mapping[str, Any] | str, ...] = ()
    file: OutputFile = "error"
    late: int = 0
    no_file: str | None = None

    @classmethod
    def fail(cls, *errors: str | Mapping[str, Any]) -> BatchOutcome:
        """Validation fails.

        Args:
            *errors: What ``errors.data`` holds: codes, or mappings with ``code``, ``message``,
                ``line`` and ``param``. Without any, ``errors.data`` is empty.
        """
        return cls("fail", problems=tuple(_problem(error) for error in errors))

    @classmethod
    def expire(cls, after: int = 0) -> BatchOutcome:
        """The batch expires as soon as ``after`` lines are finished."""
        return cls("expire", after=_lines(after))

    @classmethod
    def cancel(cls, after: int = 0) -> BatchOutcome:
        """Another client cancels the batch as soon as ``after`` lines are finished."""
        return cls("cancel", after=_lines(after))

    @classmethod
    def only_errors(
        cls, status: int = 500, message: str | None = None, code: str | None = None
    ) -> BatchOutcome:
        """The batch completes, and every line has failed: there is an error file only.

        Args:
            status: The status that every line is answered, 400 to 599.
            message: The error's message; None: that of a server error.
            code: The error's code.
        """
        if not 400 <= status <= 599:
            raise ValueError(f"status must be an error status, 400 to 599, not {status}")
        usual = errors.server_error()
        kind = usual.type if status >= 500 else "invalid_request_error"
        return cls("only_errors", error=ErrorReply(status, message or usual.message, kind, code))

    @classmethod
    def complete(
        cls,
        *written: Mapping[str, Any] | str,
        file: OutputFile = "error",
        late: int = 0,
        no_file: str | None = None,
    ) -> BatchOutcome:
        """The batch completes, in an odd way.

        Args:
            *written: What the lines that are done first get instead of an answer: their
                ``response``, or the text of a whole line. They are not billed.
            file: The file that this is written to, ``output`` or ``error``.
            late: Polls of the ended batch that do not name its files yet.
            no_file: The id of a file that does not exist, such as ``""``.

        Raises:
            ValueError: There is no such file.
        """
        if file not in get_args(OutputFile):
            raise ValueError(f"file must be 'output' or 'error', not {file!r}")
        return cls("complete", written=written, file=file, late=_lines(late), no_file=no_file)

    @classmethod
    def stay(cls, status: str, after: int = 0) -> BatchOutcome:
        """The batch stays in a status until it is cancelled, or without end.

        Args:
            status: ``validating``, ``in_progress``, ``finalizing``, ``cancelling`` (even when it
                is cancelled), or any word that the API does not know today.
            after: Lines that are finished before.

        Raises:
            ValueError: The status is one in which a batch has ended.
        """
        if not status or status in FINAL:
            raise ValueError(f"status must be one in which a batch has not ended, not {status!r}")
        return cls("stay", after=_lines(after), status=status)


def _problem(error: str | Mapping[str, Any]) -> BatchInputError:
    if isinstance(error, str):
        return BatchInputError(error, f"Scripted: {error}.")
    try:
        return BatchInputError(**{"message": f"Scripted: {error.get('code')}.", **error})
    except TypeError as wrong:
        raise ValueError(f"errors must have a code, and message, line, param: {wrong}") from wrong


def _lines(after: int) -> int:
    validation.not_negative("after", after)
    return after
