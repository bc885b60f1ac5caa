"""The laws of the ladder, held against random weather on a virtual clock."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import get_args

from hypothesis import event, given
from hypothesis import strategies as st

from flextier.lanes import FLEX, STANDARD, Lane
from flextier.lanes.failures import Kind
from flextier.planning.fallback import REFUSED_FOR, FailedAttempt, GiveUp, Ladder, Send
from flextier.policy import FlexPolicy

LANES = (FLEX, Lane(name="priority", service_tier="priority"), STANDARD)
SHORTEST = 0.5
"""The shortest attempt: without it, a call could fail again and again in no time."""
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Fault:
    """One failure as the weather has it: the facts of an event, and how long it took."""

    kind: Kind
    seconds: float
    jitter: float = 0.5
    hint: float | None = None
    no_retry: bool = False
    queued: float = 0.0
    """How long the lane keeps the call waiting before it lets it in, if it is one that may."""


@dataclass(frozen=True)
class Sent:
    """One attempt, or a lane that did not let the call in, and what the ladder said after it."""

    lane: Lane
    at: float
    limit: float
    """What the ladder gave it."""
    ended: float
    fault: Fault
    then: Send | GiveUp
    fallback: Kind | None
    not_admitted: bool = False


@dataclass
class Call:
    """A call from its beginning to its end."""

    policy: FlexPolicy
    lanes: tuple[Lane, ...]
    began: float
    first: Send
    log: list[Sent] = field(default_factory=list)

    @property
    def step(self) -> Send | GiveUp:
        """What the ladder said last."""
        return self.log[-1].then if self.log else self.first

    @property
    def now(self) -> float:
        """When it said so."""
        return self.log[-1].ended if self.log else self.began

    @property
    def tries(self) -> list[tuple[float, Send]]:
        """Every step that was a try, and when it was decided."""
        steps = [(self.began, self.first), *((sent.ended, sent.then) for sent in self.log)]
        return [(moment, step) for moment, step in steps if isinstance(step, Send)]

    @property
    def deadline(self) -> float:
        return self.began + (self.policy.deadline or math.inf)

    def leave_by(self, lane: Lane) -> float:
        """The last moment on ``lane``."""
        return self.deadline - (self.policy.standard_reserve if lane is not self.lanes[-1] else 0.0)

    @property
    def most(self) -> int:
        """More attempts than any call may have: on each lane those that patience has room for at
        the shortest, the transient ones, and the one that leaves it; one that is no stream."""
        per_lane = math.ceil(self.policy.patience_seconds / SHORTEST) + self.policy.max_retries + 2
        return len(self.lanes) * per_lane + 1


def play(ladder: Ladder, call: Call, weather: list[Fault]) -> Call:
    """Drive a ladder as the clients do; the weather starts over when it is through."""
    for fault in islice(cycle(weather), call.most):
        if isinstance(call.step, GiveUp):
            break
        assert call.step.lane is ladder.lane
        lane, at = ladder.lane, call.now + call.step.wait
        if lane.queues and fault.queued:
            if at + fault.queued >= ladder.until:
                at = max(at, ladder.until)
                said = ladder.not_admitted(at)
                call.log.append(Sent(lane, at, 0.0, at, fault, said, ladder.fallback, True))
                continue
            at += fault.queued
        limit = ladder.attempt_timeout(at)
        ended = at + max(min(fault.seconds, limit), 0.0)
        if fault.seconds >= limit:
            # Clipped; when there is nothing left to clip, the clients take that for a timeout.
            fault = Fault("timeout", fault.seconds, fault.jitter)
        said = ladder.failed(
            FailedAttempt(fault.kind, ended, fault.jitter, fault.hint, fault.no_retry)
        )
        call.log.append(Sent(lane, at, limit, ended, fault, said, ladder.fallback))
    return call


@st.composite
def policies(draw: st.DrawFn, deadlines: st.SearchStrategy[float | None]) -> FlexPolicy:
    """Any policy that can be made."""
    deadline = draw(deadlines)
    initial = draw(st.floats(0, 10))
    return FlexPolicy(
        deadline=deadline,
        patience=draw(st.floats(0, 100) | st.floats(50, 100)),
        flex_timeout=draw(st.floats(1, 100) | st.floats(100, 1_000)),
        standard_timeout=draw(st.floats(1, 100) | st.floats(100, 1_000)),
        standard_reserve=draw(st.floats(0, 1e4 if deadline is None else deadline * 0.99)),
        max_retries=draw(st.integers(0, 4)),
        backoff_initial=initial,
        backoff_max=initial + draw(st.floats(0, 100)),
        backoff_multiplier=draw(st.floats(1, 4)),
    )


ending = st.sampled_from(KINDS)
lasting = st.sampled_from([kind for kind in KINDS if kind not in ("rejected", "quota")])
faults = st.builds(
    Fault,
    kind=lasting | ending,
    seconds=st.floats(SHORTEST, 1) | st.floats(1, 30) | st.floats(30, 2_000),
    jitter=st.floats(0, 1, exclude_max=True),
    hint=st.none() | st.floats(1e-3, 30) | st.floats(30, 1_000),
    no_retry=st.sampled_from([False, False, True]),
    queued=st.just(0.0) | st.floats(0, 30) | st.floats(30, 300),
)
weathers = faults.map(lambda fault: [fault]) | st.lists(faults, min_size=1, max_size=12)
shut = st.floats(0, 100) | st.floats(0, 200) | st.just(math.inf)
closings: st.SearchStrategy[dict[str, float]] = (
    st.just({})
    | st.fixed_dictionaries({"flex": shut})
    | st.dictionaries(st.sampled_from([lane.name for lane in LANES]), shut)
)
some_deadline = st.floats(1, 100) | st.floats(100, 2_000)
any_deadline = st.none() | some_deadline


@st.composite
def calls(
    draw: st.DrawFn,
    deadlines: st.SearchStrategy[float | None] = any_deadline,
    ladders: tuple[tuple[Lane, ...], ...] = ((FLEX, STANDARD), LANES, (FLEX,), (STANDARD,)),
) -> Call:
    """Any call in any weather, played to its end, or to one attempt more than it may have."""
    policy, lanes = draw(policies(deadlines)), draw(st.sampled_from(ladders))
    closed, began = draw(closings), draw(st.floats(0, 1e6))
    ladder = Ladder(policy, lanes, began, lambda lane: closed.get(lane.name, 0.0))
    call = Call(policy, lanes, began, first=ladder.start(began))
    event(f"deadline: {policy.deadline is not None}, lanes: {len(lanes)}")
    return play(ladder, call, draw(weathers))


with_deadline = calls(deadlines=some_deadline)
without_deadline = calls(deadlines=st.none())


@given(with_deadline)
def test_waits_fit_the_deadline(call: Call) -> None:
    """No wait ends at or after the moment to leave its lane."""
    for decided, step in call.tries:
        assert step.wait >= 0
        assert step.wait == 0 or decided + step.wait < call.leave_by(step.lane)


@given(with_deadline)
def test_a_call_ends_by_its_deadline(call: Call) -> None:
    """With clipped attempts and fitting waits, the last attempt is over by then."""
    assert isinstance(call.step, GiveUp)
    assert call.now <= call.deadline * (1 + 1e-12)


@given(without_deadline)
def test_patience_alone_ends_a_call(call: Call) -> None:
    """Without a deadline, too, every call ends after a bounded number of attempts."""
    assert isinstance(call.step, GiveUp)


@given(calls(ladders=((FLEX, STANDARD), (FLEX,), (STANDARD,))))
def test_what_is_decided_can_be_sent(call: Call) -> None:
    """When the wait for a try is over, there is still time for it."""
    assert all(sent.limit > 0 for sent in call.log if not sent.not_admitted)


@given(calls())
def test_attempts_are_clipped_to_what_is_left(call: Call) -> None:
    """No attempt may take longer than its lane's timeout, nor than there is."""
    for sent in call.log:
        if not sent.not_admitted:
            assert sent.limit <= call.policy.attempt_timeout(sent.lane.name)
            assert sent.limit <= call.leave_by(sent.lane) - sent.at


@given(calls())
def test_what_is_no_use_is_not_tried_again(call: Call) -> None:
    """Rejected, or out of quota: one such answer ends the call."""
    for sent in call.log:
        if sent.fault.kind in ("rejected", "quota") and not sent.not_admitted:
            assert sent.then == GiveUp("none")


@given(calls())
def test_lanes_are_left_rightwards(call: Call) -> None:
    """No lane is come back to."""
    visited = [call.lanes.index(step.lane) for _, step in call.tries]
    assert visited == sorted(visited)


@given(calls())
def test_transient_faults_are_bounded_per_lane(call: Call) -> None:
    """At most ``max_retries`` new tries after them."""
    seen = Counter(
        sent.lane.name
        for sent in call.log
        if sent.fault.kind == "transient" and not sent.not_admitted
    )
    assert all(count <= call.policy.max_retries + 1 for count in seen.values())


@given(calls())
def test_no_try_is_started_without_patience(call: Call) -> None:
    """After a refusal, the same lane is tried again only while its patience lasts."""
    entered: dict[str, float] = {}
    for decided, step in call.tries:
        entered.setdefault(step.lane.name, decided)
    for sent in call.log:
        again = isinstance(sent.then, Send) and sent.then.lane is sent.lane
        if again and sent.fault.kind in ("capacity", "rate_limited"):
            assert isinstance(sent.then, Send)
            until = sent.ended + sent.then.wait
            assert until < entered[sent.lane.name] + call.policy.patience_seconds


@given(calls())
def test_the_server_is_obeyed(call: Call) -> None:
    """The same lane is asked again after the time the server named, and after its ``x-should-
    retry: false`` only where it refused, later. A refusal's time is waited at the limiter: the call
    lines up only where it will be over in time.
    """
    for sent in call.log:
        fault, then = sent.fault, sent.then
        if isinstance(then, GiveUp) or then.lane is not sent.lane:
            continue
        if fault.kind == "stream_unverified":  # not the same again
            continue
        if fault.kind == "capacity":
            asked = REFUSED_FOR if fault.no_retry and fault.hint is None else fault.hint or 0.0
            assert then.wait == 0
            assert sent.ended + asked < call.leave_by(sent.lane)
            assert asked < call.policy.patience_seconds
        else:
            assert fault.hint is None or then.wait == fault.hint
            assert not fault.no_retry


@given(calls())
def test_a_lane_that_turns_a_call_away_is_left(call: Call) -> None:
    """It is not lined up for again, and none is lined up for beyond patience and deadline."""
    entered: dict[str, float] = {}
    for decided, step in call.tries:
        entered.setdefault(step.lane.name, decided)
    for sent in call.log:
        if sent.not_admitted:
            assert isinstance(sent.then, GiveUp) or sent.then.lane is not sent.lane
            until = min(
                entered[sent.lane.name] + call.policy.patience_seconds, call.leave_by(sent.lane)
            )
            assert sent.at >= until


@given(calls())
def test_a_lane_that_was_left_has_a_reason(call: Call) -> None:
    """A call is off its first lane exactly if it says why."""
    for sent in call.log:
        lane = sent.lane if isinstance(sent.then, GiveUp) else sent.then.lane
        assert (lane is call.lanes[0]) == (sent.fallback is None)


@given(calls())
def test_plain_once_plain_for_good(call: Call) -> None:
    """A call asks for a stream until it may not, and never again after that."""
    unverified = False
    for sent in call.log:
        streamed = sent.fault.kind == "stream_unverified" and not sent.not_admitted
        unverified = unverified or streamed
        assert isinstance(sent.then, GiveUp) or sent.then.plain == unverified
