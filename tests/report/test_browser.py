"""The page in a real browser: drawn, quiet, readable, and usable without a mouse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flextier.ledger import Ledger
from flextier.report.page import page
from tests.report.browser import Browser
from tests.report.conftest import summary_of
from tests.report.records import HOSTILE, fortnight, unpriced

CHARTS = ["spending", "saved", "lanes", "refusals", "waits", "premium"]

_CONTRASTS = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = text => {
    const [r, g, b] = parse(text).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (parse(colour)[3] !== 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  for (const element of document.querySelectorAll('h1,h2,p,dt,dd,th,td,li,summary,svg text')) {
    if (!element.checkVisibility() || !element.textContent.trim()) continue;
    const svg = element.closest('svg');
    const style = getComputedStyle(element);
    const cell = svg && svg.closest('#refusals') && /^<?\\d+$/.test(element.textContent)
      && element.getAttribute('font-size') === '11px';
    if (cell) continue;
    found.push([element.textContent.slice(0, 30),
      ratio(svg ? style.fill : style.color, behind(svg || element))]);
  }
  const style = getComputedStyle(document.documentElement);
  const probe = document.createElement('i');
  document.body.append(probe);
  const rgb = name => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  for (let n = 0; n < 5; n++)
    found.push([`heat ${n}`, ratio(rgb(`--heat-${n}`), rgb(`--heat-ink-${n}`))]);
  probe.remove();
  return found;
})()
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two weeks, with some names that are no plain words."""
    folder = tmp_path_factory.mktemp("report")
    with Ledger(folder / "ledger.db") as ledger:
        ledger.add_all(fortnight(tag=HOSTILE))
        ledger.add_all([unpriced(id="unpriced", at=next(fortnight()).at.timestamp())])
    shown = folder / "report.html"
    shown.write_text(page(summary_of(folder / "ledger.db")), encoding="utf-8")
    return shown


def boxes(browser: Browser) -> list[dict[str, Any]]:
    """The charts that are shown."""
    rows: list[dict[str, Any]] = browser.ask(
        "[...document.querySelectorAll('svg')].filter(one => one.checkVisibility()).map(one => {"
        " const box = one.getBoundingClientRect();"
        " const marks = one.querySelectorAll('path,rect').length;"
        " return {name: one.closest('section').id, width: box.width, height: box.height, marks}})"
    )
    return rows


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 375, 768, 1280])
def test_it_is_drawn_quietly(browser: Browser, report: Path, width: int, dark: bool) -> None:
    """Every chart once, of some size; no request, no error; nothing wider than the window."""
    browser.open(report, width=width, dark=dark)

    shown = boxes(browser)
    assert [box["name"] for box in shown] == CHARTS
    for box in shown:
        assert min(width, 700) * 0.5 < box["width"] <= width
        assert box["height"] > 30
        assert box["marks"] > 1
    root = "document.documentElement"
    assert browser.ask(f"{root}.scrollWidth") <= browser.ask(f"{root}.clientWidth") <= width
    assert browser.requests == []
    assert browser.trouble == []
    assert browser.ask("document.title").startswith("What flex saved")


def test_what_is_drawn_stays_inside(browser: Browser, report: Path) -> None:
    """No label of a chart is cut off at its edge."""
    for width in (375, 1280):
        browser.open(report, width=width)
        cut = browser.ask(
            "[...document.querySelectorAll('svg text')].filter(one => {"
            " if (!one.checkVisibility() || one.getAttribute('opacity') === '0') return false;"
            " const box = one.getBoundingClientRect(),"
            "   whole = one.closest('svg').getBoundingClientRect();"
            " return box.left < whole.left - 1 || box.right > whole.right + 1"
            "   || box.top < whole.top - 2 || box.bottom > whole.bottom + 2;"
            "}).map(one => one.closest('section').id + ': ' + one.textContent)"
        )
        assert cut == []


def test_dark_and_light(browser: Browser, report: Path) -> None:
    """The page and its charts follow the system's colours."""
    seen = {}
    for dark in (False, True):
        browser.open(report, dark=dark)
        seen[dark] = browser.ask(
            "[getComputedStyle(document.body).backgroundColor,"
            " getComputedStyle(document.querySelector('#spending svg text')).fill,"
            " getComputedStyle(document.querySelector('#lanes svg [fill^=var]')).fill]"
        )
    assert all(one != other for one, other in zip(seen[False], seen[True], strict=True))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(browser: Browser, report: Path, dark: bool) -> None:
    """Text has the contrast that WCAG AA asks for, in charts and cells, too."""
    browser.open(report, dark=dark)
    found = browser.ask(_CONTRASTS)
    assert len(found) > 100
    assert [one for one in found if one[1] < 4.5] == []


def test_a_screen_reader_can_follow(browser: Browser, report: Path) -> None:
    """A language, one first heading, none left out, named charts and tables, whole headers."""
    browser.open(report)

    assert browser.ask("document.documentElement.lang") == "en"
    levels = browser.ask("[...document.querySelectorAll('h1,h2,h3')].map(one => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert set(levels) == {1, 2}
    names = browser.ask(
        "[...document.querySelectorAll('[aria-labelledby]')].map(one =>"
        " one.getAttribute('aria-labelledby').split(' ').map(id =>"
        "  document.getElementById(id)?.textContent.trim() || '').join('|'))"
    )
    assert len(names) > 18
    assert all(part for name in names for part in name.split("|"))
    assert browser.ask("document.querySelectorAll('svg:not([role=img])').length") == 0
    assert browser.ask("document.querySelectorAll('[role=region]:not([aria-label])').length") == 0
    headers = browser.ask("[...document.querySelectorAll('th')].map(one => one.textContent)")
    assert "" not in headers
    assert browser.ask("document.querySelectorAll('th:not([scope])').length") == 0
    assert browser.ask("document.querySelectorAll('main').length") == 1


def test_the_numbers_open_by_keyboard(browser: Browser, report: Path) -> None:
    """Tab goes down the page in reading order; Enter opens a chart's numbers."""
    browser.open(report)
    places = []
    for _ in range(6):
        browser.press("Tab", 9)
        places.append(browser.ask("document.activeElement.closest('section').id"))
        assert browser.ask("document.activeElement.tagName") == "SUMMARY"
    assert places == CHARTS

    browser.press("Enter", 13)

    assert browser.ask("document.querySelector('#premium details').open")
    browser.press("Tab", 9)
    assert browser.ask("document.activeElement.getAttribute('role')") == "region"


def test_hostile_names_are_only_text(browser: Browser, report: Path) -> None:
    """Markup in a tag is shown as it was written, and nothing of it runs."""
    browser.open(report)
    assert browser.ask("document.querySelectorAll('img, script').length") == 0
    assert "onerror=" in browser.ask("document.querySelector('#breakdowns').textContent")
    assert browser.ask("document.title").startswith("What flex saved")
    assert browser.trouble == []


def test_a_policy_forbids_the_network(browser: Browser, report: Path) -> None:
    """Even an injected script could make no request."""
    browser.open(report)
    browser.ask(
        "new Promise(done => { const one = new Image(); one.onerror = () => done();"
        " one.src = 'https://example.invalid/x.png'; })"
    )
    assert any("Content Security Policy" in str(entry) for entry in browser.trouble)


def test_a_picture_of_it(browser: Browser, report: Path, tmp_path: Path) -> None:
    """The browser paints more than an empty page."""
    browser.open(report)
    picture = browser.screenshot()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000
