"""The batch lane's ordinary day: calls are pooled, and each gets its own answer."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest

from flextier import FlexOpenAI
from flextier.batch import future, spool_file
from flextier.sim import Simulator
from tests.batch.crowd import (
    ALONE,
    PATIENT,
    POLICY,
    Crowd,
    ask,
    batches,
    count,
    files,
    lines,
    options,
    patch_all,
    questions,
    threads,
)
from tests.client.callers import Caller


def test_a_call_by_batch(plain: Caller, sim: Simulator) -> None:
    """One call of any kind is answered from a batch, and its report says so."""
    outcome = plain(sim.base_url, POLICY)
    report = outcome.report
    assert outcome.error is None
    assert (report.lane, report.first_lane, report.fallback) == ("batch", "batch", None)
    assert outcome.outcomes == ["served"]
    assert report.attempts[0].status == 200
    assert report.attempts[0].request_id
    assert report.usage is not None
    assert (files(sim), count(sim, "POST", "/chat/completions")) == (1, 0)
    assert count(sim, "POST", "/responses") == 0
    assert sim.paid()["payments"] == 1


def test_many_calls_in_one_file(crowd: Crowd, sim: Simulator) -> None:
    """Concurrent calls go in one file, out of order, and each gets the answer to its question."""
    asked = questions(30)
    said = crowd(options(sim, PATIENT), asked)
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"batch"}
    assert files(sim) == 1
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (30, [])


def test_answers_handed_over_while_others_are_read(
    crowd: Crowd, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads an answer does not disturb the reading of the lines after it."""
    patch_all(monkeypatch, "_CHUNK", 1)
    asked = [f"{q[:-1]}{' and more' * 20}?" for q in questions(60)]
    said = crowd(options(sim, PATIENT), asked)
    assert [one.lanes for one in said] == [["batch:served"]] * 60
    assert all(one.is_right for one in said)
    assert sim.paid()["twice"] == []


def test_answers_read_with_the_order_fixed(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with each reader made to read before the next line is looked at."""
    patch_all(monkeypatch, "_CHUNK", 1)
    settle = future.BatchFuture.settle

    def read_at_once(self: Any, outcome: Any) -> Any:
        if isinstance(outcome, future.ResultLine):
            outcome(None)
        return settle(self, outcome)

    monkeypatch.setattr(future.BatchFuture, "settle", read_at_once)
    said = threads(options(sim), questions(20))
    assert [one.lanes for one in said] == [["batch:served"]] * 20


def test_one_file_a_model_and_endpoint(sim: Simulator) -> None:
    """Calls of two models, on two endpoints, go in four files."""
    with FlexOpenAI(**options(sim, POLICY.replace(batch_window=0.5))) as client:
        calls: list[Any] = [
            lambda m=m, n=n: ask(client, f"What of {m} {n}?", m)
            for m in ("o3", "o4-mini")
            for n in range(3)
        ]
        calls += [
            lambda m=m, n=n: client.responses.create(model=m, input=f"And {m} {n}?")
            for m in ("o3", "o4-mini")
            for n in range(3)
        ]
        together = [threading.Thread(target=call) for call in calls]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
    created = Counter(batch.endpoint for batch in batches(sim))
    assert created == {"/v1/chat/completions": 2, "/v1/responses": 2}
    assert (sim.paid()["lines"], sim.paid()["twice"]) == (12, [])


@pytest.mark.parametrize("knob", ["lines", "bytes"])
def test_a_full_file_goes_at_once(
    knob: str, crowd: Crowd, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its last line, or byte, a file is closed, and the next line begins another."""
    if knob == "lines":
        patch_all(monkeypatch, "MAX_LINES", 4)
    else:
        body = len('{"messages":[{"role":"user","content":"What of number 0?"}],"model":"o3"}')
        line = len(spool_file.line_of("x" * 12 + "-1", "/v1/chat/completions", b"")) + body
        patch_all(monkeypatch, "MAX_BYTES", 4 * line + 10)
    # The last file is one line short of full: only its window ends it.
    said = crowd(options(sim, POLICY.replace(batch_window=0.5)), questions(8))
    assert all(one.is_right for one in said)
    assert {one.report.lane for one in said} == {"batch"}
    assert files(sim) == 2
    assert sim.paid()["twice"] == []


def test_a_line_that_no_file_takes(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body longer than a file goes to the next lane, and the next shorter one by batch again."""
    patch_all(monkeypatch, "MAX_BYTES", 400)
    with FlexOpenAI(**options(sim)) as client:
        long = ask(client, "What of this " + "very " * 100 + "long one?")
        short = ask(client, "What of it?")
    assert long.lanes == ["batch:lane_unsupported", "standard:served"]
    assert long.report.fallback == "lane_unsupported"
    assert not any(attempt.possibly_billed for attempt in long.report.attempts)
    assert short.lanes == ["batch:served"]


def test_a_batch_of_its_own_if_alone(sim: Simulator) -> None:
    """Sequential calls each get a batch of their own: none waits for further calls."""
    with FlexOpenAI(**options(sim, ALONE)) as client:
        assert all(ask(client, q).is_right for q in questions(3))
    assert files(sim) == 3


def test_what_a_batch_is_created_with(sim: Simulator) -> None:
    """The file's lines are the calls' bodies, without a tier; the batch carries its tag."""
    with FlexOpenAI(**options(sim)) as client:
        ask(client, "What of it?", temperature=1.0, service_tier="flex")
    (batch,) = batches(sim)
    assert (batch.completion_window, batch.endpoint) == ("24h", "/v1/chat/completions")
    assert set(batch.metadata) == {"flextier"}
    (line,) = lines(sim, batch)
    assert (line["method"], line["url"]) == ("POST", "/v1/chat/completions")
    assert line["body"] == {
        "model": "o3",
        "messages": [{"role": "user", "content": "What of it?"}],
        "temperature": 1.0,
    }
