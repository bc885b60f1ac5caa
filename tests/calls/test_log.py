"""The log: what is written of one call and of many, how often, and what is never in it."""

from __future__ import annotations

import logging
import re
import threading
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from flextier import FlexOpenAI
from flextier.calls import log
from flextier.planning import without_flex
from flextier.rehearsal import Trace, rehearse
from flextier.routing import call as routing_call
from flextier.sim import Simulator, Weather
from flextier.sim.behavior.weather import Weather as TraceWeather
from tests.background.asking import MODEL
from tests.log_examples import EXAMPLES, PAGE, lines_of, logged, written

OUTAGE = TraceWeather(outages=((0, 60),))
SECRET = "sk-never-in-a-log"


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        yield
        return
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", ["one", pytest.param("many", marks=pytest.mark.exhaustive)])
def test_the_page_has_the_log_as_it_is(name: str) -> None:
    """If this fails: python -m tests.log_examples."""
    page = PAGE.read_text(encoding="utf-8")
    assert written(page, name, EXAMPLES[name]()) == page


def _seconds(line: str) -> int:
    hours, minutes, seconds = line[1:9].split(":")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds)


def test_a_deadline_that_leaves_flex_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fallback says why, in the words of the report."""
    monkeypatch.setattr(without_flex, "_warned_of_deadline", True)
    [line] = lines_of(1, TraceWeather(), deadline=30)
    why = "the deadline leaves too little time for flex"
    assert f"answered on standard instead of flex after 3.0 s ({why}), $" in line


def test_the_first_wait_is_written_soon() -> None:
    """Also where each wait is short: what counts is what the call has waited in all."""
    lines = lines_of(1, OUTAGE, patience=40)
    assert _seconds(next(line for line in lines if " waiting, " in line)) <= _seconds(lines[0]) + 2


def test_many_calls_write_a_line_every_few_seconds() -> None:
    """Of each kind of event four at most in five seconds, and of waits one."""
    lines = lines_of(500, OUTAGE, patience=40)
    waits = [_seconds(line) for line in lines if " waiting, " in line]
    assert len(waits) > 5
    assert all(later - sooner >= 4 for sooner, later in pairwise(waits))
    for kind in ("attempt", "not admitted", "answered", "more"):
        at = [_seconds(line) for line in lines if f"o4-mini: {kind}" in line or f" {kind} " in line]
        assert all(last - first >= 4 for first, last in zip(at, at[4:], strict=False)), kind
    assert "500 calls waiting" in "".join(lines)


def test_no_event_is_lost() -> None:
    """Lines of one call and lines of several amount to all calls, and to their extra cost."""
    text = "\n".join(lines_of(200, OUTAGE, patience=20))
    single = text.count(" answered on standard instead of flex")
    more, extra = re.search(
        r"(\d+) more calls fell back \(capacity\), \$([\d.]+) more", text
    ).groups()  # type: ignore[union-attr]
    assert single + int(more) == 200
    assert float(extra) == pytest.approx(int(more) * 0.00154, rel=0.02)


def test_a_loop_of_calls_is_limited_too() -> None:
    """Calls one after the other, which all fall back, write four lines in five seconds."""
    weather = TraceWeather(outages=((0, 9e9),), standard_latency=0.01)
    lines = lines_of(100, weather, one_by_one=True, patience=0)
    assert len([line for line in lines if " instead of " in line or " fell back " in line]) < 6


def test_rehearsals_write_nothing() -> None:
    """Their calls are not real."""
    with logged(time.time) as lines:
        rehearse(Trace(weather=OUTAGE, jobs=3, deadline=30))
    assert lines == []


def test_switched_off_it_is_not_even_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call asks the logger once."""
    monkeypatch.setattr(routing_call, "CallLog", None)
    assert lines_of(1, OUTAGE, level=logging.WARNING, patience=5) == []


@pytest.mark.parametrize("level", [logging.INFO, logging.DEBUG])
def test_nothing_secret_is_written(level: int, flextier_sim: Simulator) -> None:
    """No prompt, response, key or header, and no user info of an address."""
    flextier_sim.weather = Weather(outages=((0, 1),))
    url = flextier_sim.base_url.replace("://", "://user:password@")
    client = FlexOpenAI(base_url=url, api_key=SECRET, policy={"patience": 0, "max_retries": 0})
    with logged(time.time, level) as lines:
        done = client.chat.completions.create(
            model="o4-mini",
            messages=[{"role": "user", "content": "the prompt"}],
            extra_headers={"x-mine": "the header"},
        )
    text = "\n".join(lines)
    assert "answered on standard instead of flex" in text
    assert ("attempt 1 on " in text) == (level == logging.DEBUG)
    answer = done.choices[0].message.content or "?"
    for secret in (SECRET, "the prompt", "the header", "password", answer):
        assert secret not in text


@pytest.mark.parametrize("lane", ["batch", "background-2h"])
def test_deferred_lanes(lane: str, flextier_sim: Simulator) -> None:
    """Each request's submission, a poll, and its end are in the log, by id."""
    policy: Any = {
        "lanes": (lane,), "batch_window": 0.05, "batch_poll_interval": 0.1,
        "background_poll_interval": 0.1,
    }  # fmt: skip
    client = FlexOpenAI(base_url=flextier_sim.base_url, api_key="x", policy=policy)
    with logged(time.time) as lines:
        client.responses.create(model="o4-mini" if lane == "batch" else MODEL, input="Hi.")
        for thread in threading.enumerate():  # a batch is collected after its calls are answered
            if thread.name.startswith("flextier-batch"):
                thread.join()
    text = "\n".join(lines)
    if lane == "batch":
        assert re.search(r"batch batch_\w+ submitted: validating, 1 line, \d+ bytes", text)
        assert re.search(r"batch batch_\w+ is .*, next poll in \d", text)
        assert re.search(r"batch batch_\w+ collected: completed, 1 of 1 line done$", text, re.M)
    else:
        assert re.search(r"background response resp_\w+ created on background-2h", text)
        assert re.search(r"background response resp_\w+ is \w+, next poll in \d", text)
        assert re.search(r"background response resp_\w+ is completed", text)


@pytest.mark.parametrize(
    ("value", "level"), [("info", logging.INFO), ("DEBUG", logging.DEBUG), ("", logging.NOTSET)]
)
def test_the_variable(value: str, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sets the level, as OPENAI_LOG does; without it nothing is changed."""
    monkeypatch.setenv("FLEXTIER_LOG", value)
    before = log.LOG.level
    try:
        log.set_up()
        assert log.LOG.level == level
    finally:
        log.LOG.setLevel(before)


def test_a_wrong_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warned about, and without effect."""
    monkeypatch.setenv("FLEXTIER_LOG", "loud")
    with pytest.warns(UserWarning, match="FLEXTIER_LOG='loud' has no effect: must be info or"):
        log.set_up()
    with warnings.catch_warnings():
        monkeypatch.delenv("FLEXTIER_LOG")
        log.set_up()
