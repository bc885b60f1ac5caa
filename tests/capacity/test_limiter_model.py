"""The limiter in a model of all that surrounds it: a simulated server, callers and clock.

The callers do what ``_line_up`` does in the clients: ask, look, sleep until woken or the seconds
are over, look again, begin, end. Between two steps everything that is due has been delivered, so
wake-up that the limiter has forgotten shows.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flextier.capacity.lane_estimator import LaneEstimator
from flextier.capacity.limiter import Limiter
from flextier.capacity.permit import Permit, ProbeSpacing

TICK = 0.0011
SPACING = ProbeSpacing(0.5, 2.0, 8.0, 0.5)
STUCK = 1e9
"""A lag: the caller never reacts."""


class Caller:
    """One call, from its first asking to its end."""

    def __init__(self, lane: LaneEstimator, until: float, latest: float, deadline: float) -> None:
        self.lane, self.until, self.latest, self.deadline = lane, until, latest, deadline
        self.permit: Permit | None = None
        self.phase = "new"
        self.due = math.inf
        """When it does something by itself, or as woken."""
        self.timer = math.inf
        """When its sleep is over."""
        self.woken = False
        self.lag = 0.0
        """Seconds from being woken to being awake: a loop that is busy."""
        self.lingers = 0.0
        """Seconds from its leave to its request."""
        self.fate = ""
        self.last_try = False
        self.admitted = False

    @property
    def urgency(self) -> tuple[float, int]:
        assert self.permit is not None
        return self.permit.until, self.permit.turn

    @property
    def waits(self) -> bool:
        return self.phase == "waiting" and self.permit is not None and self.permit.waiting

    @property
    def holds(self) -> bool:
        """Whether it counts as in flight."""
        return self.permit is not None and self.permit.granted and not self.permit.verdict

    def __repr__(self) -> str:
        permit = self.permit
        state = "" if permit is None else f" waiting={permit.waiting} granted={permit.granted}"
        return f"<{self.lane.name} {self.phase}{state} until={self.until:.3f} due={self.due:.3f}>"


class Server:
    """What flex is like now; the other lane is always open."""

    def __init__(self) -> None:
        self.slots: float = math.inf
        self.refuse = 0.0
        self.gone = 0.0
        self.retry_after: float | None = None
        self.per_second = math.inf
        self.limit_wait = 0.0
        self.service = (0.05, 3.0)
        self.late = 0.0
        self._second, self._count = -1, 0

    def over_limit(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count > self.per_second


class LimiterModel(RuleBasedStateMachine):
    """Calls that come, wait, go and vanish, over a limiter and a server that does as it likes."""

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.chance = Random(seed)
        self.now = 1000.0
        self.limiter = Limiter()
        self.flex = self.limiter.lane("flex", True)
        self.standard = self.limiter.lane("standard", False)
        self.server = Server()
        self.callers: list[Caller] = []
        self.dead: list[Permit] = []
        """Those whose caller vanished while it waited."""
        self.shut_word = {self.flex: 0.0, self.standard: 0.0}
        self.limit_word = 0.0
        self.not_admitted = 0
        self.looks = 0
        self.hold: object = None
        self.before: set[int] = set()
        """Permits that were out when the lane began to be held at its limit."""

    # --- what may happen ----------------------------------------------------------------------

    @rule(
        flex=st.booleans(),
        count=st.integers(1, 12),
        patience=st.sampled_from([0.0, 0.05, 1.0, 7.0, 60.0, 300.0]),
        more=st.sampled_from([0.0, 5.0, math.inf]),
        lag=st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.6, 2.5]),
        lingers=st.sampled_from([0.0, 0.0, 0.0, 0.4, 2.2]),
    )
    def arrive(
        self, flex: bool, count: int, patience: float, more: float, lag: float, lingers: float
    ) -> None:
        for _ in range(count):
            until = self.now + patience + self.chance.choice([0.0, 0.0, self.chance.random()])
            lane = self.flex if flex else self.standard
            caller = Caller(lane, until, until + more if flex else until, until + 20.0)
            caller.lag, caller.lingers = lag, lingers
            self.callers.append(caller)
            self._ask(caller)
        self._deliver()

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.2, 1.0, 2.1, 6.0, 30.0, 70.0]))
    def advance(self, seconds: float) -> None:
        self._advance(self.now + seconds)

    @rule(
        slots=st.sampled_from([math.inf, math.inf, 0, 0, 1, 3, 8]),
        refuse=st.sampled_from([0.0, 0.0, 0.2, 0.6]),
        gone=st.sampled_from([0.0, 0.0, 0.3]),
        retry_after=st.sampled_from([None, None, None, 0.5, 20.0]),
        late=st.sampled_from([0.0, 0.0, 0.2]),
    )
    def weather(
        self, slots: float, refuse: float, gone: float, retry_after: float | None, late: float
    ) -> None:
        server = self.server
        server.slots, server.refuse, server.gone = slots, refuse, gone
        server.retry_after, server.late = retry_after, late

    @rule(
        per_second=st.sampled_from([math.inf, math.inf, 1, 5]),
        wait=st.sampled_from([0.0, 0.3, 12.0]),
    )
    def limits(self, per_second: float, wait: float) -> None:
        self.server.per_second, self.server.limit_wait = per_second, wait

    @rule(service=st.sampled_from([(0.01, 0.02), (0.05, 3.0), (8.0, 40.0)]))
    def slowness(self, service: tuple[float, float]) -> None:
        self.server.service = service

    @precondition(lambda self: self.callers)
    @rule(which=st.integers(0, 10_000), count=st.integers(1, 5))
    def cancel(self, which: int, count: int) -> None:
        for _ in range(min(count, len(self.callers))):
            caller = self.callers[which % len(self.callers)]
            self._limiter(caller, lambda c=caller: self.limiter.end(c.permit, "gone", self.now))
            self._done(caller)
        self._deliver()

    @precondition(lambda self: self.callers)
    @rule(which=st.integers(0, 10_000), closed=st.booleans())
    def vanish(self, which: int, closed: bool) -> None:
        """Dropped without a word; ``closed``: its event loop says so when it is to be woken."""
        caller = self.callers[which % len(self.callers)]
        permit, caller.permit = caller.permit, None
        if permit is not None and permit.waiting:
            self.dead.append(permit)
            permit.wake = _loop_closed if closed else _no_wakeup
        self.before.discard(id(permit))
        del permit
        self._done(caller)
        gc.collect(0)
        self._deliver()

    # --- the callers --------------------------------------------------------------------------

    def _ask(self, caller: Caller, turn: int | None = None) -> None:
        def ask() -> None:
            caller.permit = self.limiter.try_acquire(
                caller.lane, self.now, caller.until, caller.latest, turn
            )

        self._limiter(caller, ask)
        assert caller.permit is not None
        if caller.permit.granted:
            self._leave_to_send(caller)
        else:
            self._look(caller)

    def _look(self, caller: Caller) -> None:
        caller.woken, caller.timer = False, math.inf
        woken = [0]

        def wake() -> None:
            woken[0] += 1
            assert woken[0] == 1, "woken twice a look"
            caller.woken = True
            caller.due = min(caller.due, self.now + caller.lag)

        caller.phase, caller.due = "waiting", math.inf
        seconds = self._limiter(caller, lambda: self.limiter.recheck(caller.permit, self.now, wake))
        self.looks += 1
        assert caller.permit is not None
        if seconds > 0:
            assert not caller.permit.granted or caller.woken
            caller.timer = self.now + seconds
            caller.due = min(caller.due, caller.timer + caller.lag)
        elif caller.permit.granted:
            self._leave_to_send(caller)
        else:
            assert not caller.permit.waiting
            self._refused(caller)

    def _refused(self, caller: Caller) -> None:
        self.not_admitted += 1
        if caller.lane is self.flex and self.now < caller.deadline:
            caller.lane = self.standard
            caller.until = caller.latest = caller.deadline
            self._ask(caller)
        else:
            self._done(caller)

    def _leave_to_send(self, caller: Caller) -> None:
        caller.phase, caller.admitted = "granted", True
        caller.due = self.now + caller.lingers
        if not caller.lingers:
            self._send(caller)

    def _send(self, caller: Caller) -> None:
        permit = caller.permit
        assert permit is not None
        caller.last_try = not permit.granted
        self._limiter(caller, lambda: self.limiter.start(permit, self.now))
        assert permit.granted
        caller.phase = "out"
        self._decide(caller)

    def _decide(self, caller: Caller) -> None:
        server, draw = self.server, self.chance
        served = [c for c in self.callers if c.fate == "served" and c.lane is caller.lane]
        flex = caller.lane is self.flex
        if server.over_limit(self.now):
            caller.fate, seconds = "limited", 0.02
        elif flex and (len(served) >= server.slots or draw.random() < server.refuse):
            late = draw.random() < server.late
            caller.fate, seconds = "refused", 5.0 if late else draw.uniform(0.01, 0.05)
        elif draw.random() < server.gone:
            caller.fate, seconds = "gone", draw.choice([0.01, 30.0])
        else:
            caller.fate, seconds = "served", draw.uniform(*server.service)
        caller.due = self.now + seconds

    def _receive_outcome(self, caller: Caller) -> None:
        fate, caller.fate = caller.fate, ""
        limiter, permit, now = self.limiter, caller.permit, self.now
        assert permit is not None
        if fate == "limited":
            self.limit_word = max(self.limit_word, now + self.server.limit_wait)
            limiter.limited(now, self.server.limit_wait)
        if fate == "refused" and self.server.retry_after is not None:
            word = now + self.server.retry_after
            self.shut_word[caller.lane] = max(self.shut_word[caller.lane], word)
            self._limiter(caller, lambda: limiter.shut(caller.lane, word, now))
        verdict = fate if fate in ("served", "refused") else "gone"
        self._limiter(
            caller,
            lambda: limiter.end(permit, verdict, now, SPACING, timed=fate == "served"),  # type: ignore[arg-type]
        )
        if fate == "limited" and now + self.server.limit_wait + 0.5 < caller.until:
            caller.phase = "backoff"
            caller.due = now + self.server.limit_wait + 0.5 * self.chance.random()
        elif fate == "refused":
            if now < caller.until:
                self._ask(caller, permit.turn)
            else:
                self._refused(caller)
        else:
            self._done(caller)

    def _done(self, caller: Caller) -> None:
        caller.phase, caller.due = "done", math.inf
        self.callers.remove(caller)

    # --- time ---------------------------------------------------------------------------------

    def _act(self, caller: Caller) -> None:
        match caller.phase:
            case "waiting":
                self._look(caller)
            case "granted":
                self._send(caller)
            case "out":
                self._receive_outcome(caller)
            case "backoff":
                self._ask(caller)

    def _deliver(self) -> None:
        for _ in range(5_000):
            ready = [caller for caller in self.callers if caller.due <= self.now]
            if not ready:
                return
            self._act(self.chance.choice(ready))
        raise AssertionError("they never come to rest")

    def _advance(self, to: float) -> None:
        began, self.looks, happened = self.now, 0, len(self.callers)
        while (due := min((c.due for c in self.callers), default=math.inf)) <= to:
            self.now = max(self.now, due)
            before = len(self.callers)
            self._deliver()
            happened += 1 + before - len(self.callers) if self.looks == 0 else 0
            self._check()
        self.now = to
        self._deliver()
        # No caller rechecks again and again without effect.
        assert self.looks <= 200 + 60 * (self.now - began) + 20 * happened, "a spin"

    # --- what must hold -----------------------------------------------------------------------

    def _limiter(self, actor: Caller, act: Callable[[], object]) -> float:
        """Do something at the limiter, and see who was let in by that."""
        others = [c for c in self.callers if c is not actor and not c.holds]
        before = actor.permit if actor.holds else None
        answer = act()
        let_in = [caller for caller in others if caller.holds]
        if actor.holds and actor.permit is not before and not actor.last_try:
            let_in.append(actor)
        still = [caller for caller in self.callers if caller.waits]
        for caller in let_in:
            assert self.now >= self.shut_word[caller.lane], f"{caller}: the server has shut it"
            assert self.now >= self.limit_word, f"{caller}: the server said to wait"
            assert caller is actor or caller.woken, f"{caller}: it was not woken"
            if self.now >= caller.until:
                assert caller is actor, f"{caller}: it was too late"
                continue  # not admitted, but not refused either
            for other in still:
                if other.lane in (caller.lane, self.standard):
                    assert caller.urgency < other.urgency, f"{caller} before {other}"
        return answer if isinstance(answer, float) else 0.0

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "limiter"):
            self._check()

    def _check(self) -> None:
        self.dead = [permit for permit in self.dead if permit.waiting]
        for estimator in (self.flex, self.standard):
            self._check_counts(estimator)
            self._check_line(estimator)
        self._check_hold()

    def _check_counts(self, estimator: LaneEstimator) -> None:
        mine = [c.permit for c in self.callers if c.lane is estimator and c.holds]
        known = {id(permit) for permit in mine}
        dropped = [
            permit
            for permit in estimator.pending
            if permit.granted and not permit.verdict and id(permit) not in known
        ]
        lost = [confirmed for of, confirmed in self.limiter._lost if of is estimator]
        assert estimator.in_flight == len(mine) + len(dropped) + len(lost)
        confirmed = sum(permit.confirmed for permit in mine if permit is not None)
        assert estimator.confirmed == confirmed + sum(lost)
        assert 0 <= estimator.confirmed <= estimator.in_flight
        assert estimator.unsettled == sum(
            permit.verdict == "refused" for permit in estimator.pending
        )

    def _check_line(self, estimator: LaneEstimator) -> None:
        line = [caller for caller in self.callers if caller.lane is estimator and caller.waits]
        dead = [permit for permit in self.dead if permit.estimator is estimator and permit.waiting]
        queue = self.limiter._lanes[estimator.name][1]
        assert len(queue) == len(line) + len(dead)
        assert sorted(map(id, queue)) == sorted(map(id, [*(c.permit for c in line), *dead]))
        for caller in line:
            assert self.now < caller.until + caller.lag + TICK, (
                f"{caller} waits without end: {self.now}"
            )
        if not line or dead:
            return  # callers that have vanished cannot be woken, and the rest recheck now and then
        pace = self.limiter.pace
        if estimator.may_send(self.now) and pace.may_send(self.now):
            chance = self.now
        else:
            chance = max(estimator.next_chance(self.now), pace.next_chance(), self.now)
        assert any(
            caller.woken or caller.timer <= chance + TICK for caller in self.callers if caller.waits
        ), f"no caller rechecks at {chance}, now {self.now}: {line}"

    def _check_hold(self) -> None:
        estimator = self.flex
        out = [caller for caller in self.callers if caller.lane is estimator and caller.holds]
        probes = [caller for caller in out if caller.permit.probe and not caller.last_try]  # type: ignore[union-attr]
        assert len(probes) <= 1, f"two probes: {probes}"
        hold = estimator.hold
        state = None if hold is None else (id(hold), hold.since, hold.limit)
        if state != self.hold:
            self.hold, self.before = state, {id(caller.permit) for caller in out}
        if hold is not None:
            tries = sum(caller.last_try for caller in out)
            old = sum(id(caller.permit) in self.before for caller in out)
            assert len(out) <= max(hold.limit, old) + 1 + tries, f"{hold}: {out}"
            assert estimator.probing or not probes

    # --- the end ------------------------------------------------------------------------------

    def teardown(self) -> None:
        if not hasattr(self, "limiter"):
            return
        self.server.__init__()  # type: ignore[misc]
        for caller in self.callers:
            if caller.phase == "waiting":
                caller.due = self.now if caller.woken else caller.timer
            caller.lag = caller.lingers = 0.0
        # Words that were spoken count, then a probe comes, then the line moves at the pace.
        words = max(self.now, self.limit_word, *self.shut_word.values()) - self.now
        bound = words + 120.0 + 7.0 * len(self.callers)
        patient = [c for c in self.callers if c.waits and c.until > self.now + bound]
        self._deliver()
        self._advance(self.now + bound)
        assert all(caller.admitted for caller in patient), "an open lane lets everybody in"
        for _ in range(100):
            if not self.callers:
                break
            self._advance(self.now + 30.0)
        assert not self.callers
        # The next caller finds a limiter without outstanding permits.
        for _ in range(3):
            for estimator in (self.flex, self.standard):
                last = Caller(estimator, self.now + 300.0, self.now + 300.0, self.now + 300.0)
                self.callers.append(last)
                self._ask(last)
            self._advance(self.now + 300.0)
        assert (self.flex.in_flight, self.standard.in_flight) == (0, 0)
        assert (self.flex.confirmed, self.flex.unsettled) == (0, 0)
        assert self.limiter._waiting == 0
        assert self.limiter.lanes(lambda estimator, waiting: waiting) == [0, 0]


def _loop_closed() -> None:
    raise RuntimeError("Event loop is closed")


def _no_wakeup() -> None:
    pass


TestLimiter = pytest.mark.filterwarnings("ignore")(LimiterModel.TestCase)
TestLimiter.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
