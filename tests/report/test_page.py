"""The page as HTML: complete in itself, and what it says in words."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from flextier.costs import CallRecord, CostTotals, Ledger
from flextier.report.page import page
from tests.ledger.calls import call
from tests.report.conftest import summary_of
from tests.report.records import HOSTILE, estimated, fortnight, unpriced

Keep = Callable[[Iterable[CallRecord]], Path]


class Outline(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "

    def handle_data(self, data: str) -> None:
        self.text += data

    @property
    def words(self) -> str:
        """The text with plain spaces."""
        return " ".join(self.text.split())

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def outline(file: Path, **which: str) -> Outline:
    """The page of a ledger."""
    return Outline(page(summary_of(file, **which)))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Outline:
    """The page of a fortnight, drawn once: that takes a second."""
    file = tmp_path_factory.mktemp("page") / "flextier.db"
    with Ledger(file) as ledger:
        ledger.add_all(fortnight())
    return outline(file)


def test_it_needs_nothing_else(shown: Outline) -> None:
    """No script, no picture, no style sheet of another file, and a policy that forbids them."""
    assert not shown.tags() & {"script", "img", "link", "iframe", "object", "embed", "base", "form"}
    policy = next(
        attributes["content"]
        for _, attributes in shown.elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert "default-src 'none'" in policy
    for _, attributes in shown.elements:
        assert not {"src", "href", "xlink:href", "style"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in shown.text


def test_it_shows_the_sums(shown: Outline) -> None:
    """What was saved, spent, and would have been paid; how many calls fell back, and for what."""
    said = shown.words
    totals = CostTotals(fortnight())

    assert f"Saved ${totals.saved:.2f}" in said
    assert f"Spent ${totals.cost:.2f}" in said
    assert f"Standard price ${totals.standard_cost:.2f}" in said
    assert f"Fell back {totals.fallback_calls} ${totals.fallback_premium:.2f} dearer" in said
    assert "most at 15, 16 and 17 o'clock" in said


def test_names_are_escaped(keep: Keep) -> None:
    """A model, a tag, a lane or a reason that looks like markup is text, wherever it is shown."""
    file = keep(
        replace(record, lane=HOSTILE, fallback=HOSTILE) if number % 3 else record
        for number, record in enumerate(fortnight(model=HOSTILE, tag=HOSTILE))
    )
    shown = outline(file)

    assert not shown.tags() & {"img", "script"}
    assert shown.words.count("</script></title><img src=x onerror=") > 20
    assert sum(tag == "title" for tag, _ in shown.elements) > 1  # tips of the charts are titles


def test_no_calls(keep: Keep) -> None:
    """A page that says so, without charts."""
    shown = outline(keep(()))
    assert "No calls on record" in shown.words
    assert "svg" not in shown.tags()


@pytest.mark.parametrize(
    "record",
    [
        call(),
        unpriced(),
        call(answered=False, usage=None, error="BadRequestError", fallback=None),
        call(lane="standard", first_lane="standard"),
        call(fallback="lane_unsupported", lane="standard", premium=None),
    ],
    ids=["plain", "unpriced", "failed", "standard", "without-premium"],
)
def test_one_call(record: CallRecord, keep: Keep) -> None:
    """A single call of any kind makes a whole page."""
    shown = outline(keep([record]))
    assert "Slowest calls" in shown.words
    assert "svg" in shown.tags()


def test_what_is_not_exact_is_marked(keep: Keep) -> None:
    """Unpriced and estimated calls are counted beside the amounts that they make inexact."""
    said = outline(keep([unpriced(id="a"), unpriced(id="b"), estimated()])).words
    assert "2 calls without a known price" in said
    assert "house-model 2 0 0 0 2,000 0 200 0 unpriced unpriced unpriced" in said
    assert "1 call priced by an estimate: a rule (1)." in said
    assert "(1 estimated)" in said
    assert "$0.25 estimated" in said


def test_a_broken_off_session_is_named(keep: Keep) -> None:
    """Sessions that may lack records are on the page, escaped."""
    file = keep(fortnight())
    connection = sqlite3.connect(file)
    connection.execute(
        "INSERT INTO flextier_sessions VALUES ('x', '<b>host</b>', 4711, ?, ?, NULL, 3, 2)",
        (1_762_000_000_000_000, 1_762_000_001_000_000),
    )
    connection.commit()
    connection.close()

    shown = outline(file)

    assert "Process 4711 on <b>host</b> ended without closing the ledger" in shown.words
    assert "lost 2 records" in shown.words
    assert "b" not in shown.tags()


def test_many_tags_do_not_make_a_long_page(keep: Keep) -> None:
    """Fifty groups are shown, and it is said how many there are more."""
    shown = outline(keep(call(tags=(f"run-{number}",)) for number in range(60)))
    assert "And 10 more: flextier report --by tag --format csv" in shown.words


@pytest.mark.parametrize("by", ["model", "lane", "tag", "day"])
def test_by_opens_a_table(by: str, keep: Keep) -> None:
    """The table that --by names is open; the others are closed."""
    html = page(summary_of(keep(fortnight())), by)
    assert re.findall(r"<details open>\s*<summary>By (\w+)</summary>", html) == [by]


def test_ids_are_unique(shown: Outline) -> None:
    """No two elements have one name, so that what refers to one finds it."""
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
