"""A finished row as JSON: its line of the output, or of the errors file."""

from __future__ import annotations

from typing import Any

from flextier.bulk.cost_tracking import costs_of
from flextier.bulk.row import Row, RowProblem
from flextier.bulk.serialize import dumped, plain

_LONGEST = 10_000
"""Characters of an error's message."""


def answered(row: Row, answer: Any, column: str, *, with_cost: bool) -> str:
    """The row's columns, and what was answered.

    Raises:
        RowProblem: the answer cannot be JSON.
    """
    try:
        added = {column: plain(answer)}
        if with_cost:
            added |= costs_of(row.records)
        if row.text is None:
            return dumped({**plain(row.values or {}), **added})
        fields = dumped(added)
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RowProblem(f"output: {error}") from error
    # As the row stands in the input: nothing of it is lost, and most of the work is saved.
    return f"{row.text[:-1].rstrip()}{', ' if row.values else ''}{fields[1:]}"


def failed(row: Row, error: BaseException | str) -> str:
    """What the errors file says of a row."""
    fields: dict[str, Any] = {"line": row.line, "key": _or_text(row.key), "error": _error(error)}
    if row.records:
        last = row.records[-1]
        fields["lane"] = last.lane
        fields["attempts"] = [attempt.to_dict() for attempt in last.attempts]
        fields["cost"] = costs_of(row.records)["cost"]
    fields["row"] = row.text if row.values is None else _or_text(row.values)
    return dumped(fields)


def _error(error: BaseException | str) -> dict[str, str]:
    if isinstance(error, str):
        return {"type": "RowProblem", "message": error}
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 - its own __str__ may be broken, too
        message = ""
    return {"type": type(error).__name__, "message": message[:_LONGEST]}


def _or_text(value: Any) -> Any:
    try:
        return plain(value)
    except (TypeError, ValueError, AttributeError, RecursionError):
        return repr(value)
