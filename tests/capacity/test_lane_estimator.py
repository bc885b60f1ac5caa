"""What is learnt of one lane from what is sent and what comes of it. No clock, no threads."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.lane_estimator import FIRST_WINDOW, LaneEstimator
from flextier.capacity.limiter import HeldPermit
from flextier.capacity.permit import Permit, ProbeSpacing, Verdict

T0 = 1_000.0
EXACT = ProbeSpacing(1.0, 2.0, 60.0, 1.0)
"""Probes without chance: after 1, 2, 4, … seconds."""
QUICK = 0.05
"""The silence that means admitted once refusals came in a hundredth of a second."""


@dataclass
class Lane:
    """An estimator and the time, driven as the limiter drives it."""

    estimator: LaneEstimator = field(default_factory=lambda: LaneEstimator("flex", scarce=True))
    now: float = T0
    lost: list[object] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether the lane would take a request now."""
        return self.estimator.may_send(self.now)

    def send(self, count: int = 1, *, begun: bool = True) -> list[Permit]:
        """Requests that are let out now."""
        return [self._send(begun) for _ in range(count)]

    def _send(self, begun: bool) -> Permit:
        permit = HeldPermit(self.estimator, math.inf, math.inf, 0, self.lost.append)
        permit.granted = True
        self.estimator.sent(permit, self.now)
        if begun:
            permit.begun, permit.sent_at = True, self.now
        return permit

    def end(self, *permits: Permit, verdict: Verdict = "served", timed: bool = False) -> None:
        """They came to an end now."""
        for permit in permits:
            if permit.granted:
                self.estimator.ended(permit, verdict, self.now, EXACT, timed)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def settle(self) -> None:
        """Learn what is known by now."""
        self.estimator.settle(self.now)

    def refuse(self, count: int = 1) -> None:
        """Requests, sent at once, that are refused a moment later."""
        permits = self.send(count)
        self.wait(0.01)
        self.end(*permits, verdict="refused")

    def admit(self, count: int) -> list[Permit]:
        """Requests, sent at once, that are in by now, and stay."""
        permits = self.send(count)
        self.wait(self.estimator.silence.silence)
        self.settle()
        return permits


def quick() -> Lane:
    """A lane whose refusals are known to come fast."""
    lane = Lane()
    lane.estimator.silence.add(0.01)
    assert lane.estimator.silence.silence == QUICK
    return lane


def held(limit: int) -> tuple[Lane, list[Permit]]:
    """Return a lane held at ``limit`` requests, all in flight, a second before its probe."""
    lane = quick()
    inside = lane.admit(limit) if limit else []
    lane.refuse(3)
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == limit
    return lane, inside


# --- open -------------------------------------------------------------------------------------


def test_a_lane_that_is_not_known_takes_ten() -> None:
    """So many may be out before anything is known."""
    lane = Lane()
    assert FIRST_WINDOW == 10
    lane.send(9)
    assert lane.open
    lane.send()
    assert not lane.open


def test_silence_means_admitted() -> None:
    """A request that was not refused for longer than refusals take makes room for others."""
    lane = Lane()
    lane.send(10)
    lane.wait(0.99)
    assert not lane.open
    assert lane.estimator.next_chance(lane.now) == T0 + 1.0
    lane.wait(0.01)
    assert lane.open
    assert (lane.estimator.confirmed, lane.estimator.in_flight) == (10, 10)


def test_an_answer_means_admitted_at_once() -> None:
    """It need not be waited for longer."""
    lane = Lane()
    permits = lane.send(10)
    lane.end(permits[0])
    assert lane.open
    assert (lane.estimator.answered, lane.estimator.in_flight) == (1, 9)


def test_each_one_that_gets_in_makes_room_for_two() -> None:
    """While calls are waiting, the window doubles with each round."""
    lane = Lane()
    lane.send(10)
    for _ in range(10):
        lane.end(lane.estimator.pending[0])
        while lane.open:
            lane.send()
    assert lane.estimator.window == 20
    assert len(lane.estimator.pending) == 20


def test_a_window_that_is_not_used_does_not_grow() -> None:
    """One call after the other says nothing of how many the lane takes at once."""
    lane = Lane()
    for _ in range(50):
        lane.end(*lane.send())
    assert lane.estimator.window == 10


def test_what_is_known_is_learnt_in_the_order_of_sending() -> None:
    """A later answer waits for the fate of the requests before it."""
    lane = Lane()
    first, second = lane.send(2)
    lane.end(second)
    assert list(lane.estimator.pending) == [first, second]
    lane.wait(1)
    lane.settle()
    assert not lane.estimator.pending
    assert lane.estimator.confirmed == 1


def test_a_lane_that_was_not_used_is_entered_carefully_again() -> None:
    """Half the window for each minute, and never less than at first."""
    lane = Lane()
    lane.send()
    lane.estimator.window = 40.0
    lane.wait(60)
    lane.send()
    assert lane.estimator.window == 40.0
    lane.wait(120)
    lane.send()
    assert lane.estimator.window == pytest.approx(10.0)
    lane.wait(1e9)
    lane.send()
    assert lane.estimator.window == 10.0


def test_a_small_window_is_not_made_large_by_a_pause() -> None:
    """What is below the first window stays as it is."""
    lane = Lane()
    lane.send()
    lane.estimator.window = 3.0
    lane.wait(1e6)
    lane.send()
    assert lane.estimator.window == 3.0


# --- refusals by chance -----------------------------------------------------------------------


def test_a_refusal_stops_the_wave() -> None:
    """Until it is known what came of the others, and for a moment after that."""
    lane = Lane()
    permits = lane.send(5)
    lane.wait(0.01)
    lane.end(permits[2], verdict="refused")
    assert not lane.open
    assert lane.estimator.unsettled == 1
    lane.end(permits[0], permits[1])
    assert lane.estimator.unsettled == 0
    assert not lane.open
    assert lane.estimator.pause == pytest.approx(lane.now + QUICK)
    lane.wait(QUICK)
    assert lane.open


def test_one_refusal_is_no_shut_lane() -> None:
    """Nor are two: the next request may go out after a moment."""
    lane = Lane()
    lane.refuse(2)
    assert lane.estimator.hold is None
    assert not lane.estimator.refuses(lane.now)
    lane.wait(QUICK)
    assert lane.open


def test_refusals_between_admissions_are_chance() -> None:
    """One in three all day, come back before the others: the lane stays open."""
    lane = Lane()
    for _ in range(60):
        permits = lane.send(3)
        lane.wait(0.01)
        lane.end(permits[1], verdict="refused")
        lane.wait(1)
        lane.end(permits[0], permits[2])
        assert lane.estimator.hold is None
    assert lane.estimator.chance.rate == pytest.approx(1 / 3, abs=0.05)


def test_after_refusals_in_a_row_only_one_is_tried() -> None:
    """At the level where they came, as many as would be right by chance; below it all may go."""
    lane = Lane()
    lane.refuse(2)
    lane.wait(QUICK)
    lane.send()
    assert not lane.open


# --- held -------------------------------------------------------------------------------------


def test_refusals_in_a_row_hold_the_lane() -> None:
    """At what is in: here nothing."""
    lane = Lane()
    lane.refuse(3)
    hold = lane.estimator.hold
    assert hold is not None
    assert (hold.limit, hold.next_probe) == (0, pytest.approx(lane.now + 1.0))
    assert lane.estimator.refuses(lane.now)
    assert not lane.open
    assert lane.estimator.next_chance(lane.now) == hold.next_probe


def test_a_lane_is_held_at_what_is_in() -> None:
    """A request that ends makes room for one."""
    lane, inside = held(4)
    lane.wait(QUICK)
    assert not lane.open
    lane.end(inside[0])
    assert lane.open
    (new,) = lane.send()
    assert not new.probe
    assert not lane.open


def test_a_probe_goes_out_alone() -> None:
    """When its time has come, one request goes beyond the limit, and no second one."""
    lane, _ = held(4)
    lane.wait(0.99)
    assert not lane.open
    lane.wait(0.01)
    assert lane.open
    (probe,) = lane.send()
    assert probe.probe
    lane.wait(30)
    probe.sent_at = lane.now
    assert not lane.open


def test_a_probe_that_is_refused_is_followed_by_a_later_one() -> None:
    """Further apart as time goes by, by half of the time since the first refusal at most."""
    lane, _ = held(4)
    assert lane.estimator.hold is not None
    gaps = []
    for _ in range(8):
        lane.now = lane.estimator.hold.next_probe
        assert lane.open
        lane.refuse()
        assert lane.estimator.hold.limit == 4
        gaps.append(lane.estimator.hold.next_probe - lane.now)
        assert gaps[-1] <= max(3.0, (lane.now - lane.estimator.hold.since) / 2) + 1e-9
    assert gaps[:2] == pytest.approx([2.0, 3.0])
    assert gaps == sorted(gaps)
    assert gaps[-1] > 2 * gaps[0]


def test_a_shut_lane_is_probed_oftener_than_a_full_one() -> None:
    """Three times as often: nothing else would show that the lane has opened."""
    lane, _ = held(0)
    assert lane.estimator.hold is not None
    lane.now = lane.estimator.hold.since + 70
    lane.estimator.hold.probes = 20
    lane.refuse()
    assert lane.estimator.hold.next_probe - lane.now == pytest.approx(10.0, rel=0.01)


def test_a_lane_that_opens_again_is_filled_carefully_where_it_was_full() -> None:
    """Up to four requests at once as before, then one after the other, then more and more; with
    eight beyond, it is not thought to be full there any more."""
    lane, inside = held(4)
    lane.end(*inside)
    for _ in range(2):
        lane.refuse()
    lane.wait(20)
    (probe,) = lane.admit(1)
    assert lane.estimator.hold is None
    lane.estimator.window = 20.0
    while lane.open:
        lane.send()
    assert lane.estimator.in_flight == 4
    sent = []
    for _ in range(6):
        lane.wait(QUICK)
        before = lane.estimator.in_flight
        while lane.open:
            lane.send()
        sent.append(lane.estimator.in_flight - before)
    assert sent[:5] == [1, 1, 1, 2, 3]
    assert sent[5] == 20
    lane.end(probe)


def test_one_refusal_shows_a_lane_full_where_it_was_full() -> None:
    """The second probe was admitted, the next request was not: it has one slot more than before."""
    lane, _ = held(4)
    for _ in range(40):  # no random refusals
        lane.estimator.chance.were_random(0)
    lane.wait(1)
    lane.refuse()
    lane.wait(2)
    lane.admit(1)
    assert lane.estimator.hold is None
    lane.refuse()
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == 5


def test_random_refusals_within_the_limit_do_not_lower_it() -> None:
    """Where every second request is refused at random, two in a row do not mean less room."""
    lane, inside = held(4)
    for _ in range(40):
        lane.estimator.chance.were_random(1)
    lane.end(*inside[:2])
    for _ in range(3):
        lane.wait(QUICK)
        lane.refuse()
        assert lane.estimator.hold is not None
        assert lane.estimator.hold.limit == 4
    for _ in range(9):
        lane.wait(QUICK)
        lane.refuse()
    assert lane.estimator.hold.limit < 4


def test_a_probe_that_gets_in_opens_the_lane() -> None:
    """By silence or by an answer; carefully, with a window of two at least."""
    lane, _ = held(4)
    lane.wait(1)
    lane.send()
    lane.wait(QUICK)
    assert lane.open
    assert lane.estimator.hold is None
    assert lane.estimator.window == 2
    assert lane.estimator.confirmed == 5


def test_a_lane_that_shuts_again_is_held_again() -> None:
    """What was learnt before does not keep it open."""
    lane, _ = held(0)
    lane.wait(1)
    lane.end(*lane.send())
    assert lane.estimator.hold is None
    lane.wait(1)
    for _ in range(5):
        assert lane.estimator.hold is None
        lane.refuse()
        lane.wait(QUICK)
    assert lane.estimator.hold is not None


@pytest.mark.parametrize("verdict", ["gone", ""])
def test_a_probe_without_an_outcome_is_repeated(verdict: Verdict) -> None:
    """Cancelled, or a server error: another one may go at once."""
    lane, _ = held(0)
    lane.wait(1)
    (probe,) = lane.send(begun=bool(verdict))
    assert not lane.open
    if verdict:
        lane.end(probe, verdict=verdict)
    else:
        lane.wait(2)  # admitted, but never sent
    assert lane.open
    assert lane.estimator.hold is not None


def test_a_limit_that_is_too_high_falls() -> None:
    """A refusal within it: to what is in; another one: the lane is shut, whatever is in."""
    lane, inside = held(4)
    lane.end(*inside[:2])
    lane.wait(QUICK)
    lane.refuse()
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == 2
    lane.end(inside[2])
    lane.wait(QUICK)
    lane.refuse()
    assert lane.estimator.hold.limit == 0
    assert lane.estimator.confirmed == 1


def test_admissions_within_the_limit_confirm_it() -> None:
    """Two refusals with an admission between them are not two in a row."""
    lane, inside = held(4)
    lane.end(*inside[:3])
    lane.wait(QUICK)
    lane.refuse()
    lane.end(inside[3])
    assert lane.estimator.hold is not None
    lane.wait(QUICK)
    lane.admit(1)
    assert lane.estimator.hold.refused == 0
    assert lane.estimator.hold.limit == 1


def test_requests_sent_before_raise_the_limit() -> None:
    """They were on their way when the refusals came: if they get in, there was room for them."""
    lane = quick()
    inside = lane.admit(2)
    lane.estimator.chance.run = 2
    before = lane.send(4)
    lane.wait(0.01)
    lane.end(before[0], verdict="refused")
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == 2
    lane.wait(QUICK)
    lane.settle()
    assert lane.estimator.hold.limit == 5
    assert len(inside) + 3 == lane.estimator.confirmed


def test_a_refusal_that_comes_late_counts() -> None:
    """A request that was taken for admitted, and is refused after all."""
    lane = quick()
    inside = lane.admit(4)
    lane.end(*inside[:3], verdict="refused")
    assert lane.estimator.confirmed == 1
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == 1


# --- permits that are not used ----------------------------------------------------------------


def test_a_permit_that_is_not_used_is_taken_back() -> None:
    """After two seconds the place of an admitted but unsent request is free."""
    lane = Lane()
    (permit,) = lane.send(begun=False)
    lane.wait(1.9)
    lane.settle()
    assert permit.granted
    lane.wait(0.1)
    lane.settle()
    assert not permit.granted
    assert (lane.estimator.in_flight, lane.estimator.confirmed) == (0, 0)
    assert lane.estimator.window == 10


def test_a_permit_that_is_used_late_is_not_taken_back() -> None:
    """What has been sent by then is known by its silence."""
    lane = Lane()
    (permit,) = lane.send(begun=False)
    lane.wait(1.9)
    permit.begun, permit.sent_at = True, lane.now
    lane.wait(0.5)
    lane.settle()
    assert permit.granted
    assert not permit.confirmed
    lane.wait(0.5)
    lane.settle()
    assert permit.confirmed


@pytest.mark.parametrize("confirmed", [False, True])
def test_a_permit_that_is_dropped_says_so(confirmed: bool) -> None:
    """A stream that is dropped unread stops counting as in flight."""
    lane = Lane()
    permits = lane.send()
    if confirmed:
        lane.wait(1)
    lane.settle()
    permits[0].confirmed = confirmed
    lane.estimator.pending.clear()
    permits.clear()
    assert lane.lost == [(lane.estimator, confirmed)]
    lane.estimator.drop(confirmed)
    assert (lane.estimator.in_flight, lane.estimator.confirmed) == (0, 0)


@pytest.mark.parametrize("granted", [False, True])
def test_a_permit_that_was_ended_or_never_granted_is_not_lost(granted: bool) -> None:
    """It has no place to give back."""
    lane = Lane()
    permit = HeldPermit(lane.estimator, math.inf, math.inf, 0, lane.lost.append)
    if granted:
        permit.granted = True
        lane.estimator.sent(permit, lane.now)
        lane.end(permit)
    del permit
    assert lane.lost == []


# --- the server's word ------------------------------------------------------------------------


def test_a_lane_is_shut_for_as_long_as_the_server_says() -> None:
    """Then one request may try, and opens it if it gets in."""
    lane = Lane()
    lane.estimator.shut(T0 + 30, T0)
    lane.wait(29.9)
    assert not lane.open
    assert lane.estimator.refuses(lane.now)
    assert lane.estimator.next_chance(lane.now) == T0 + 30
    lane.wait(0.1)
    assert lane.open
    (probe,) = lane.send()
    assert not lane.open
    lane.end(probe)
    assert lane.open
    assert lane.estimator.hold is None


def test_the_longest_word_counts() -> None:
    """A shorter one after it opens nothing."""
    lane = Lane()
    lane.estimator.shut(T0 + 30, T0)
    lane.estimator.shut(T0 + 10, T0)
    lane.wait(20)
    assert not lane.open


def test_what_gets_in_meanwhile_does_not_open_a_shut_lane() -> None:
    """The server said when, whatever becomes of requests that were out."""
    lane = Lane()
    lane.send(4)
    lane.estimator.shut(T0 + 30, T0 + 0.01)
    lane.wait(1)
    lane.settle()
    assert lane.estimator.hold is not None
    assert lane.estimator.hold.limit == 0
    assert not lane.open


def test_a_probe_that_is_out_stays_the_only_one() -> None:
    """The word came with another answer."""
    lane, _ = held(0)
    lane.wait(1)
    (probe,) = lane.send()
    lane.estimator.shut(lane.now + 5, lane.now)
    lane.wait(5)
    probe.sent_at = lane.now
    assert not lane.open


# --- lanes that always have capacity ----------------------------------------------------------


def test_a_lane_that_always_has_capacity_is_not_held_back() -> None:
    """Its requests are counted and timed, and no more."""
    lane = Lane(LaneEstimator("standard", scarce=False))
    permits = lane.send(500)
    assert lane.open
    assert lane.estimator.in_flight == 500
    lane.end(*permits[:20], timed=True)
    lane.end(*permits[20:], verdict="refused")
    assert lane.open
    assert not lane.estimator.refuses(lane.now)
    assert (lane.estimator.in_flight, lane.estimator.answered, lane.estimator.refused) == (
        0,
        20,
        480,
    )
    assert lane.estimator.durations.quantile(0.5) == 0.0


def test_only_complete_answers_are_timed() -> None:
    """A stream takes as long as its reader does; a refusal and a fault take no time to answer."""
    lane = Lane()
    served, stream, refused, gone = lane.send(4)
    lane.wait(5)
    lane.end(served, timed=True)
    lane.end(stream)
    lane.end(refused, verdict="refused", timed=True)
    lane.end(gone, verdict="gone", timed=True)
    assert len(lane.estimator.durations) == 1


# --- laws -------------------------------------------------------------------------------------

ACTIONS = st.sampled_from(
    ["send", "send", "grant", "serve", "refuse", "refuse", "gone", "shut", "force"]
)
PAUSES = st.sampled_from([0.0, 0.0, 0.01, 0.05, 0.3, 1.0, 2.5, 61.0])


@given(st.lists(st.tuples(ACTIONS, PAUSES, st.integers(0, 99)), max_size=120))
def test_an_estimator_keeps_count_and_is_never_stuck(steps: list[tuple[str, float, int]]) -> None:
    """Whatever is sent and comes of it: the counts fit, at most one probe is out, and time alone
    opens the lane to a waiting call.
    """
    lane, out = Lane(), list[Permit]()
    estimator = lane.estimator
    for action, pause, pick in steps:
        if action in ("send", "grant"):
            if lane.open:
                out += lane.send(begun=action == "send")
        elif action == "force":  # a last try, whatever is known
            out += lane.send()
        elif action == "shut":
            estimator.shut(lane.now + pick / 10, lane.now)
        elif out:
            verdicts: dict[str, Verdict] = {"serve": "served", "refuse": "refused", "gone": "gone"}
            lane.end(out.pop(pick % len(out)), verdict=verdicts[action])
        lane.wait(pause)
        lane.settle()
        alive = [permit for permit in out if permit.granted]
        assert estimator.in_flight == len(alive)
        assert estimator.confirmed == sum(permit.confirmed for permit in alive)
        assert estimator.unsettled == sum(t.verdict == "refused" for t in estimator.pending)
        assert estimator.window >= 1
        assert estimator.hold is None or estimator.hold.limit >= 0
    for _ in range(500):
        if lane.open:
            return
        chance = estimator.next_chance(lane.now)
        lane.now = max(chance, lane.now + 0.001)
    raise AssertionError("the lane never opens")
