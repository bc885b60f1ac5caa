"""Waits that last too long: no attempt is reported that was never sent."""

from __future__ import annotations

from typing import Any

import pytest

from flextier import Clock, FlexDeadlineExceeded, FlexPolicy
from flextier.sim import Fault, Simulator
from tests.client.callers import Caller
from tests.client.test_failure_table import seen, tiers

CALLER = Caller("chat", stream=False, is_async=False)


class Oversleeper:
    """A clock whose sleeps take longer than asked, as on a machine that was suspended."""

    def __init__(self, extra: float) -> None:
        self.now = 1000.0
        self.extra = extra

    def clock(self) -> Clock:
        """The clock to pass in; nothing sleeps for real."""
        return Clock(now=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            self.now += seconds + self.extra


@pytest.fixture
def sim(flextier_sim: Any) -> Any:
    """A simulator with an open flex lane."""
    return flextier_sim


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.refuse(retry_after=3), "capacity"),
        (Fault.rate_limit(retry_after=3), "rate_limited"),
        (Fault.status(503, headers={"retry-after": "3"}), "transient"),
    ],
    ids=str,
)
def test_a_wait_that_ends_after_the_reserve_began(fault: Fault, kind: str, sim: Simulator) -> None:
    """Flex is left without a further attempt, and standard still answers."""
    sim.script(fault)
    policy = FlexPolicy(deadline=100, standard_reserve=30)

    outcome = CALLER(sim.base_url, policy, Oversleeper(extra=68).clock())

    assert outcome.lanes == ["flex", "standard"]
    assert seen(sim) == tiers(outcome)
    assert outcome.report.fallback == kind
    assert outcome.report.waited == pytest.approx(71)


def test_a_wait_that_ends_after_the_deadline(sim: Simulator) -> None:
    """The call ends with our error, and the report has only what was sent."""
    sim.script(Fault.refuse(retry_after=3))
    policy = FlexPolicy(deadline=100, standard_reserve=30)

    outcome = CALLER(sim.base_url, policy, Oversleeper(extra=500).clock())

    assert isinstance(outcome.error, FlexDeadlineExceeded)
    assert outcome.outcomes == ["capacity"]
    assert seen(sim) == tiers(outcome)
