"""The account of every paid line: how often, on which lanes, and what was lost on the way."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from hashlib import sha256
from typing import Any

import openai
import pytest

from flextier.sim import BatchOutcome, Fault, Simulator
from flextier.sim.base.paid_lines import PaidLines, digest

from .batches import CHAT, EMBEDDINGS, RESPONSES, account, body, line, lines
from .callers import SOON, eventually, raw


def call(sim: Simulator, path: str = CHAT, **more: Any) -> None:
    """A direct call, whatever comes of it."""
    with suppress(ConnectionError):
        raw(sim.url, "POST", path, body(path, **more))


def test_a_line_is_the_same_on_every_lane() -> None:
    """Tier and streaming are not the work; endpoint, model and prompt are."""
    known = digest(CHAT, body())
    assert known == digest(CHAT, dict(reversed(body(service_tier="flex").items())))
    assert known == digest(CHAT, body(stream=True, stream_options={"include_usage": True}))
    others = [digest(RESPONSES, body(RESPONSES)), digest(CHAT, body(text="Else?"))]
    assert len({known, *others, digest(CHAT, body(model="o3"))}) == 4
    text = '{"input":"é","model":"o3"}'.replace("é", "\\u00e9")
    expected = sha256(f"{RESPONSES}\n{text}".encode()).hexdigest()[:32]
    assert digest(RESPONSES, {"model": "o3", "input": "é", "stream": False}) == expected


def test_lines_paid_for_twice_are_found(sim: Simulator) -> None:
    """A row in a batch and in direct calls was paid for on each of these lanes."""
    with account(sim) as batches:
        batches.run([line(0, body=body()), line(1, body=body(text="Once."))])
    assert sim.paid() == {"lines": 2, "payments": 2, "twice": [], "possibly": []}
    call(sim, service_tier="flex")
    call(sim, stream=True)
    call(sim, EMBEDDINGS)
    lanes = {"batch": 1, "flex": 1, "standard": 1}
    twice = [{"digest": digest(CHAT, body()), "times": 3, "lanes": lanes}]
    assert sim.paid() == {"lines": 3, "payments": 5, "twice": twice, "possibly": []}
    assert raw(sim.url, "GET", "/sim/paid", authorization="").json() == sim.paid()


def test_only_what_is_billed_is_paid(sim: Simulator) -> None:
    """Failed, expired and refused lines are not paid; finished lines of an expired batch are."""
    with account(sim) as batches:
        sim.script_batches(BatchOutcome.expire(after=2), BatchOutcome.only_errors())
        batches.run(lines(5))
        batches.run(lines(5))
    sim.script(Fault.refuse(), Fault.status(500), Fault.reset())
    for _ in range(3):
        call(sim)
    assert sim.paid() == {"lines": 2, "payments": 2, "twice": [], "possibly": []}


def test_lost_answers_are_possibly_paid(sim: Simulator) -> None:
    """Answers that were computed and lost are listed as possibly paid, with other payments."""
    sim.script(Fault.reset(after_effect=True), Fault.serve(), Fault.cut(), Fault.stream_reset(1))
    call(sim, text="Lost.", service_tier="flex")
    call(sim, text="Lost.")
    with suppress(Exception):
        call(sim, text="Cut.")
    with suppress(Exception):
        call(sim, text="Broken.", stream=True)
    report = sim.paid()
    assert (report["lines"], report["payments"], report["twice"]) == (1, 1, [])
    assert report["possibly"] == [
        {"digest": digest(CHAT, body(text=text)), "times": 1, "lanes": {lane: 1}, "paid": paid}
        for text, lane, paid in (
            ("Lost.", "flex", 1),
            ("Cut.", "standard", 0),
            ("Broken.", "standard", 0),
        )
    ]
    assert sim.stats()["possibly_billed"] == 3


def test_an_abandoned_call_is_possibly_paid(sim: Simulator) -> None:
    """A client that gives up does not know whether it pays."""
    sim.script(Fault.stall())
    with account(sim, timeout=SOON) as batches, pytest.raises(openai.APITimeoutError):
        batches.client.chat.completions.create(**body())
    assert eventually(lambda: len(sim.paid()["possibly"]) == 1)


def test_paid_lines_are_recorded_on_request_only() -> None:
    """Without ``record_paid`` the question is a mistake that names the knob."""
    with Simulator() as sim:
        call(sim)
        with pytest.raises(ValueError, match="record_paid=True"):
            sim.paid()
        answer = raw(sim.url, "GET", "/sim/paid")
        assert answer.status == 400
        assert "--record-paid" in answer.json()["error"]["message"]


def test_a_reset_forgets_payments(sim: Simulator) -> None:
    """After a reset nothing was paid for."""
    call(sim)
    sim.reset()
    assert sim.paid() == {"lines": 0, "payments": 0, "twice": [], "possibly": []}


def test_a_million_rows_fit() -> None:
    """A line takes under 150 bytes, so that a million of them takes under 150 MB."""
    paid, count = PaidLines(), 20_000
    tracemalloc.start()
    try:
        for number in range(count):
            paid.pay(f"{number:032x}", ("batch", "flex", "default")[number % 3])
        assert tracemalloc.get_traced_memory()[0] / count < 150
    finally:
        tracemalloc.stop()
    assert paid.report()["lines"] == count
