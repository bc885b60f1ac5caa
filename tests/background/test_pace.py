"""How often background responses are asked about, all together and each of them."""

from __future__ import annotations

import heapq
import itertools
from random import Random

import pytest

from flextier.background import poll_schedule
from flextier.background.poll_schedule import POLL_SCHEDULES, PollSchedule
from flextier.capacity import AccountKey

EIGHT_HOURS = 28_800.0
LONGEST = 300.0


def looks(pace: PollSchedule, calls: int, until: float) -> list[float]:
    """When this many responses created at once are polled, in order."""
    chance = Random(0)

    def after(now: float) -> float:
        return now + pace.interval(now, now, LONGEST, chance.random())

    due = [after(0.0) for _ in range(calls)]
    heapq.heapify(due)
    moments = []
    while due[0] < until:
        moments.append(due[0])
        heapq.heapreplace(due, after(due[0]))
    return moments


@pytest.fixture(autouse=True)
def soonest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first looks come when they do in programs."""
    monkeypatch.setattr(poll_schedule, "MIN_POLL_INTERVAL", 2.0)


def test_thousands_created_at_once_take_turns() -> None:
    """Their looks are spread evenly: no crowd comes at once, and no second goes by unused."""
    moments = looks(PollSchedule(), 5_000, 1_200.0)
    by_second = [0] * 1_200
    for moment in moments:
        by_second[int(moment)] += 1
    assert max(by_second[4:]) <= 45
    assert sum(by_second) / 1_200 <= 31
    assert min(by_second[2:600]) >= 10


@pytest.mark.parametrize("calls", [1, 5_000])
def test_looks_at_one_are_bounded(calls: int) -> None:
    """A wait of eight hours takes some hundred looks, alone or among thousands."""
    each = len(looks(PollSchedule(), calls, EIGHT_HOURS)) / calls
    assert 80 < each < 160


def test_alone_it_keeps_its_own_rhythm() -> None:
    """An answer is noticed at most a quarter of its age late, and never later than the most."""
    moments = looks(PollSchedule(), 1, EIGHT_HOURS)
    assert moments[0] < 3
    for before, after in itertools.pairwise(moments):
        assert after - before <= min(max(2.4, 0.241 * before) + 0.25, LONGEST)


def test_after_too_many_looks_all_look_less_often() -> None:
    """Who is refused halves the looks of all."""
    pace = PollSchedule()
    pace.rate_limited(0.0, 5.0)
    turns = [pace.interval(10.0, 0.0, LONGEST, 0.5) for _ in range(300)]
    assert turns[-1] == pytest.approx(20.0, rel=0.02)  # 300 of 15 a second
    assert pace.paused_for(1.0) == 4.0


def test_looks_come_some_at_a_time() -> None:
    """Who wakes up for one look makes those of the next quarter of a second, too."""
    moments = looks(PollSchedule(), 300, 60.0)
    assert len(set(moments)) <= 240
    assert all(moment * 4 == int(moment * 4) for moment in moments)


def test_schedules_of_accounts_that_are_not_used_are_dropped() -> None:
    """After an hour without a poll, once there are many."""
    accounts = [AccountKey("https://api.openai.com/v1/", str(number)) for number in range(101)]
    schedules = [POLL_SCHEDULES.of(account, 0.0) for account in accounts[:100]]
    schedules[0].interval(1_000.0, 0.0, 60.0, 0.5)
    POLL_SCHEDULES.of(accounts[100], 4_000.0)
    assert list(POLL_SCHEDULES) == [accounts[0], accounts[100]]
    POLL_SCHEDULES.clear()
