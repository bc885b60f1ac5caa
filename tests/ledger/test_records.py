"""What a ledger keeps: every number of a record exactly, in either database, and no text."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flextier import FlexOpenAI
from flextier.calls.report import Attempt
from flextier.costs import CallRecord, CostTotals, Ledger, Rates, Usage, record_calls
from flextier.ledger import LedgerError, LedgerWarning
from flextier.ledger.rows import LARGEST_AMOUNT, amount_of, pico, record_of_row, row_of
from flextier.ledger.schema import calls
from tests.costs.records import NOON, records
from tests.ledger.calls import WHOLE, call, costing, ids


def test_a_record_comes_back_as_it_was(url: str) -> None:
    """Every field, in SQLite and in PostgreSQL."""
    with Ledger(url) as ledger:
        ledger.add(WHOLE)
        assert list(ledger.records()) == [WHOLE]


def test_metadata_stays_out(url: str) -> None:
    """It is the caller's, and may hold text."""
    with Ledger(url) as ledger:
        ledger.add(replace(WHOLE, metadata={"question": "why?"}))
        assert list(ledger.records()) == [WHOLE]


def test_no_text_is_kept(file: Path, flextier_sim: Any) -> None:
    """What was asked and answered is in none of the ledger's files, byte by byte."""
    client = FlexOpenAI(base_url=flextier_sim.base_url, api_key="k")
    with Ledger(file) as ledger, record_calls(ledger.add, metadata={"asked": "MARKER"}):
        answer = client.chat.completions.create(
            model="o3", messages=[{"role": "user", "content": "MARKER"}]
        )
        assert "MARKER" in str(answer.choices[0].message.content)
        ledger.flush()
        kept = b"".join(path.read_bytes() for path in file.parent.iterdir())
        assert [record.model for record in ledger.records()] == ["o3"]
    assert answer.id.encode() not in kept
    assert b"o3" in kept
    assert b"MARKER" not in kept


def test_a_call_is_kept_once(url: str) -> None:
    """A call that is recorded twice, in one batch or in two, keeps its first record."""
    first = call(tags=("first",))
    with Ledger(url) as ledger:
        ledger.add(first)
        ledger.add(replace(first, tags=("second",)))
        ledger.flush()
        ledger.add(replace(first, tags=("third",)))
        assert list(ledger.records()) == [first]
        assert ledger.lost == 0


def test_a_ledger_is_a_sink(file: Path) -> None:
    """It can be called, like what else takes records."""
    with Ledger(file) as ledger:
        ledger(WHOLE)
        assert list(ledger.records()) == [WHOLE]


def test_totals_are_those_of_the_records(url: str) -> None:
    """What SQL adds up is what CostTotals adds up, to the last digit."""
    many = [
        WHOLE,
        *(call(tags=("a",)) for _ in range(20)),
        call(answered=False, usage=None, error="APITimeoutError"),
        call(lane="standard", fallback="capacity", premium=Decimal("0.000123"), tags=("a", "b")),
        call(possibly_billed=Decimal("0.5")),
        costing(None, None),
        costing(None, Decimal(1)),
        costing(Decimal(1), None),
    ]
    with Ledger(url) as ledger:
        ledger.add_all(many)
        assert ledger.totals() == CostTotals(many)
        assert Ledger(url, readonly=True).totals() == CostTotals(many)


def test_totals_of_nothing(url: str) -> None:
    """A new ledger has spent nothing."""
    with Ledger(url) as ledger:
        assert ledger.totals() == CostTotals()
        assert ledger.sums("lane") == {}
        assert list(ledger.records()) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(records(), max_size=30))
def test_any_totals_are_those_of_the_records(tmp_path: Path, made: list[CallRecord]) -> None:
    """Whatever the calls were."""
    many = [replace(record, call_id=str(number)) for number, record in enumerate(made)]
    file = tmp_path / "flextier.db"
    with Ledger(file) as ledger:
        ledger.add_all(many)
        assert ledger.totals() == CostTotals(many)
        back = {record.call_id: record for record in ledger.records()}
        assert back == {record.call_id: record for record in many}
    file.unlink()


@given(records())
def test_any_record_comes_back(record: CallRecord) -> None:
    """A record survives the way into a row and back."""
    row: Any = row_of(record)
    assert record_of_row(row) == record


@given(st.decimals(-LARGEST_AMOUNT, LARGEST_AMOUNT, places=12, allow_nan=False))
def test_a_column_holds_twelve_places(value: Decimal) -> None:
    """A rate of six decimals times any number of tokens loses no digit."""
    held = pico(value)
    assert held is not None
    assert abs(held) < 2**63
    assert amount_of(held) == value


def test_finer_amounts_are_rounded(url: str) -> None:
    """A rate of your own may have any decimals; a trillionth of a dollar is kept."""
    with Ledger(url) as ledger:
        ledger.add(costing(Decimal(1) / 3, Decimal(2) / 3))
        totals = ledger.totals()
    assert (totals.cost, totals.standard_cost) == (
        Decimal("0.333333333333"),
        Decimal("0.666666666667"),
    )


@pytest.mark.parametrize(
    "absurd",
    [
        {"usage": Usage(2**80, 10**12, 5)},
        {"premium": Decimal("123456789012345678901234567890.123")},
        {"possibly_billed": -2 * LARGEST_AMOUNT},
    ],
    ids=["tokens", "premium", "bound"],
)
def test_numbers_that_columns_cannot_hold(url: str, absurd: dict[str, Any]) -> None:
    """A server may report any number: such a call is counted as lost, with a warning."""
    good = call()
    with Ledger(url) as ledger:
        with (
            pytest.warns(LedgerWarning, match="a record is invalid"),
            pytest.raises(LedgerError, match="1 records were lost"),
        ):
            ledger.add_all([call(**absurd), good])
        assert (list(ledger.records()), ledger.lost) == ([good], 1)


def test_many_of_the_dearest_calls(file: Path) -> None:
    """Sums stay exact where a column's total is too large for a float."""
    dearest = call(premium=Decimal("8999999.999999999999"))
    with Ledger(file) as ledger:
        ledger.add(dearest)
        ledger.flush()
        listed = ", ".join(column.name for column in calls.c if column.name not in _OWN)
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute(_COPIES.format(listed=listed))
        totals = ledger.totals()
        assert totals.calls == 100_000
        assert totals.fallback_premium == Decimal("899999999999.9999999")


_OWN = {"id", "call_id"}
_COPIES = """
    WITH RECURSIVE number (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 99999)
    INSERT INTO flextier_calls (call_id, {listed})
    SELECT 'copy-' || i, {listed} FROM number, (SELECT * FROM flextier_calls LIMIT 1)
"""


def test_rates_are_kept_in_digits(file: Path) -> None:
    """A bill can be checked later, rate by rate."""
    with Ledger(file) as ledger:
        ledger.add(WHOLE)
        with ledger.reading() as connection:
            rate = connection.exec_driver_sql("SELECT rate_output FROM flextier_calls").scalar()
    rates = WHOLE.cost.rates
    assert isinstance(rates, Rates)
    assert Decimal(str(rate)) == rates.output


STRANGE = ["nul \0 byte", "half \ud83d of a pair", "ü, 語, 😀", "'; DROP TABLE flextier_calls; --"]


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_strange_names(url: str, name: str) -> None:
    """A model's name or a tag that a database does not take is escaped, not lost."""
    kept = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    with Ledger(url) as ledger:
        ledger.add(call(model=name, tags=(name,), attempts=(Attempt("flex", name, 1.0),)))
        (back,) = ledger.records(tag=kept)
    assert (back.model, back.tags, ledger.lost) == (kept, (kept,), 0)


def test_records_come_by_time(url: str) -> None:
    """Oldest first, whichever was written first, over any number of pages."""
    many = [call(at=NOON + timedelta(seconds=number * 7919 % 2500)) for number in range(2500)]
    with Ledger(url) as ledger:
        ledger.add_all(many)
        assert list(ledger.records()) == sorted(many, key=lambda record: record.at)


def test_filters(url: str) -> None:
    """By time, names, tag and run; those of totals are the same."""
    old = call(at=NOON - timedelta(days=1), model="o4-mini", lane="standard", framework="openai")
    new = call(at=NOON, framework="langchain", tags=("a", 'b"c'), run_id="r", parent_run_id="p")
    filters: list[tuple[dict[str, Any], list[CallRecord]]] = [
        ({}, [old, new]),
        ({"since": NOON}, [new]),
        ({"until": NOON}, [old]),
        ({"since": NOON.replace(tzinfo=None)}, [new]),
        ({"since": NOON.astimezone(timezone(timedelta(hours=9)))}, [new]),
        ({"model": "o4-mini"}, [old]),
        ({"lane": "flex"}, [new]),
        ({"framework": "openai"}, [old]),
        ({"tag": "a"}, [new]),
        ({"tag": 'b"c'}, [new]),
        ({"tag": "b"}, []),
        ({"run_id": "r"}, [new]),
        ({"run_id": "p"}, [new]),
        ({"tag": "a", "model": "o4-mini"}, []),
    ]
    with Ledger(url) as ledger:
        ledger.add_all([old, new])
        for which, found in filters:
            assert list(ledger.records(**which)) == found
            assert ledger.totals(**which) == CostTotals(found)


def test_sums_by_groups(url: str) -> None:
    """By hour of day, day, tag and names, alone and together."""
    late = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)
    many = [call(at=late, tags=("a", "b")), call(at=NOON, tags=("a",)), call(at=NOON, model="o1")]
    refused = (Attempt("flex", "capacity", 0.1, 429), Attempt("flex", "served", 1.0, 200))
    many[0] = replace(many[0], attempts=refused)
    with Ledger(url) as ledger:
        ledger.add_all(many)
        hours = ledger.sums("hour_of_day")
        assert {key: found.refusals for key, found in hours.items()} == {(23,): 1, (12,): 0}
        assert hours[(12,)] == CostTotals(many[1:])
        days = ledger.sums("day", "tag")
        assert {key: found.calls for key, found in days.items()} == {
            (date(2026, 10, 31), "a"): 1,
            (date(2026, 10, 31), "b"): 1,
            (date(2026, 11, 1), "a"): 1,
            (date(2026, 11, 1), None): 1,
        }
        assert set(ledger.sums("hour", "model")) == {
            (late.replace(minute=0, second=0, microsecond=0), "o3"),
            (NOON, "o3"),
            (NOON, "o1"),
        }
        assert ledger.sums() == {(): CostTotals(many)}


def test_attempts_are_readable_json(file: Path) -> None:
    """SQL of one's own finds them by name."""
    with Ledger(file) as ledger:
        ledger.add(WHOLE)
        with ledger.reading() as connection:
            attempts = connection.exec_driver_sql("SELECT attempts FROM flextier_calls").scalar()
    assert json.loads(str(attempts))[1] == {
        "lane": "flex",
        "outcome": "timeout",
        "seconds": 900.0,
        "possibly_billed": True,
    }


def test_what_is_pending_is_read_too(file: Path) -> None:
    """A question right after a call counts the call."""
    with Ledger(file, flush_every=3600) as ledger:
        record = call()
        ledger.add(record)
        assert ids(ledger.records()) == [record.call_id]
