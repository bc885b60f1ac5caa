"""Conversion of call records to rows of the ledger, and back.

Metadata is not stored: it is the caller's and may hold prompts or responses.

An amount is two integer columns: whole billionths of a dollar (``…_nano``), and the remainder in
billionths of one of these (``…_atto``, 0 or more). Sums over ten million calls fit in the 64 bits
of SQLite's integers, and rates may have twelve decimals. A number that overflows its columns,
because it is finer or larger, is 0 there and stored as text in the column ``exact``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any

from sqlalchemy import RowMapping

from flextier.calls.report import Attempt
from flextier.costs.records import CallRecord
from flextier.ledger.schema import AMOUNTS, RATES, TOKENS
from flextier.pricing.cost import PARTS, Cost, parts_of
from flextier.pricing.decimals import dollars, plain_digits, product
from flextier.pricing.rates import Rates
from flextier.pricing.usage import Usage

LARGEST_AMOUNT = Decimal(900)
"""The largest US$ amount of one call that the columns hold."""
LARGEST_COUNT = 900_000_000_000
"""The largest token count of one call that a column holds."""

_BILLION = 10**9
_ATTO = Decimal("1e-18")
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


def split_amount(amount: Decimal) -> tuple[int, int] | None:
    """The two columns of an amount. None: it overflows them."""
    if abs(amount) > LARGEST_AMOUNT:
        return None
    scaled = _CONTEXT.scaleb(amount, 18)
    units = int(scaled)
    return divmod(units, _BILLION) if units == scaled else None


def join_amount(nano: int, atto: int) -> Decimal:
    """The amount of two columns, or of their sums."""
    return product(Decimal(nano * _BILLION + atto), _ATTO)


def row_of(record: CallRecord) -> Row:
    """The record as a row.

    Raises:
        ArithmeticError, AttributeError, TypeError, ValueError: it is not a valid record.
    """
    cost = record.cost
    exact: dict[str, str] = {}
    row: Row = {
        **{name: _text(getattr(record, name)) for name in _TEXTS},
        "at_us": microseconds(record.at),
        "answered": int(record.answered),
        "basis": cost.basis,
        "refusals": record.refusals,
        "attempt_count": len(record.attempts),
        "possibly_billed_attempts": record.possibly_billed_attempts,
        "waited": float(record.waited),
        "elapsed": float(record.elapsed),
        "tags": _tags(record.tags),
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
    """The record of a row, without metadata."""
    exact = json.loads(row["exact"] or "{}")
    usage = _usage(row, exact)
    rates = _rates(row)
    parts = {name: Decimal(exact[name]) for name in PARTS if name in exact}
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
        **{name: row[name] for name in _TEXTS},
        at=utc_time(row["at_us"]),
        answered=bool(row["answered"]),
        usage=usage,
        cost=cost,
        premium=_amount(row, "premium", exact),
        possibly_billed=_amount(row, "possibly_billed", exact),
        attempts=tuple(map(Attempt.from_dict, json.loads(row["attempts"] or "[]"))),
        waited=row["waited"],
        elapsed=row["elapsed"],
        tags=tags_of(row["tags"]),
    )


def tags_of(column: str | None) -> tuple[str, ...]:
    """The tags in the column."""
    return () if column is None else tuple(json.loads(column))


def overflow_amount(row: RowMapping, exact: Mapping[str, str], name: str) -> Decimal | None:
    """The amount if it overflows its columns, 0 if not; None: it is unknown."""
    if row[f"{name}_nano"] is None:
        return None
    return Decimal(exact.get(name, 0))


def _text(value: str | None) -> str | None:
    """Text that every database accepts: surrogates and NUL are escaped."""
    if value is None or (value.isascii() and "\0" not in value):
        return value
    return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _tags(tags: Iterable[str]) -> str | None:
    return _json([_text(tag) for tag in tags])


def _json(values: list[Any]) -> str | None:
    """A JSON array; None: it is empty."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if values else None


def _put_tokens(row: Row, usage: Usage | None, exact: dict[str, str]) -> None:
    for name in TOKENS:
        count = None if usage is None else getattr(usage, name)
        if count is not None and abs(count) > LARGEST_COUNT:
            exact[name] = str(count)
            count = 0
        row[name] = count


def _usage(row: RowMapping, exact: Mapping[str, str]) -> Usage | None:
    if row["input_tokens"] is None:
        return None
    return Usage(**{name: int(exact.get(name, row[name])) for name in TOKENS})


def _amounts(record: CallRecord) -> dict[str, Decimal | None]:
    values = (record.cost.total, record.cost.standard, record.premium, record.possibly_billed)
    return dict(zip(AMOUNTS, values, strict=True))


def _put_amount(row: Row, name: str, value: Decimal | None, exact: dict[str, str]) -> None:
    nano, atto = f"{name}_nano", f"{name}_atto"
    if value is None:
        row[nano] = row[atto] = None
        return
    split = split_amount(value)
    if split is None:
        exact[name] = plain_digits(value)
        split = (0, 0)
    row[nano], row[atto] = split


def _amount(row: RowMapping, name: str, exact: Mapping[str, str]) -> Decimal | None:
    if row[f"{name}_nano"] is None:
        return None
    if name in exact:
        return Decimal(exact[name])
    return join_amount(row[f"{name}_nano"], row[f"{name}_atto"])


def _rates(row: RowMapping) -> Rates | None:
    if row["rate_input"] is None:
        return None
    return Rates(**{name: Decimal(row[f"rate_{name}"]) for name in RATES})


def _parts(cost: Cost) -> dict[str, Decimal]:
    """The known parts of a cost."""
    parts = {name: getattr(cost, name) for name in PARTS}
    return {name: part for name, part in parts.items() if part is not None}


def _parts_of(rates: Rates | None, usage: Usage | None) -> dict[str, Decimal]:
    """The parts of a cost computed from rates and tokens, as a price book does."""
    if rates is None or usage is None:
        return {}
    return {name: dollars(*part) for name, part in zip(PARTS, parts_of(rates, usage), strict=True)}


def _attempts(attempts: Iterable[Attempt]) -> str | None:
    return _text(_json([_attempt(attempt) for attempt in attempts]))


def _attempt(attempt: Attempt) -> dict[str, Any]:
    """The fields of an attempt that differ from their defaults."""
    defaults = {"status": None, "request_id": None, "possibly_billed": False, "sent": True}
    encoded = attempt.to_dict()
    return {name: value for name, value in encoded.items() if defaults.get(name, ...) != value}
