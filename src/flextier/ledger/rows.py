"""A call's record as a row of the ledger, and back.

Metadata stays out: it is the caller's, and may hold what was asked or answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from sqlalchemy import RowMapping

from flextier.calls.report import Attempt
from flextier.costs.records import CallRecord
from flextier.ledger.decimal_columns import amount, columns, countable
from flextier.ledger.schema import AMOUNTS, RATES, TOKENS
from flextier.pricing.cost import Cost
from flextier.pricing.decimals import dollars, plain_digits
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_PARTS = RATES  # the parts of a cost are named like the rates that they come of

Row = dict[str, Any]


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch; a time without a zone is UTC."""
    return ((at if at.tzinfo else at.replace(tzinfo=timezone.utc)) - _EPOCH) // _MICROSECOND


def moment(at_us: int) -> datetime:
    """The UTC time of microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=at_us)


def row_of(record: CallRecord) -> Row:
    """The record as a row.

    Raises:
        ArithmeticError, AttributeError, TypeError, ValueError: it is no record that makes sense.
    """
    cost = record.cost
    exact: dict[str, str] = {}
    row: Row = {
        "call_id": _text(record.call_id),
        "at_us": microseconds(record.at),
        "framework": _text(record.framework),
        "model": _text(record.model),
        "served_model": _text(record.served_model),
        "lane": _text(record.lane),
        "first_lane": _text(record.first_lane),
        "answered": int(record.answered),
        "fallback": _text(record.fallback),
        "error": _text(record.error),
        "basis": cost.basis,
        "refusals": record.refusals,
        "attempt_count": len(record.attempts),
        "possibly_billed_attempts": record.possibly_billed_attempts,
        "waited": float(record.waited),
        "elapsed": float(record.elapsed),
        "tags": _tags(record.tags),
        "run_id": _text(record.run_id),
        "parent_run_id": _text(record.parent_run_id),
        "priced_as": _text(cost.priced_as),
        "cost_model": _text(cost.model),
        "cost_lane": _text(cost.lane),
        "reason": _text(cost.reason),
        "attempts": _attempts(record.attempts),
    }
    _put_tokens(row, record.usage, exact)
    for name, value in _amounts(record).items():
        _put_amount(row, name, value, exact)
    for name in RATES:
        row[f"rate_{name}"] = (
            None if cost.rates is None else plain_digits(getattr(cost.rates, name))
        )
    if _parts(cost) != _parts_of(cost.rates, record.usage):
        exact.update((name, plain_digits(part)) for name, part in _parts(cost).items())
    row["exact"] = json.dumps(exact) if exact else None
    return row


def record_of_row(row: RowMapping) -> CallRecord:
    """The record that a row was made of, without its metadata."""
    exact = json.loads(row["exact"] or "{}")
    usage = _usage(row, exact)
    rates = _rates(row)
    parts = {name: Decimal(exact[name]) for name in _PARTS if name in exact}
    standard = _amount(row, "standard", exact)
    cost = Cost(
        model=row["cost_model"],
        lane=row["cost_lane"],
        basis=row["basis"],
        reason=row["reason"],
        priced_as=row["priced_as"],
        rates=rates,
        standard=standard,
        **(parts or _parts_of(rates, usage)),
    )
    return CallRecord(
        call_id=row["call_id"],
        at=moment(row["at_us"]),
        framework=row["framework"],
        model=row["model"],
        served_model=row["served_model"],
        lane=row["lane"],
        first_lane=row["first_lane"],
        answered=bool(row["answered"]),
        usage=usage,
        cost=cost,
        premium=_amount(row, "premium", exact),
        possibly_billed=_amount(row, "possibly_billed", exact),
        fallback=row["fallback"],
        attempts=tuple(map(Attempt.from_dict, json.loads(row["attempts"] or "[]"))),
        waited=row["waited"],
        elapsed=row["elapsed"],
        error=row["error"],
        run_id=row["run_id"],
        parent_run_id=row["parent_run_id"],
        tags=tags_of(row["tags"]),
    )


def tags_of(column: str | None) -> tuple[str, ...]:
    """The tags that the column holds."""
    return () if column is None else tuple(json.loads(column))


def amount_left_out(row: RowMapping, exact: Mapping[str, str], name: str) -> Decimal | None:
    """The amount that the columns show as 0 because they cannot hold it; None: it is unknown."""
    if row[f"{name}_nano"] is None:
        return None
    return Decimal(exact.get(name, 0))


def _text(value: str | None) -> str | None:
    """Text that every database takes: what has no place in UTF-8, or in PostgreSQL, is escaped."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _tags(tags: Iterable[str]) -> str | None:
    encoded = [_text(tag) for tag in tags]
    return json.dumps(encoded, ensure_ascii=False, separators=(",", ":")) if encoded else None


def _put_tokens(row: Row, usage: Usage | None, exact: dict[str, str]) -> None:
    for name in TOKENS:
        count = None if usage is None else getattr(usage, name)
        if count is not None and not countable(count):
            exact[name] = str(count)
            count = 0
        row[name] = count


def _usage(row: RowMapping, exact: Mapping[str, str]) -> Usage | None:
    if row["input_tokens"] is None:
        return None
    return Usage(**{name: int(exact.get(name, row[name])) for name in TOKENS})


def _amounts(record: CallRecord) -> dict[str, Decimal | None]:
    values = (
        record.cost.total,
        record.cost.standard,
        record.premium,
        record.possibly_billed,
    )
    return dict(zip(AMOUNTS, values, strict=True))


def _put_amount(row: Row, name: str, value: Decimal | None, exact: dict[str, str]) -> None:
    nano, atto = f"{name}_nano", f"{name}_atto"
    if value is None:
        row[nano] = row[atto] = None
        return
    held = columns(value)
    if held is None:
        exact[name] = plain_digits(value)
        held = (0, 0)
    row[nano], row[atto] = held


def _amount(row: RowMapping, name: str, exact: Mapping[str, str]) -> Decimal | None:
    if row[f"{name}_nano"] is None:
        return None
    if name in exact:
        return Decimal(exact[name])
    return amount(row[f"{name}_nano"], row[f"{name}_atto"])


def _rates(row: RowMapping) -> Rates | None:
    if row["rate_input"] is None:
        return None
    return Rates(**{name: Decimal(row[f"rate_{name}"]) for name in RATES})


def _parts(cost: Cost) -> dict[str, Decimal]:
    """The parts that are known."""
    parts = {name: getattr(cost, name) for name in _PARTS}
    return {name: part for name, part in parts.items() if part is not None}


def _parts_of(rates: Rates | None, usage: Usage | None) -> dict[str, Decimal]:
    """The parts that rates and tokens make, as a price book works them out."""
    if rates is None or usage is None:
        return {}
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    return {
        "input": dollars(rates.input, plain),
        "cached_input": dollars(rates.cached_input, usage.cached_input_tokens),
        "cache_write": dollars(rates.cache_write, usage.cache_write_tokens),
        "output": dollars(rates.output, usage.output_tokens),
    }


def _attempts(attempts: Iterable[Attempt]) -> str | None:
    encoded = [_attempt(attempt) for attempt in attempts]
    return (
        _text(json.dumps(encoded, ensure_ascii=False, separators=(",", ":"))) if encoded else None
    )


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """The fields of an attempt beyond an attempt's defaults."""
    encoded = attempt.to_dict()
    usual = {"status": None, "request_id": None, "possibly_billed": False, "sent": True}
    return {name: value for name, value in encoded.items() if usual.get(name, ...) != value}
