"""The ladder as tables: what happened, on which lane, with what left, and what comes next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

import pytest

from flextier.lanes import BATCH, FLEX, STANDARD, Lane
from flextier.lanes.failures import Kind
from flextier.planning.fallback import FailedAttempt, GiveUp, Ladder, Send, Step
from flextier.policy import FlexPolicy

T0 = 1_000.0
"""When calls begin: not 0, which would hide a forgotten offset."""
BOTH = (FLEX, STANDARD)
THIRD = Lane(name="priority", service_tier="priority")
KINDS: tuple[Kind, ...] = get_args(Kind)
WAITING: tuple[Kind, ...] = ("capacity", "rate_limited", "timeout")
"""The kinds that are waited out on flex for as long as patience allows."""


def ladder(*lanes: Lane, shut: Mapping[str, float] | None = None, **policy: Any) -> Ladder:
    """A ladder that began at T0, its first step taken."""
    closed = shut or {}
    made = Ladder(FlexPolicy(**policy), lanes or BOTH, T0, lambda lane: closed.get(lane.name, 0.0))
    made.start(T0)
    return made


def fail(ladder: Ladder, kind: Kind, after: float = 1.0, **facts: Any) -> Step:
    """Return the step after a failure ``after`` seconds into the call."""
    return ladder.failed(FailedAttempt(kind=kind, now=T0 + after, **facts))


def waited(kind: Kind, step: Step) -> Step:
    """The step for that kind: what the server asks after a refusal is waited at the limiter."""
    return step._replace(wait=0.0) if kind == "capacity" and isinstance(step, Send) else step


def on_standard(**policy: Any) -> Ladder:
    """A ladder that has just left flex, at T0."""
    made = ladder(**policy)
    assert fail(made, "lane_unsupported", after=0) == Send(STANDARD)
    return made


# --- each kind, on each lane ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "facts", "step"),
    [
        ("capacity", {}, Send(FLEX)),
        ("capacity", {"jitter": 0.25}, Send(FLEX)),
        ("capacity", {"hint": 20.0}, Send(FLEX)),
        ("capacity", {"no_retry": True}, Send(FLEX)),
        ("capacity", {"no_retry": True, "hint": 20.0}, Send(FLEX)),
        ("rate_limited", {}, Send(FLEX, 1.0)),
        ("rate_limited", {"hint": 20.0}, Send(FLEX, 20.0)),
        ("rate_limited", {"no_retry": True}, Send(STANDARD)),
        ("quota", {}, GiveUp("none")),
        ("quota", {"hint": 1.0}, GiveUp("none")),
        ("timeout", {}, Send(FLEX, 1.0)),
        ("timeout", {"hint": 20.0}, Send(FLEX, 20.0)),
        ("timeout", {"no_retry": True}, Send(STANDARD)),
        ("transient", {}, Send(FLEX, 1.0)),
        ("transient", {"jitter": 0.5}, Send(FLEX, 0.5)),
        ("transient", {"hint": 20.0}, Send(FLEX, 20.0)),
        ("transient", {"no_retry": True}, Send(STANDARD)),
        ("transient", {"no_retry": True, "hint": 20.0}, Send(STANDARD)),
        ("lane_unsupported", {}, Send(STANDARD)),
        ("lane_unsupported", {"hint": 20.0}, Send(STANDARD)),
        ("stream_unverified", {}, Send(FLEX, plain=True)),
        ("rejected", {}, GiveUp("none")),
        ("rejected", {"hint": 1.0}, GiveUp("none")),
    ],
)
def test_first_failure_on_flex(kind: Kind, facts: dict[str, Any], step: Step) -> None:
    """With time and another lane to go to: the table's flex column."""
    assert fail(ladder(), kind, **facts) == step


@pytest.mark.parametrize(
    ("kind", "facts", "step"),
    [
        ("capacity", {}, Send(STANDARD)),
        ("capacity", {"hint": 20.0}, Send(STANDARD)),
        ("rate_limited", {}, Send(STANDARD, 1.0)),
        ("rate_limited", {"hint": 20.0}, Send(STANDARD, 20.0)),
        ("rate_limited", {"no_retry": True}, GiveUp("server")),
        ("quota", {}, GiveUp("none")),
        ("timeout", {}, Send(STANDARD, 1.0)),
        ("timeout", {"jitter": 0.5}, Send(STANDARD, 0.5)),
        ("timeout", {"no_retry": True}, GiveUp("server")),
        ("transient", {}, Send(STANDARD, 1.0)),
        ("transient", {"hint": 20.0}, Send(STANDARD, 20.0)),
        ("transient", {"no_retry": True}, GiveUp("server")),
        ("lane_unsupported", {}, GiveUp("none")),
        ("stream_unverified", {}, Send(STANDARD, plain=True)),
        ("rejected", {}, GiveUp("none")),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "after flex"])
def test_first_failure_on_standard(
    kind: Kind, facts: dict[str, Any], step: Step, alone: bool
) -> None:
    """The table's standard column, whether the call began there or came there."""
    made = ladder(STANDARD) if alone else on_standard()
    assert fail(made, kind, **facts) == step


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("capacity", Send(FLEX)),
        ("rate_limited", Send(FLEX, 1.0)),
        ("timeout", Send(FLEX, 1.0)),
        ("transient", Send(FLEX, 1.0)),
        ("lane_unsupported", GiveUp("none")),
        ("stream_unverified", Send(FLEX, plain=True)),
        ("quota", GiveUp("none")),
        ("rejected", GiveUp("none")),
    ],
)
def test_flex_alone_never_falls_back(kind: Kind, step: Step) -> None:
    """A ladder of one lane is tried again there, or given up."""
    made = ladder(FLEX)
    assert fail(made, kind) == step
    assert made.lane is FLEX
    assert made.fallback is None


# --- streams that may not be ------------------------------------------------------------------


def test_a_call_stays_plain_from_then_on() -> None:
    """A call that may not stream is sent without streaming on retries and on later lanes, too."""
    made = ladder(max_retries=1)
    assert fail(made, "stream_unverified") == Send(FLEX, plain=True)
    assert fail(made, "transient", hint=2.0) == Send(FLEX, 2.0, plain=True)
    assert fail(made, "lane_unsupported") == Send(STANDARD, plain=True)
    assert fail(made, "rate_limited", hint=3.0) == Send(STANDARD, 3.0, plain=True)


def test_a_plain_call_that_may_not_stream_is_given_up() -> None:
    """A second stream_unverified, on a plain request, ends the call."""
    made = ladder()
    assert fail(made, "stream_unverified") == Send(FLEX, plain=True)
    assert fail(made, "stream_unverified") == GiveUp("none")


# --- patience ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WAITING)
@pytest.mark.parametrize(
    ("after", "hint", "step"),
    [
        (0.0, 99.9, Send(FLEX, 99.9)),
        (0.0, 100.0, Send(STANDARD)),
        (99.0, 0.9, Send(FLEX, 0.9)),
        (99.0, 1.0, Send(STANDARD)),
        (99.0, 5_000.0, Send(STANDARD)),
        (100.0, 0.001, Send(STANDARD)),
        (5_000.0, 0.001, Send(STANDARD)),
    ],
)
def test_patience_ends_a_lane(kind: Kind, after: float, hint: float, step: Step) -> None:
    """No new try is started once patience is spent, and no wait is begun that would spend it."""
    assert fail(ladder(patience=100), kind, after=after, hint=hint) == waited(kind, step)


def test_patience_counts_from_entering_the_lane() -> None:
    """The next lane has its own."""
    made = ladder(patience=100)
    assert fail(made, "capacity", after=150) == Send(STANDARD)
    assert fail(made, "rate_limited", after=200, hint=49.0) == Send(STANDARD, 49.0)
    assert fail(made, "rate_limited", after=249, hint=1.0) == GiveUp("patience")


@pytest.mark.parametrize("kind", WAITING)
def test_no_patience_leaves_at_the_first_refusal(kind: Kind) -> None:
    """Patience 0: nothing is waited for, not even for an instant."""
    assert fail(ladder(patience=0), kind, jitter=0.0) == Send(STANDARD)
    assert fail(ladder(FLEX, patience=0), kind, jitter=0.0) == GiveUp("patience")


@pytest.mark.parametrize("kind", ["transient", "stream_unverified"])
def test_patience_is_for_refusals(kind: Kind) -> None:
    """A lane that answers badly is no lane that refuses."""
    step = fail(ladder(patience=0), kind)
    assert isinstance(step, Send)
    assert step.lane is FLEX


def test_impatience_ends_the_call_on_the_last_lane() -> None:
    """Where there is no next lane, it is said that patience ended the call."""
    assert fail(ladder(FLEX, patience=100), "capacity", hint=100.0) == GiveUp("patience")
    assert fail(ladder(STANDARD, patience=100), "rate_limited", hint=100.0) == GiveUp("patience")
    assert fail(ladder(FLEX, patience=50), "capacity", no_retry=True) == GiveUp("patience")


def test_waits_grow_with_the_tries_on_a_lane() -> None:
    """Exponential with full jitter, and from the start again on the next lane; but how long a
    refusal is waited out is not for one call to say.
    """
    made = ladder(backoff_max=5)
    waits = [fail(made, "rate_limited", jitter=1.0), fail(made, "timeout", jitter=0.5)]
    waits += [fail(made, "timeout", jitter=jitter) for jitter in (1.0, 1.0, 0.1)]
    waits += [fail(made, "capacity", jitter=1.0)]
    assert waits == [Send(FLEX, seconds) for seconds in (1.0, 1.0, 4.0, 5.0, 0.5, 0.0)]
    fail(made, "lane_unsupported")
    assert fail(made, "rate_limited", jitter=1.0) == Send(STANDARD, 1.0)


# --- the deadline -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*WAITING, "transient"])
@pytest.mark.parametrize(
    ("after", "hint", "step"),
    [
        (0.0, 69.9, Send(FLEX, 69.9)),
        (0.0, 70.0, Send(STANDARD)),
        (69.0, 0.9, Send(FLEX, 0.9)),
        (69.0, 1.0, Send(STANDARD)),
        (69.0, 5_000.0, Send(STANDARD)),
        (99.9, 0.001, Send(STANDARD)),
        (100.0, 0.001, GiveUp("deadline")),
        (150.0, 0.001, GiveUp("deadline")),
    ],
)
def test_the_deadline_ends_a_lane(kind: Kind, after: float, hint: float, step: Step) -> None:
    """No wait crosses the moment to leave: the deadline less what is kept for the next lane."""
    made = ladder(deadline=100, standard_reserve=30)
    assert fail(made, kind, after=after, hint=hint) == waited(kind, step)


@pytest.mark.parametrize("kind", [*WAITING, "transient"])
@pytest.mark.parametrize(
    ("after", "hint", "step"),
    [
        (0.0, 99.9, Send(STANDARD, 99.9)),
        (0.0, 100.0, GiveUp("deadline")),
        (90.0, 9.0, Send(STANDARD, 9.0)),
        (90.0, 10.0, GiveUp("deadline")),
        (100.0, 0.001, GiveUp("deadline")),
    ],
)
def test_the_last_lane_has_it_all(kind: Kind, after: float, hint: float, step: Step) -> None:
    """Nothing is kept after the last lane: its waits may take all but the deadline itself."""
    for made in (on_standard(deadline=100), ladder(STANDARD, deadline=100)):
        assert fail(made, kind, after=after, hint=hint) == waited(kind, step)


def test_the_deadline_is_the_calls() -> None:
    """It counts from the beginning, whatever lanes came before."""
    made = ladder(deadline=100)
    assert made.deadline == T0 + 100
    fail(made, "capacity", after=90)
    assert made.deadline == T0 + 100
    assert ladder().deadline == math.inf


def test_a_lane_is_not_changed_after_the_deadline() -> None:
    """Where no lane can answer in time, the call ends on the one it is on."""
    made = ladder(deadline=100)
    assert fail(made, "lane_unsupported", after=100) == GiveUp("deadline")
    assert made.lane is FLEX
    assert made.fallback is None


@pytest.mark.parametrize("kind", ["rejected", "quota"])
def test_what_is_no_use_is_no_use_late(kind: Kind) -> None:
    """The deadline is not to blame for a failure that is never tried again."""
    assert fail(ladder(deadline=100), kind, after=150) == GiveUp("none")


def test_patience_is_asked_before_the_deadline() -> None:
    """Where both have run out, the first knob to turn is patience."""
    made = ladder(FLEX, lanes="flex", patience=10, deadline=10)
    assert fail(made, "capacity", hint=50.0) == GiveUp("patience")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lanes", [BOTH, (FLEX,), (STANDARD,)])
def test_a_server_of_one_word_is_left_in_the_end(kind: Kind, lanes: tuple[Lane, ...]) -> None:
    """Whatever a server keeps saying, the call ends."""
    made = ladder(*lanes, patience=10)
    steps = [fail(made, kind, after=second) for second in range(30)]
    assert any(isinstance(step, GiveUp) for step in steps)


# --- max_retries ------------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_transient_faults_are_counted_per_lane(retries: int) -> None:
    """So many new tries on each lane, then the next one, then the end."""
    made = ladder(max_retries=retries)
    for lane in BOTH:
        for _ in range(retries):
            assert fail(made, "transient", hint=1.0) == Send(lane, 1.0)
        if lane is FLEX:
            assert fail(made, "transient", hint=1.0) == Send(STANDARD)
    assert fail(made, "transient", hint=1.0) == GiveUp("max_retries")


@pytest.mark.parametrize("retries", [0, 2])
def test_timeouts_on_standard_are_counted(retries: int) -> None:
    """Standard does not stall for lack of capacity: its timeouts are faults like others."""
    made = on_standard(max_retries=retries)
    for _ in range(retries):
        assert fail(made, "timeout", hint=1.0) == Send(STANDARD, 1.0)
    assert fail(made, "timeout", hint=1.0) == GiveUp("max_retries")


@pytest.mark.parametrize("kind", WAITING)
def test_refusals_do_not_count_as_faults(kind: Kind) -> None:
    """Patience bounds them, ``max_retries`` does not."""
    made = ladder(max_retries=1)
    for _ in range(9):
        assert fail(made, kind, hint=1.0) == waited(kind, Send(FLEX, 1.0))
    assert fail(made, "transient", hint=1.0) == Send(FLEX, 1.0)
    assert fail(made, "transient", hint=1.0) == Send(STANDARD)


# --- lanes that are known to be shut ----------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "step", "fallback"),
    [
        (0.0, Send(FLEX), None),
        (-1.0, Send(FLEX), None),
        (0.5, Send(FLEX), None),
        (5.0, Send(FLEX), None),
        (99.9, Send(FLEX), None),
        (100.0, Send(STANDARD), "capacity"),
        (5_000.0, Send(STANDARD), "capacity"),
        (math.inf, Send(STANDARD), "lane_unsupported"),
    ],
)
def test_a_first_lane_that_is_shut(seconds: float, step: Step, fallback: str | None) -> None:
    """It is lined up for if it opens within patience, else passed by; what is infinite is not for
    this model.
    """
    made = Ladder(FlexPolicy(patience=100), BOTH, T0, lambda lane: seconds)
    assert made.start(T0) == step
    assert made.fallback == fallback


def test_lanes_are_open_unless_known_to_be_shut() -> None:
    """Without knowledge the call begins at once, on its first lane."""
    assert Ladder(FlexPolicy(), BOTH, T0).start(T0) == Send(FLEX)


@pytest.mark.parametrize(("seconds", "step"), [(69.9, Send(FLEX)), (70.0, Send(STANDARD))])
def test_a_shut_lane_is_waited_for_within_the_deadline(seconds: float, step: Step) -> None:
    """The wait fits before the moment to leave, or the lane is passed by."""
    made = Ladder(FlexPolicy(deadline=100, standard_reserve=30), BOTH, T0, lambda lane: seconds)
    assert made.start(T0) == step


@pytest.mark.parametrize("lane", BOTH, ids=lambda lane: str(lane.name))
@pytest.mark.parametrize("seconds", [5.0, 5_000.0, math.inf])
def test_a_single_lane_is_tried_though_shut(lane: Lane, seconds: float) -> None:
    """Where there is nothing to fall back on, the server is asked again: what is known may be
    out of date."""
    made = Ladder(FlexPolicy(), (lane,), T0, lambda lane: seconds)
    assert made.start(T0) == Send(lane)
    assert made.fallback is None


@pytest.mark.parametrize(
    ("shut", "step", "fallback"),
    [
        ({}, Send(FLEX), None),
        ({"flex": math.inf}, Send(THIRD), "lane_unsupported"),
        ({"flex": math.inf, "priority": 10.0}, Send(THIRD), "lane_unsupported"),
        ({"flex": 999.0, "priority": math.inf}, Send(STANDARD), "capacity"),
        ({"flex": math.inf, "priority": 999.0}, Send(STANDARD), "lane_unsupported"),
        ({"flex": 999.0, "priority": 999.0, "standard": 999.0}, Send(STANDARD), "capacity"),
    ],
)
def test_shut_lanes_are_passed_by_in_order(
    shut: dict[str, float], step: Step, fallback: str | None
) -> None:
    """The first lane that opens soon enough; the reason is that of the first one passed by."""
    lanes = (FLEX, THIRD, STANDARD)
    made = Ladder(FlexPolicy(), lanes, T0, lambda lane: shut.get(lane.name, 0.0))
    assert made.start(T0) == step
    assert made.fallback == fallback


def test_a_shut_lane_in_the_middle_is_passed_by_later_too() -> None:
    """What is known of a lane counts whenever the call comes to it."""
    made = ladder(FLEX, THIRD, STANDARD, shut={"priority": math.inf})
    assert fail(made, "capacity", hint=999.0) == Send(STANDARD)
    assert made.fallback == "capacity"


def test_patience_for_a_lane_that_opens_includes_the_wait() -> None:
    """Waiting for the door to open is waiting, too."""
    made = ladder(shut={"flex": 60.0}, patience=100)
    assert made.until == T0 + 100
    assert fail(made, "capacity", after=61, hint=38.0) == Send(FLEX)
    assert fail(made, "capacity", after=61, hint=39.0) == Send(STANDARD)


# --- lanes that keep the call waiting ---------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ({"patience": 100}, 100.0),
        ({"patience": 0}, 0.0),
        ({"patience": 100, "deadline": 120, "standard_reserve": 30}, 90.0),
        ({"patience": 100, "deadline": 200, "standard_reserve": 30}, 100.0),
    ],
)
def test_a_call_lines_up_until_patience_or_the_reserve(
    policy: dict[str, Any], seconds: float
) -> None:
    """The limiter may hold it for so long, whichever ends first."""
    assert ladder(**policy).until == T0 + seconds


def test_with_a_deadline_a_call_queues_to_the_last_safe_moment() -> None:
    """Patience that is not given does not end before the reserve for standard begins."""
    made = ladder(deadline=900)
    assert made.until == T0 + 870
    assert fail(made, "capacity", after=600, hint=60.0) == Send(FLEX)
    assert fail(made, "timeout", after=800, hint=60.0) == Send(FLEX, 60.0)
    assert fail(made, "capacity", after=810, hint=60.0) == Send(STANDARD)


@pytest.mark.parametrize("deadline", [1, 30])
def test_no_more_time_than_the_reserve(deadline: float) -> None:
    """The call goes to standard at once, with all of the deadline."""
    made = Ladder(FlexPolicy(deadline=deadline), BOTH, T0)
    assert made.start(T0) == Send(STANDARD)
    assert made.fallback == "unfinished"
    assert made.attempt_timeout(T0) == deadline


def test_a_measured_standard_needs_less_than_the_reserve() -> None:
    """Then a deadline below ``standard_reserve`` leaves time for flex."""
    made = learnt(latency={"standard": (1.0, 2.0)}, deadline=20, standard_reserve=30)
    assert made.lane is FLEX


def test_only_a_lane_that_may_be_short_has_patience() -> None:
    """On standard there is nothing to be patient for: a rate limit is waited out to the end."""
    assert on_standard(patience=5).until == math.inf
    assert on_standard(patience=5, deadline=60).until == T0 + 60
    assert ladder(FLEX, patience=500, deadline=60).until == T0 + 60


def test_refusals_do_not_renew_patience() -> None:
    """It counts from entering the lane, not from the last refusal."""
    made = ladder(patience=100)
    fail(made, "capacity", after=80)
    assert made.until == T0 + 100
    fail(made, "capacity", after=100)
    assert made.until == math.inf, "on standard"


def test_not_admitted_goes_to_the_next_lane() -> None:
    """A lane that has not let the call in by then is left for want of capacity."""
    made = ladder(patience=100)
    assert made.not_admitted(T0 + 100) == Send(STANDARD)
    assert made.fallback == "capacity"


@pytest.mark.parametrize(
    ("policy", "after", "limit"),
    [
        ({"patience": 100}, 100.0, "patience"),
        ({"patience": 100, "deadline": 120}, 100.0, "patience"),
        ({"patience": 120, "deadline": 100}, 99.0, "deadline"),
        ({"patience": 120, "deadline": 100}, 100.0, "deadline"),
    ],
)
def test_not_admitted_from_the_last_lane(policy: dict[str, Any], after: float, limit: Any) -> None:
    """The call ends, and says which knob would have helped."""
    assert ladder(FLEX, lanes="flex", **policy).not_admitted(T0 + after) == GiveUp(limit)


def test_a_plain_call_that_is_not_admitted_stays_plain() -> None:
    """A call that may not stream is sent without streaming on the next lane, too."""
    made = ladder(patience=100)
    fail(made, "stream_unverified")
    assert fail(made, "capacity") == Send(FLEX, plain=True)
    assert made.not_admitted(T0 + 100) == Send(STANDARD, plain=True)


def test_not_admitted_passes_by_lanes_that_are_shut() -> None:
    """As after any other failure."""
    made = ladder(FLEX, THIRD, STANDARD, shut={"priority": math.inf})
    assert made.not_admitted(T0 + 1) == Send(STANDARD)
    assert made.fallback == "capacity"


# --- what is learnt of how long answers take --------------------------------------------------


def learnt(*lanes: Lane, latency: dict[str, tuple[float, float]], **policy: Any) -> Ladder:
    """A ladder that knows the median and the slowest answers of lanes."""

    def answers(lane: Lane, share: float) -> float | None:
        return latency[lane.name][share > 0.5] if lane.name in latency else None

    return Ladder(FlexPolicy(**policy), lanes or BOTH, T0, latency=answers)


def test_the_reserve_is_what_standard_takes() -> None:
    """Once it is known: 99 in 100 answers, a fifth more and a moment, not ``standard_reserve``."""
    made = learnt(latency={"standard": (2.0, 10.0)}, deadline=100, standard_reserve=30)
    assert made.attempt_timeout(T0) == pytest.approx(87.75)
    assert made.until == pytest.approx(T0 + 87.75)
    assert made.latest == pytest.approx(T0 + 87.75)


def test_a_lane_that_takes_long_is_entered_early() -> None:
    """No attempt is worth starting that half of the answers would be too slow for."""
    latency = {"flex": (25.0, 500.0), "standard": (2.0, 10.0)}
    made = learnt(latency=latency, deadline=100)
    assert made.latest == made.until == pytest.approx(T0 + 62.75)
    assert made.attempt_timeout(T0) == pytest.approx(87.75), "an attempt itself may take it all"


def test_the_last_lane_is_tried_to_the_end() -> None:
    """Where there is nothing to keep time for, a slow answer may still come in time."""
    latency = {"flex": (25.0, 500.0), "standard": (25.0, 500.0)}
    assert learnt(FLEX, latency=latency, lanes="flex", deadline=100).latest == T0 + 100
    assert learnt(STANDARD, latency=latency, deadline=100).until == T0 + 100


def test_without_a_deadline_nothing_is_kept() -> None:
    """However long answers take."""
    made = learnt(latency={"flex": (25.0, 500.0), "standard": (25.0, 500.0)}, patience=300)
    assert made.latest == math.inf
    assert made.until == T0 + 300


# --- why a call left --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("capacity", {"hint": 999.0}),
        ("rate_limited", {"hint": 999.0}),
        ("timeout", {"hint": 999.0}),
        ("transient", {"no_retry": True}),
        ("lane_unsupported", {}),
    ],
)
def test_the_reason_of_a_fallback(kind: Kind, facts: dict[str, Any]) -> None:
    """The last failure before the lane was left."""
    made = ladder()
    fail(made, "capacity", hint=1.0)
    assert made.fallback is None
    fail(made, kind, **facts)
    assert made.fallback == kind
    assert made.lane is STANDARD


def test_the_reason_is_that_of_the_first_lane() -> None:
    """A second fallback does not change why the first lane did not serve."""
    made = ladder(FLEX, THIRD, STANDARD)
    assert fail(made, "lane_unsupported") == Send(THIRD)
    assert fail(made, "transient", no_retry=True) == Send(STANDARD)
    assert made.fallback == "lane_unsupported"


# --- how long an attempt may take -------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "flex", "standard", "to_the_end"),
    [
        (0.0, 50.0, 40.0, 50.0),
        (20.0, 50.0, 40.0, 50.0),
        (50.0, 20.0, 40.0, 50.0),
        (65.0, 5.0, 35.0, 35.0),
        (70.0, 0.0, 30.0, 30.0),
        (80.0, -10.0, 20.0, 20.0),
        (100.0, -30.0, 0.0, 0.0),
        (110.0, -40.0, -10.0, -10.0),
    ],
)
def test_attempts_are_clipped(at: float, flex: float, standard: float, to_the_end: float) -> None:
    """The lane's timeout or what is left, whichever is less; of the reserve only an answer that
    has begun may take."""
    knobs: dict[str, Any] = {
        "deadline": 100,
        "standard_reserve": 30,
        "flex_timeout": 50,
        "standard_timeout": 40,
    }
    assert ladder(**knobs).attempt_timeout(T0 + at) == flex
    assert ladder(**knobs).attempt_timeout(T0 + at, to_the_end=True) == to_the_end
    assert on_standard(**knobs).attempt_timeout(T0 + at) == standard
    assert on_standard(**knobs).attempt_timeout(T0 + at, to_the_end=True) == standard


def test_without_a_deadline_the_lanes_timeout_counts() -> None:
    """Also after hours."""
    assert ladder().attempt_timeout(T0 + 1e6) == 900.0
    assert on_standard().attempt_timeout(T0 + 1e6) == 600.0
    assert ladder(THIRD).attempt_timeout(T0) == 600.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_lane_keeps_no_reserve(kind: Kind) -> None:
    """A deadline below ``standard_reserve`` is all for the one lane there is."""
    made = ladder(FLEX, lanes="flex", deadline=20, standard_reserve=30)
    assert made.attempt_timeout(T0 + 5) == 15.0
    step = fail(made, kind, hint=10.0)
    assert isinstance(step, GiveUp) == (kind in ("quota", "rejected", "lane_unsupported"))


@pytest.mark.parametrize("kind", ["transient", "timeout"])
def test_a_fault_that_asks_for_more_than_patience(kind: Kind) -> None:
    """A 503 with a Retry-After of a day falls back if another lane is open."""
    ladder = Ladder(FlexPolicy(patience=300), (FLEX, STANDARD), now=0.0)
    assert ladder.failed(FailedAttempt(kind, now=1.0, hint=86_400.0)) == Send(STANDARD)
    assert ladder.failed(FailedAttempt(kind, now=2.0, hint=86_400.0)) == GiveUp("patience")


# --- a lane whose answers are fetched ---------------------------------------------------------

OFFLINE = (BATCH, FLEX, STANDARD)


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("capacity", Send(FLEX)),
        ("rate_limited", Send(FLEX)),
        ("quota", GiveUp("none")),
        ("timeout", Send(FLEX)),
        ("transient", Send(FLEX)),
        ("lane_unsupported", Send(FLEX)),
        ("stream_unverified", Send(FLEX, plain=True)),
        ("unfinished", Send(FLEX)),
        ("rejected", GiveUp("none")),
    ],
)
def test_first_failure_on_batch(kind: Kind, step: Step) -> None:
    """The next lane is sooner than another batch: nothing is waited for."""
    made = ladder(*OFFLINE)
    assert fail(made, kind, hint=5.0) == step
    assert made.fallback == (kind if isinstance(step, Send) else None)


@pytest.mark.parametrize("kind", ["capacity", "rate_limited", "timeout", "transient", "unfinished"])
def test_batch_alone_is_tried_again(kind: Kind) -> None:
    """With no other lane, another batch it is, ``max_retries`` times."""
    made = ladder(BATCH, max_retries=1)
    assert fail(made, kind) == Send(BATCH, 1.0)
    assert fail(made, kind) == GiveUp("max_retries")


def test_when_a_batch_is_left() -> None:
    """Called off at the deadline less batch_reserve; cut off when the next lane needs the rest."""
    made = ladder(*OFFLINE, deadline=3600, batch_reserve=900, standard_reserve=30)
    assert made.cancel_at == T0 + 2700
    assert made.attempt_ends_by == T0 + 3570
    assert made.attempt_timeout(T0) == 3570


def test_batch_alone_has_the_whole_deadline() -> None:
    """There is nothing to keep anything for."""
    made = ladder(BATCH, deadline=3600)
    assert made.cancel_at == made.attempt_ends_by == T0 + 3600


@pytest.mark.parametrize(
    ("policy", "lane"),
    [
        ({"deadline": 900}, FLEX),
        ({"deadline": 910, "batch_window": 10}, FLEX),
        ({"deadline": 911, "batch_window": 10}, BATCH),
        ({"deadline": 100, "batch_reserve": 40, "batch_window": 1}, BATCH),
        ({}, BATCH),
    ],
)
def test_a_deadline_too_short_for_a_batch(policy: dict[str, Any], lane: Lane) -> None:
    """A batch that would be cancelled before it is sent is skipped, with the fallback reason."""
    made = ladder(*OFFLINE, **policy)
    assert made.lane is lane
    assert made.fallback == (None if lane is BATCH else "unfinished")


def test_batch_has_no_limit_of_its_own() -> None:
    """Without a deadline an attempt on batch has no timeout: a batch takes a day at most."""
    assert ladder(*OFFLINE).attempt_timeout(T0) == math.inf
