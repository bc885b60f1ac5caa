"""Forty processes under one dollar: the gateway counts what all of them spend."""

from __future__ import annotations

import os
import threading
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from flextier.costs import Ledger
from flextier.sim import Simulator, Weather
from tests.serve.test_operation import command

pytestmark = pytest.mark.exhaustive  # starts 40 processes

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROCESSES, AT_ONCE, CALLS = 40, 1, 400


@pytest.mark.skipif(os.name == "nt", reason="the processes are forked")
def test_forty_processes_spend_a_dollar_and_what_was_in_flight(
    flextier_sim: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from _callers import Callers, Running

    flextier_sim.weather = Weather(refuse=0.05)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with command(flextier_sim, "--budget", "1", "--ledger", url) as (process, base_url):
        callers: Callers = {
            "url": f"{base_url}/v1",
            "processes": PROCESSES,
            "at_once": AT_ONCE,
            "calls": CALLS,
            "model": "gpt-5.5-pro",
            "words": 100,
        }
        assert process.stderr is not None
        threading.Thread(target=process.stderr.read, daemon=True).start()  # the log
        running = Running(callers, tmp_path)
        try:
            running.wait_with(process)
        finally:
            running.end()
        outcomes = Counter(outcome for _, outcome in running.outcomes())
    with Ledger(url, readonly=True) as ledger:
        rows = sorted(ledger.records(), key=lambda row: row.at + timedelta(seconds=row.elapsed))
    costs = [row.cost.total or Decimal(0) for row in rows]
    assert outcomes.keys() == {"flex", "budget_exceeded"}
    assert len(rows) == len({row.call_id for row in rows}) == outcomes["flex"]
    assert flextier_sim.paid()["payments"] == outcomes["flex"]
    assert Decimal(1) <= sum(costs) <= 1 + PROCESSES * AT_ONCE * max(costs)
    spent_at = next(
        row.at + timedelta(seconds=row.elapsed)
        for number, row in enumerate(rows, 1)
        if sum(costs[:number]) >= 1
    )
    slack = timedelta(seconds=0.5)  # a call's times are taken before it is counted
    assert not [row for row in rows if row.at > spent_at + slack]
