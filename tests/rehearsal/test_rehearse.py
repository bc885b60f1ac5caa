"""A rehearsal: the real client, the same each time, with accounts that agree."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import flextier.rehearsal
from flextier import FlexPolicy, PolicyError, budget, override, track
from flextier.client import ledger_setting
from flextier.rehearsal import Rehearsal, Trace, rehearse
from flextier.rehearsal.baselines import run_peer
from flextier.rehearsal.provider import ProviderCounts
from flextier.rehearsal.result import MiscountError, check
from flextier.sim import Weather

OPEN = Trace(weather=Weather(flex_latency=3, standard_latency=2), jobs=10, deadline=100)
SHUT = OPEN.replace(weather=Weather(slots=0, flex_latency=3, standard_latency=2))


def test_an_open_lane_is_all_flex() -> None:
    """Half the price, one request a call, as long as an answer takes."""
    result = rehearse(OPEN)
    assert (result.cost, result.distance) == (0.5, 0)
    assert (result.answered, result.failed, result.late, result.latest) == (10, 0, 0, 0)
    assert result.lanes == {"flex": 10}
    assert result.counts == ProviderCounts(requests=10, billed=[(3, "flex")] * 10)
    assert [result.seconds(share) for share in (0, 0.5, 0.95, 1)] == [3, 3, 3, 3]
    assert result.virtual_seconds == 3
    assert [report.elapsed for report in result.reports] == [3] * 10


def test_a_shut_lane_is_all_standard() -> None:
    """Full price, before the deadline, and the clairvoyant pays as much."""
    result = rehearse(SHUT)
    assert (result.cost, result.clairvoyant.cost, result.distance) == (1, 1, 0)
    assert result.lanes == {"standard": 10}
    assert result.late == 0
    assert result.seconds(1) < 100
    assert result.refusals_an_answer == result.counts.refusals / 10 > 0


def test_late_answers_and_failures_are_separate() -> None:
    """An answer after the deadline is late; a call without an answer has failed."""
    slow = SHUT.replace(weather=Weather(slots=0, standard_latency=150))
    result = rehearse(slow)
    assert (result.failed, result.late, result.cost) == (10, 0, None)
    assert result.errors == {"FlexDeadlineExceeded": 10}
    assert result.clairvoyant.late == 10
    other = run_peer("the same .with_fallbacks([ChatOpenAI()])", slow)
    assert (other.failed, other.late, other.cost) == (0, 10, 1)
    assert 50 < other.latest == other.seconds(1) - 100 < 53


def test_late_jobs_leave_in_time_for_their_own_deadline() -> None:
    """On a shut lane, those that come later leave it first."""
    trace = SHUT.replace(late_jobs=((10, 3, 40),))
    result = rehearse(trace)
    assert (result.late, result.failed, result.lanes) == (0, 0, {"standard": 13})
    ends = [ended.at for ended in result.ended if ended.job.seconds == 40]
    assert len(ends) == 3
    assert max(ends) <= 50 < min(ended.at for ended in result.ended if ended.job.seconds == 100)


def test_dollars_are_those_of_the_price_list() -> None:
    """1,200 tokens in and 400 out a call, at the rates of the model."""
    result = rehearse(OPEN)
    each = (1_200 * Decimal("1.10") + 400 * Decimal("4.40")) / 1_000_000
    assert result.standard_dollars == 10 * each
    assert result.dollars == 5 * each
    unpriced = rehearse(OPEN.replace(models=("a-model-of-ours",)))
    assert unpriced.dollars is unpriced.standard_dollars is None


@pytest.mark.parametrize("name", ["outages", "refusals", "stalls"])
def test_same_seed_same_result(name: str) -> None:
    """Two runs are equal in all that happened; another seed is another run."""
    one, two = (rehearse(name, jobs=40) for _ in range(2))
    assert one == two
    assert [_timeless(report) for report in one.reports] == [
        _timeless(report) for report in two.reports
    ]
    assert rehearse(name, jobs=40, seed=99) != one


def _timeless(report: Any) -> Any:
    return {**report.to_dict(), "id": None}


def test_arguments_win_over_policy_and_trace() -> None:
    """The deadline: the argument's, else the policy's, else the trace's."""
    assert rehearse(OPEN).policy.deadline == 100
    assert rehearse(OPEN, policy={"deadline": 50}).trace.deadline == 50
    result = rehearse(OPEN, policy={"deadline": 50, "patience": 7}, deadline=60, jobs=3, seed=5)
    assert (result.trace.deadline, result.policy.deadline) == (60, 60)
    assert (result.policy.patience, len(result.ended), result.trace.seed) == (7, 3, 5)


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a policy the knobs are those of the environment."""
    monkeypatch.setenv("FLEXTIER_LANES", "standard")
    assert rehearse(OPEN).lanes == {"standard": 10}


def test_nothing_outside_is_touched() -> None:
    """A rehearsal charges no budget, and blocks around it neither count nor change its calls."""
    with budget(1) as spending, track() as calls, override(lanes=("standard",)):
        result = rehearse(OPEN, policy=FlexPolicy(budget="0.000001"))
    assert result.lanes == {"flex": 10}
    assert spending.spent == 0
    assert calls == []


def test_nothing_of_the_process_is_touched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Process-wide blocks and the ledger of the process are for calls that are paid for."""
    monkeypatch.setattr(ledger_setting, "is_read", False)
    monkeypatch.setenv("FLEXTIER_LEDGER", str(tmp_path / "flextier.db"))
    with track(scope="process") as calls, track():
        rehearse(OPEN)
    assert calls == []
    assert caplog.messages == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_learnt_for_the_next_one() -> None:
    """A refusal with a Retry-After shuts the lane for that rehearsal only."""
    shut = Weather(slots=0, retry_after=10_000)
    assert rehearse(OPEN.replace(weather=shut)).lanes == {"standard": 10}
    assert rehearse(OPEN).lanes == {"flex": 10}


async def test_inside_a_running_loop() -> None:
    """In a notebook, say."""
    assert rehearse(OPEN).answered == 10


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"jobs": 0}, "jobs must be above 0"),
        ({"deadline": -1}, "deadline must be above 0"),
        ({"policy": {"patiense": 1}}, "FlexPolicy has no field 'patiense'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], problem: str) -> None:
    """What cannot be is said before anything is run."""
    with pytest.raises((ValueError, PolicyError), match=problem):
        rehearse(OPEN, **arguments)


def test_a_trace_by_name_or_file(tmp_path: Path) -> None:
    """As ``Trace.load`` has it."""
    path = tmp_path / "short.json"
    path.write_text(json.dumps({"jobs": 2}))
    assert rehearse(path).trace.name == "short"
    assert rehearse("refusals", jobs=2).trace.name == "refusals"


def test_as_json() -> None:
    """Everything that is printed, as plain JSON types."""
    result = rehearse(SHUT)
    printed = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert printed["cost"] == result.cost
    assert printed["lanes"] == {"standard": 10}
    assert printed["clairvoyant"] == {"cost": 1, "late": 0}
    assert printed["seconds"]["max"] == result.seconds(1)
    assert printed["policy"]["deadline"] == 100
    assert "budget" not in printed["policy"]


def test_accounts_that_differ_are_an_error() -> None:
    """A call that the provider knows nothing of is a bug, and said so."""
    result = rehearse(OPEN)
    check(result.reports, result.counts)
    with pytest.raises(MiscountError, match="requests: 9 and 10; served: "):
        check(result.reports[1:], result.counts)


def test_more_than_the_clairvoyant_is_paid() -> None:
    """No policy is cheaper than the clairvoyant one."""
    for name in ("outages", "few-slots", "refusals", "stalls", "two-models"):
        distance = rehearse(name, jobs=60).distance
        assert distance is not None
        assert distance > -1e-9


def test_public_names() -> None:
    """What the package exports is this list, and all of it can be imported."""
    expected = ["Clairvoyant", "Rehearsal", "Trace", "rehearse"]
    assert flextier.rehearsal.__all__ == dir(flextier.rehearsal) == expected
    assert flextier.rehearsal.Rehearsal is Rehearsal
    assert all(getattr(flextier.rehearsal, name).__name__ == name for name in expected)
