"""Conversion of call records to rows of the ledger, and back.

Metadata is not stored: it is the caller's and may hold prompts or responses.

An amount is an integer column, ``…_pico``: trillionths of a US$. Listed rates have six decimals a
million tokens at most, of which no digit is lost; finer amounts are rounded.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

from sqlalchemy import RowMapping

from flextier.calls.report import Attempt
from flextier.costs.records import CallRecord
from flextier.ledger.schema import RATES, TOKENS
from flextier.pricing.cost import PARTS, Cost, parts_of
from flextier.pricing.decimals import dollars, plain_digits, product
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

LARGEST_AMOUNT = Decimal(9_000_000)
"""The largest US$ amount of one call that a column holds."""
LARGEST_COUNT = 900_000_000_000
"""The largest token count of one call: ten million of them can be added up."""

_PICO = Decimal("1e-12")
_CONTEXT = Context(prec=100)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)

_TEXTS = ("call_id", "framework", "model", "served_model", "lane", "first_lane", "fallback",
          "error", "run_id", "parent_run_id")  # fmt: skip
"""Columns with the text of a record's field."""

Row = dict[str, Any]


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=timezone.utc)) - _EPOCH) // _MICROSECOND


def utc_time(at_us: int) -> datetime:
    """The UTC time of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=at_us)


def pico(amount: Decimal | None) -> int | None:
    """The column of an amount.

    Raises:
        ValueError: the column does not hold it.
    """
    if amount is None:
        return None
    if abs(amount) > LARGEST_AMOUNT:
        raise ValueError(f"US$ {amount:.3e} for one call")
    return int(_CONTEXT.to_integral_value(_CONTEXT.scaleb(amount, 12)))


def amount_of(column: int) -> Decimal:
    """The amount of a column, or of its sum."""
    return product(Decimal(column), _PICO)


def row_of(record: CallRecord) -> Row:
    """The record as a row.

    Raises:
        ArithmeticError, AttributeError, TypeError, ValueError: it is not a valid record.
    """
    cost, rates = record.cost, record.cost.rates
    return {
        **{name: _text(getattr(record, name)) for name in _TEXTS},
        "at_us": microseconds(record.at),
        "answered": int(record.answered),
        "basis": cost.basis,
        "refusals": record.refusals,
        "attempt_count": len(record.attempts),
        "possibly_billed_attempts": record.possibly_billed_attempts,
        "waited": float(record.waited),
        "elapsed": float(record.elapsed),
        "tags": _json([_text(tag) for tag in record.tags]),
        "priced_as": _text(cost.priced_as),
        "cost_model": _text(cost.model),
        "cost_lane": _text(cost.lane),
        "reason": _text(cost.reason),
        "attempts": _text(_json([_attempt(attempt) for attempt in record.attempts])),
        **_tokens(record.usage),
        "cost_pico": pico(cost.total),
        "standard_pico": pico(cost.standard),
        "premium_pico": pico(record.premium),
        "possibly_billed_pico": pico(record.possibly_billed),
        **{
            f"rate_{name}": None if rates is None else plain_digits(getattr(rates, name))
            for name in RATES
        },
    }


def record_of_row(row: RowMapping) -> CallRecord:
    """The record of a row, without metadata."""
    usage = None if row["input_tokens"] is None else Usage(**{name: row[name] for name in TOKENS})
    rates = _rates(row)
    return CallRecord(
        **{name: row[name] for name in _TEXTS},
        at=utc_time(row["at_us"]),
        answered=bool(row["answered"]),
        usage=usage,
        cost=Cost(
            model=row["cost_model"],
            lane=row["cost_lane"],
            basis=row["basis"],
            reason=row["reason"],
            priced_as=row["priced_as"],
            rates=rates,
            standard=_amount(row, "standard"),
            **_parts(row, rates, usage),
        ),
        premium=_amount(row, "premium"),
        possibly_billed=_amount(row, "possibly_billed"),
        attempts=tuple(map(Attempt.from_dict, json.loads(row["attempts"] or "[]"))),
        waited=row["waited"],
        elapsed=row["elapsed"],
        tags=tags_of(row["tags"]),
    )


def tags_of(column: str | None) -> tuple[str, ...]:
    """The tags in the column."""
    return () if column is None else tuple(json.loads(column))


def _text(value: str | None) -> str | None:
    """Text that every database accepts: surrogates and NUL are escaped."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _json(values: list[Any]) -> str | None:
    """A JSON array; None: it is empty."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if values else None


def _tokens(usage: Usage | None) -> Row:
    counts = {name: None if usage is None else getattr(usage, name) for name in TOKENS}
    for name, count in counts.items():
        if count is not None and abs(count) > LARGEST_COUNT:
            raise ValueError(f"{count:,} {name} for one call")
    return counts


def _amount(row: RowMapping, name: str) -> Decimal | None:
    column = row[f"{name}_pico"]
    return None if column is None else amount_of(column)


def _rates(row: RowMapping) -> Rates | None:
    if row["rate_input"] is None:
        return None
    return Rates(**{name: Decimal(row[f"rate_{name}"]) for name in RATES})


def _parts(row: RowMapping, rates: Rates | None, usage: Usage | None) -> dict[str, Decimal]:
    """The parts of a cost: rates times tokens; a replayed call has a total of 0 without them."""
    if rates is not None and usage is not None:
        return {part: dollars(*one) for part, one in parts_of(rates, usage).items()}
    total = _amount(row, "cost")
    return {} if total is None else {**dict.fromkeys(PARTS, Decimal(0)), "input": total}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """The fields of an attempt that differ from their defaults."""
    defaults = {"status": None, "request_id": None, "possibly_billed": False, "sent": True}
    encoded = attempt.to_dict()
    return {name: value for name, value in encoded.items() if defaults.get(name, ...) != value}
