"""The request limit that lanes share: how far apart requests go out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.request_rate import RequestRate

T0 = 1_000.0


def busy(requests: int, seconds: float = 60.0, end: float = T0) -> RequestRate:
    """Return a rate after ``requests`` unlimited requests, spread over ``seconds``."""
    pace = RequestRate()
    for n in range(requests):
        pace.sent(end - seconds + n * seconds / requests)
    return pace


def sent_by(pace: RequestRate, start: float, seconds: float) -> list[float]:
    """Return when requests are sent if calls are always waiting."""
    now, moments = start, list[float]()
    while now < start + seconds:
        if pace.may_send(now):
            pace.sent(now)
            moments.append(now)
        else:
            assert pace.next_chance() > now
            now = pace.next_chance()
    return moments


def test_it_is_free_until_limited() -> None:
    """Without a rate limit no request is delayed, however many were sent."""
    pace = busy(100_000)
    assert not pace.on
    assert pace.may_send(T0)
    assert pace.next_chance() == 0.0


def test_nothing_goes_out_before_the_server_said() -> None:
    """Retry-After is everybody's."""
    pace = busy(100)
    pace.limited(T0, 7.0)
    assert pace.on
    assert not pace.may_send(T0 + 6.9)
    assert pace.next_chance() == T0 + 7.0
    assert pace.may_send(T0 + 7.0)


def test_a_shorter_word_does_not_shorten_a_longer_one() -> None:
    """The latest moment that any answer named counts."""
    pace = busy(100)
    pace.limited(T0, 7.0)
    pace.limited(T0 + 1, 2.0)
    assert pace.until == T0 + 7.0


@pytest.mark.parametrize("requests", [30, 60, 600])
def test_the_pace_is_what_went_through(requests: int) -> None:
    """What the server took in the minute before, and five in a hundred less."""
    pace = busy(requests)
    pace.sent(T0)
    pace.limited(T0, 0.0)
    assert pace.interval == pytest.approx(1.05 * 60 / requests, rel=0.05)


def test_requests_are_spaced_out_from_then_on() -> None:
    """In ten seconds as many as fit, at most one early."""
    pace = busy(600)
    pace.limited(T0, 1.0)
    interval = pace.interval
    moments = sent_by(pace, T0, 10.0)
    assert moments[0] == T0 + 1.0
    assert len(moments) == pytest.approx(9.0 / interval, abs=2)
    for n in range(2, len(moments)):
        assert moments[n] - moments[n - 2] >= interval * 0.999


def test_an_idle_lane_saves_up_nothing() -> None:
    """After a pause requests are as far apart as before it, but for one."""
    pace = busy(600)
    pace.limited(T0, 0.0)
    sent_by(pace, T0, 1.0)
    moments = sent_by(pace, T0 + 30, 1.0)
    assert len(moments) <= 1.0 / pace.interval + 2


def test_refusals_of_one_wave_count_once() -> None:
    """What was out when the limit was met comes back limited, too: that slows nothing further."""
    one, wave = busy(600), busy(600)
    one.limited(T0, 0.0)
    for n in range(5):
        wave.limited(T0 + n * 0.1, 0.0)
    assert wave.interval == pytest.approx(one.interval, rel=0.02)


def test_a_limit_that_is_met_again_slows_further() -> None:
    """By a fifth, if it is not of the same wave."""
    pace = busy(600)
    pace.limited(T0, 0.0)
    before = pace.interval
    pace.limited(T0 + 2, 0.0)
    assert pace.interval == pytest.approx(1.2 * before, rel=0.01)


def test_where_others_use_up_the_limit_the_pace_is_guessed() -> None:
    """After fewer than ten requests, the rate is estimated from Retry-After."""
    pace = busy(5)
    pace.limited(T0, 0.7)
    assert pace.interval == 0.7
    pace.limited(T0 + 1, 30.0)
    assert pace.interval == 2.0, "no slower than that"
    pace = RequestRate()
    pace.limited(T0, 0.0)
    assert pace.interval == 0.05, "no faster than that"


def test_a_limit_that_counts_seconds_sets_the_pace_of_the_fastest_second() -> None:
    """20 in any second, met 12 s after the first request: no minute is over in half a second."""
    for stated in (0.0, 1_200.0):
        pace = busy(30, seconds=12.0)
        for n in range(20):
            pace.sent(T0 + n / 40)
        pace.sent(T0 + 0.5)
        pace.limited(T0 + 0.5, 0.5, stated)
        assert pace.interval == pytest.approx(1.05 / 20, rel=0.1)
    sent_by(pace, T0 + 1, 4.0)
    pace.limited(T0 + 5, 0.5, 1_200.0)
    assert pace.interval == pytest.approx(1.2 * 1.05 / 20, rel=0.1)


def test_a_burst_that_uses_up_the_minute_says_nothing_of_seconds() -> None:
    """The server asks to wait until the minute is over: the minute's rate counts."""
    pace = RequestRate()
    for n in range(241):
        pace.sent(T0 + n / 100)
    pace.limited(T0 + 2.5, 57.5)
    assert pace.interval == pytest.approx(1.05 * 60 / 240, rel=0.01)


def test_a_guessed_pace_gets_faster_from_one_to_the_next() -> None:
    """It may have been guessed much too slow."""
    pace = RequestRate()
    pace.limited(T0, 2.0)
    moments = sent_by(pace, T0, 60.0)
    assert pace.interval < 1.2
    assert moments[-1] - moments[-2] < moments[3] - moments[2]


def test_a_calm_limit_is_tried_faster() -> None:
    """Ten seconds without meeting it: five in a hundred faster, not more than once in that time."""
    pace = busy(600)
    pace.limited(T0, 0.0)
    before = pace.interval
    sent_by(pace, T0, 9.9)
    assert pace.interval == before
    sent_by(pace, T0 + 10.0, 9.9)
    assert pace.interval == pytest.approx(0.95 * before)


def test_a_limit_that_was_not_met_for_a_minute_is_forgotten() -> None:
    """A minute without a rate limit ends the pacing."""
    pace = busy(600)
    pace.limited(T0, 0.0)
    pace.relax(T0 + 60)
    assert pace.on
    pace.relax(T0 + 60.1)
    assert not pace.on
    assert pace.may_send(T0 + 60.1)
    assert pace.next_chance() == 0.0


def test_a_long_wait_is_not_forgotten() -> None:
    """Retry-After of an hour is an hour."""
    pace = busy(600)
    pace.limited(T0, 3_600.0)
    pace.relax(T0 + 3_599)
    assert not pace.may_send(T0 + 3_599)
    pace.relax(T0 + 3_600)
    assert pace.may_send(T0 + 3_600)


@given(
    st.lists(
        st.tuples(st.floats(0, 5), st.booleans(), st.sampled_from([0.0, 0.01, 1.0, 20.0])),
        max_size=200,
    )
)
def test_a_pace_never_stands_still(steps: list[tuple[float, bool, float]]) -> None:
    """Whatever comes: what was said is kept, and there is always a next chance that is one."""
    pace, now = RequestRate(), T0
    for seconds, limited, wait in steps:
        now += seconds
        if limited:
            pace.limited(now, wait)
        elif pace.may_send(now):
            pace.sent(now)
        assert pace.interval >= 0
        chance = max(pace.next_chance(), now)
        assert pace.may_send(chance)
        assert chance <= max(now, pace.until) + 2 * max(pace.interval, 0.001) + 60
