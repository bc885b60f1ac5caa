"""Totals: they are the sum of the records in any order, and print as a small table."""

from __future__ import annotations

import copy
import json
import pickle
import random
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.calls.report import Attempt, CallReport
from flextier.costs import CallRecord, CostTotals, PriceBook, record_of, set_price_book
from tests.costs.records import TAGS, records, report, reports

SERVED = Attempt("standard", "served", 2.0, 200)
REFUSED = Attempt("flex", "capacity", 0.1, 429)


@given(st.lists(records(), max_size=12), st.randoms(use_true_random=False))
def test_totals_are_their_parts(made: list[CallRecord], chance: random.Random) -> None:
    """Each figure is the sum over the records, in any order, in any split."""
    whole = CostTotals(made)
    assert whole.calls + whole.failed_calls == len(made)
    assert whole.cost == sum((r.cost.total or 0 for r in made), Decimal(0))
    assert whole.saved == sum((r.cost.saved or 0 for r in made), Decimal(0))
    assert whole.fallback_premium == sum((r.premium or 0 for r in made), Decimal(0))
    assert whole.possibly_billed == sum((r.possibly_billed or 0 for r in made), Decimal(0))
    assert whole.input_tokens == sum(r.usage.input_tokens for r in made if r.usage)
    assert whole.refusals == sum(r.refusals for r in made)
    for group in (whole.by_lane, whole.by_model):
        assert sum(sums.calls for sums in group.values()) == whole.calls
        assert sum((sums.cost for sums in group.values()), Decimal(0)) == whole.cost
    cut = chance.randint(0, len(made))
    mixed = chance.sample(made, len(made))
    assert CostTotals(mixed[:cut]) + CostTotals(mixed[cut:]) == whole


@given(st.lists(st.tuples(reports(), TAGS), max_size=8))
def test_a_report_counts_as_its_record(made: list[tuple[CallReport, set[str]]]) -> None:
    """To the digits that are shown."""
    by_reports = CostTotals()
    for one, tags in made:
        by_reports.add_report(one, tags)
    by_records = CostTotals(record_of(one, tags=tags) for one, tags in made)
    assert by_reports.to_dict() == by_records.to_dict()
    assert str(by_reports.cost) == str(by_records.cost)


def test_a_report_is_priced_by_the_book_of_its_time() -> None:
    """Also where no figure was read before the book was changed."""
    totals, one = CostTotals(), report()
    totals.add_report(one)
    cost = one.cost.total
    before = set_price_book(PriceBook(rates={"o3": {"flex": {"input": "70", "output": "80"}}}))
    try:
        assert totals.cost == cost != one.cost.total
    finally:
        set_price_book(before)


@pytest.mark.parametrize("read", ["calls", "cost", "by_model", "by_tag", "to_dict", "copy"])
def test_every_reader_has_all_calls(read: str) -> None:
    """However many have been reported since the last one."""
    for calls in (1, 49, 50, 120):
        totals = CostTotals()
        for _ in range(calls):
            totals.add_report(report(), ["a"])
        found = getattr(totals, read)
        match read:
            case "calls":
                assert found == calls
            case "cost":
                assert found == calls * (report().cost.total or 0)
            case "by_model" | "by_tag":
                assert next(iter(found.values())).calls == calls
            case _:
                assert (
                    found() == getattr(CostTotals([record_of(report(), tags="a")] * calls), read)()
                )


def test_a_tag_has_its_calls() -> None:
    """A call with two tags is in both, once each."""
    totals = CostTotals([record_of(report(), tags=("a", "b", "a")), record_of(report())])
    assert {tag: sums.calls for tag, sums in totals.by_tag.items()} == {"a": 1, "b": 1}


def test_unpriced_is_not_zero() -> None:
    """A call without a price is counted as such, and is in no amount."""
    totals = CostTotals([record_of(report(model="in-house", served_model=None))])
    assert (totals.calls, totals.unpriced_calls, totals.cost) == (1, 1, 0)
    assert "1 call without a known price" in str(totals)
    assert str(totals).splitlines()[1].split()[9:] == ["unpriced"] * 3


def test_an_unknown_bound_is_not_zero() -> None:
    """Of a call without an answer the input is unknown, and so is what its attempts may cost."""
    stalled = Attempt("flex", "timeout", 900.0)
    totals = CostTotals([record_of(report(stalled, usage=None))])
    assert totals.possibly_billed_attempts == 1
    assert "may have been billed: no bound is known" in str(totals)
    assert "at most" not in str(totals)


def test_failed_calls_are_counted_apart() -> None:
    """They are no calls with an answer, and not unpriced."""
    failed = record_of(report(Attempt("flex", "rejected", 0.1, 400), usage=None, error="Error"))
    totals = CostTotals([failed, record_of(report())])
    assert (totals.calls, totals.failed_calls, totals.unpriced_calls) == (1, 1, 0)
    assert str(totals).splitlines()[-1].split()[:3] == ["all", "1", "1"]


def test_many_threads_add() -> None:
    """No call is lost or counted twice."""
    totals, record = CostTotals(), record_of(report(REFUSED, SERVED), tags=("t",))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(totals.add, [record] * 800))
    assert totals == CostTotals([record] * 800)
    assert totals.refusals == 800


def test_a_copy_stays() -> None:
    """Totals are live; a copy is of its moment."""
    totals = CostTotals([record_of(report())])
    copy = totals.copy()
    totals.add(record_of(report()))
    assert (copy.calls, totals.calls, totals.by_lane["flex"].calls) == (1, 2, 2)


def test_totals_as_json() -> None:
    """Money is strings of US$ in plain digits."""
    as_dict = json.loads(json.dumps(CostTotals([record_of(report())] * 3).to_dict()))
    assert as_dict["cost"] == "0.0042"
    assert as_dict["by_lane"]["flex"]["saved"] == "0.0042"


def test_the_table() -> None:
    """One row a lane, a model, a tag where there are several, and one for all."""
    totals = CostTotals(
        [
            record_of(report(), tags=("nightly",)),
            record_of(report(REFUSED, SERVED, lane="standard", fallback="capacity")),
        ]
    )
    rows = [line.split()[0] for line in str(totals).splitlines()[1:5]]
    assert rows == ["flex", "standard", "nightly", "all"]
    assert "Falling back cost $0.0014" in str(totals)


def test_notebooks_show_a_table_that_is_escaped() -> None:
    """Tags and models are names from outside."""
    html = CostTotals([record_of(report(), tags=("<b>&",))])._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert html.startswith("<table")


def test_totals_add_to_totals_only() -> None:
    """Anything else is a TypeError, not a wrong sum."""
    with pytest.raises(TypeError):
        CostTotals() + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        1 + CostTotals()


def test_the_sum_of_totals() -> None:
    """``sum()`` adds any number of totals, and changes none of them."""
    parts = [CostTotals([record_of(report(), tags=(name,))]) for name in "abc"]
    total = sum(parts)
    assert total == parts[0] + parts[1] + parts[2]
    assert sum(parts[:1]) == parts[0]
    assert sum(parts[:1]) is not parts[0]
    assert [part.calls for part in parts] == [1, 1, 1]


def test_totals_travel() -> None:
    """From a process of a pool to another, or as a deep copy: equal, and apart."""
    totals = CostTotals([record_of(report(), tags=("t",))])
    for other in (pickle.loads(pickle.dumps(totals)), copy.deepcopy(totals)):
        assert other == totals
        other.add(record_of(report()))
        assert (other.calls, totals.calls) == (2, 1)
