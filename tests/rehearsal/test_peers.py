"""What people do today, on the outage trace: about the figures that were measured by hand."""

from __future__ import annotations

import random

import pytest

from flextier.rehearsal import Trace
from flextier.rehearsal.baselines import PEERS, run_peer
from flextier.rehearsal.simulate import NEVER

ALONE, FALLBACK, COOKBOOK, MANY, UNTIL = PEERS
OUTAGES = Trace.load("outages")


def test_the_sdks_retries_fail_all_calls() -> None:
    """Three requests each, all of them refused, within seconds."""
    outcome = run_peer(ALONE, OUTAGES)
    assert (outcome.counts.refusals, outcome.failed, outcome.cost) == (600, 200, None)
    assert outcome.seconds(1) < 9
    assert sum(outcome.errors.values()) == 200


def test_a_fallback_saves_nothing() -> None:
    """All calls are answered, on standard."""
    outcome = run_peer(FALLBACK, OUTAGES)
    assert (outcome.counts.refusals, outcome.failed, outcome.cost) == (600, 0, 1.0)


def test_the_cookbooks_backoff_saves_next_to_nothing() -> None:
    """Six tries are over before the lane has opened."""
    outcome = run_peer(COOKBOOK, OUTAGES)
    assert outcome.cost == pytest.approx(0.968, abs=0.04)
    assert outcome.counts.refusals == pytest.approx(1187, abs=20)
    assert outcome.failed == outcome.late == 0


def test_many_retries_hammer() -> None:
    """Twenty retries of the SDK save most, with some fifteen refusals a call."""
    outcome = run_peer(MANY, OUTAGES)
    assert outcome.cost == pytest.approx(0.585, abs=0.03)
    assert outcome.counts.refusals == pytest.approx(2949, rel=0.05)


@pytest.mark.exhaustive
def test_backoff_until_the_deadline_is_the_best_by_hand() -> None:
    """Near to all on flex, with some eight refusals a call, and now and then a late answer."""
    outcomes = [run_peer(UNTIL, OUTAGES.replace(seed=seed)) for seed in (1, 2, 3)]
    for outcome in outcomes:
        assert outcome.cost == pytest.approx(0.527, abs=0.02)
        assert outcome.counts.refusals == pytest.approx(1530, rel=0.05)
        assert outcome.failed == 0
        assert outcome.late <= 10


def test_same_seed_same_outcome() -> None:
    """Whatever Python's global generator was before, and it is not moved."""
    trace = OUTAGES.replace(jobs=20)
    one = run_peer(UNTIL, trace)
    random.random()
    state = random.getstate()
    assert run_peer(UNTIL, trace) == one
    assert random.getstate() == state


def test_langchain_without_a_timeout_hangs_on_a_stall() -> None:
    """Its default is no timeout at all: such a call never ends, and is counted as failed."""
    outcome = run_peer(ALONE, Trace.load("stalls").replace(jobs=100))
    assert set(outcome.errors) == {NEVER}
    assert outcome.failed == outcome.counts.stalls == outcome.counts.abandoned > 0
