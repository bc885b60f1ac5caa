"""A call's record: what it cost, what falling back cost, what may have been billed besides."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from flextier.calls.report import Attempt
from flextier.costs import PriceBook, Usage, record_of, set_price_book
from tests.costs.records import NOON, report

MILLION = 1_000_000
SERVED = Attempt("standard", "served", 2.0, 200)
REFUSED = Attempt("flex", "capacity", 0.1, 429)
STALLED = Attempt("flex", "timeout", 900.0)
USAGE = Usage(1_000, 100)

# US$ per million tokens, o3, as published: standard 2 and 8, flex 1 and 4.
FLEX = (Decimal(1) * 1_000 + Decimal(4) * 100) / MILLION
STANDARD = (Decimal(2) * 1_000 + Decimal(8) * 100) / MILLION


def test_what_a_call_cost() -> None:
    """The tokens at the rates of the lane that was billed, next to the standard ones."""
    record = record_of(report())
    assert (record.cost.total, record.cost.standard) == (FLEX, STANDARD)
    assert (record.premium, record.possibly_billed, record.answered) == (None, None, True)
    assert record.at == NOON


def test_a_fallback_has_a_premium() -> None:
    """What the answer cost above the lane that the call was meant for."""
    record = record_of(report(REFUSED, SERVED, lane="standard", fallback="capacity"))
    assert record.cost.total == STANDARD
    assert record.premium == STANDARD - FLEX
    assert record.refusals == 1


def test_a_downgrade_has_a_premium() -> None:
    """So has a call that the server itself served on another tier."""
    record = record_of(report(SERVED, lane="standard", fallback="downgraded"))
    assert record.premium == STANDARD - FLEX


def test_a_model_without_the_lane_has_no_premium() -> None:
    """It could not have been answered there, so nothing was lost."""
    record = record_of(
        report(SERVED, model="gpt-4.1", served_model=None, lane="standard",
               fallback="lane_unsupported")
    )  # fmt: skip
    assert record.premium is None
    assert record.cost.basis == "exact"


@pytest.mark.parametrize(
    ("limit", "written"), [(None, 100), (50, 100), (4_000, 4_000)], ids=["none", "low", "high"]
)
def test_a_stall_is_bounded(limit: int | None, written: int) -> None:
    """The whole input uncached, and as much output as the call allowed or the answer had."""
    record = record_of(
        report(STALLED, SERVED, lane="standard", fallback="timeout", output_limit=limit,
               usage=Usage(1_000, 100, cached_input_tokens=900))
    )  # fmt: skip
    assert record.possibly_billed == (Decimal(1) * 1_000 + Decimal(4) * written) / MILLION
    assert record.possibly_billed_attempts == 1


def test_without_an_answer_the_bound_is_not_known() -> None:
    """A failed call has no usage: its attempts are counted, and no amounts."""
    record = record_of(report(STALLED, STALLED, usage=None, error="APITimeoutError"))
    assert (record.answered, record.error) == (False, "APITimeoutError")
    assert (record.possibly_billed_attempts, record.possibly_billed) == (2, None)
    assert record.cost.basis == "unpriced"


def test_a_price_may_be_listed_under_either_name() -> None:
    """The answer's own name is looked up first, then the one that was asked for."""
    assert record_of(report(served_model="o3-by-the-gateway")).cost.total == FLEX
    assert record_of(report(model="my-o3", served_model="o3")).cost.total == FLEX


def test_a_strange_usage_breaks_nothing() -> None:
    """Tokens that cannot be, or a day before the model, make a call unpriced, with the reason."""
    negative = record_of(report(usage=Usage(-1, 0)))
    early = record_of(report(at=0.0))
    assert "input_tokens=-1" in str(negative.cost.reason)
    assert "no price" in str(early.cost.reason)
    assert {negative.cost.basis, early.cost.basis} == {"unpriced"}


def test_a_record_is_plain_json() -> None:
    """Times as ISO, money as strings: nothing is rounded on the way."""
    record = json.loads(
        json.dumps(record_of(report(REFUSED, SERVED, lane="standard", fallback="capacity"),
                             tags=("nightly",), metadata={"job": 7}).to_dict())
    )  # fmt: skip
    assert Decimal(record["cost"]["total"]) == STANDARD
    assert Decimal(record["premium"]) == STANDARD - FLEX
    assert record["at"] == "2026-11-01T12:00:00+00:00"
    assert (record["tags"], record["metadata"]) == (["nightly"], {"job": 7})


@pytest.mark.parametrize(
    ("asked", "served", "rate"),
    [
        ("o3", "o3", 7),
        ("o3", "o3-2025-04-16", 7),
        ("o3", None, 7),
        ("corp-o3", "o3-2025-04-16", 1),
        ("corp-o3", "corp-o3", 1),
        ("plain-o3", "o3-2025-04-16", 7),
        ("o4-mini", "corp-o3", 1),
    ],
)
def test_names_and_rates_of_your_own_come_first(asked: str, served: str | None, rate: int) -> None:
    """Your own aliases and rates apply to the requested and to the served model name."""
    own = {"corp-o3": {"input": "1", "output": "1"}, "o3": {"input": "7", "output": "7"}}
    set_price_book(PriceBook(aliases={"corp-o3": "o3", "plain-o3": "o3"}, rates=own))
    record = report(SERVED, lane="standard", model=asked, served_model=served)
    assert record_of(record).cost.total == Decimal(rate) * 1_100 / MILLION
