"""Batches as tables, pages and JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from flextier._openai.public_names import Batch
from flextier._utils.formatting import count, dollars, moment, plain, seconds, text_table
from flextier.batch.api import created_at, tag_of
from flextier.batch.api_errors import validation_failures
from flextier.batch.pricing import cost_of

_HEADERS = ("id", "status", "model", "done/total", "created (UTC)", "age", "flextier")
_TIMESTAMPS = (
    "created", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling",
    "cancelled", "expires",
)  # fmt: skip
_MAX_ERRORS = 20


def table(batches: Iterable[Batch], now: float) -> str:
    """A table with a row for each batch."""
    rows = [_HEADERS, *(_row(batch, now) for batch in batches)]
    if len(rows) == 1:
        return "No batches.\n"
    return "\n".join(text_table(rows)) + "\n"


def _row(batch: Batch, now: float) -> tuple[str, ...]:
    created = created_at(batch)
    return (
        plain(batch.id),
        plain(batch.status),
        plain(batch.model or "-"),
        done_of(batch),
        "-" if created is None else _time(created),
        "-" if created is None else seconds(max(0.0, now - created)),
        plain(tag_of(batch) or "-"),
    )


def done_of(batch: Batch) -> str:
    """``3/10``: lines done, and lines in total."""
    counts = batch.request_counts
    return "-" if counts is None else f"{counts.completed}/{counts.total}"


def page(batch: Batch) -> str:
    """All details of a batch, as text."""
    names = (
        ("id", batch.id),
        ("status", batch.status),
        ("endpoint", batch.endpoint),
        ("model", batch.model),
        ("window", batch.completion_window),
        ("input file", batch.input_file_id),
        ("output file", batch.output_file_id),
        ("error file", batch.error_file_id),
    )
    facts = [(name, value) for name, value in names if value]
    stamps = ((name.replace("_", " "), getattr(batch, f"{name}_at", None)) for name in _TIMESTAMPS)
    facts += [(name, f"{_time(at)} UTC") for name, at in stamps if at is not None]
    facts += _amounts(batch)
    facts += [("metadata", f"{key}={value}") for key, value in (batch.metadata or {}).items()]
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {plain(shown)}" for name, shown in facts]
    errors = ["error: " + error for error in errors_of(batch)]
    if len(errors) > _MAX_ERRORS:
        errors[_MAX_ERRORS:] = [f"and {count(len(errors) - _MAX_ERRORS, 'error')} more: --json"]
    return "\n".join([*lines, *errors]) + "\n"


def _amounts(batch: Batch) -> list[tuple[str, str]]:
    shown = []
    if (counts := batch.request_counts) is not None:
        words = f"{counts.completed:,} done, {counts.failed:,} failed, of {counts.total:,}"
        shown.append(("lines", words))
    if (usage := batch.usage) is not None:
        cached = usage.input_tokens_details.cached_tokens
        reasoning = usage.output_tokens_details.reasoning_tokens
        shown.append(
            (
                "tokens",
                f"{usage.input_tokens:,} in ({cached:,} cached), "
                f"{usage.output_tokens:,} out ({reasoning:,} reasoning)",
            )
        )
    cost = cost_of(batch)
    if cost is not None:
        words = dollars(cost.total)
        if cost.saved is not None:
            words += f", {dollars(cost.saved)} less than on standard"
        shown.append(("cost", words + (f" (estimated: {cost.reason})" if cost.reason else "")))
    return shown


def errors_of(batch: Batch) -> list[str]:
    """The validation errors of a batch, as a line of text each."""
    return [
        plain(
            f"line {failure.line}: " * (failure.line is not None)
            + f"{failure.code}: {failure.message}"
            + f" ({failure.param})" * bool(failure.param)
        )
        for failure in validation_failures(batch)
    ]


def as_dict(batch: Batch) -> dict[str, Any]:
    """A batch as the API returns it, and its ``cost``."""
    cost = cost_of(batch)
    return {**batch.to_dict(mode="json"), "cost": None if cost is None else cost.to_dict()}


def _time(at: float) -> str:
    try:
        return moment(datetime.fromtimestamp(at, timezone.utc), "seconds")
    except (ValueError, OverflowError, OSError):
        return f"{at}"
