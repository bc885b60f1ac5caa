"""Pacing under limits per minute, stated in headers or shown by refusals."""

from __future__ import annotations

import pytest

from flextier.capacity.pacing import Pacing
from flextier.capacity.rate_bucket import RateBucket, RateLimit

T0 = 1_000.0
TPM = RateLimit("tokens", remaining=4_337, limit=200_000, refill=3_333, requested=7_592)


def send(pace: Pacing, start: float, end: float, rate: float = 100.0) -> list[tuple[float, int]]:
    """The requests that are sent if ``rate`` of them are wanted each second."""
    sent, now = list[tuple[float, int]](), start
    while now < end:
        if pace.may_send(now):
            sent.append((now, pace.sent(now)))
            now += 1 / rate
        else:
            assert pace.next_chance() > now
            now = pace.next_chance()
    return sent


def refuse(pace: Pacing, now: float, wait: float, refused: RateLimit) -> None:
    pace.limited(now, wait, refused, pace.sent(now), now)


def report(pace: Pacing, unit: str, limit: float, remaining: float, now: float) -> None:
    """A response states a limit, at the moment its request is sent."""
    stated = RateLimit(unit, remaining, limit, limit / 60)  # type: ignore[arg-type]  # a unit
    pace.reported([stated], pace.sent(now), now, now)


@pytest.fixture
def pace() -> Pacing:
    """Ten seconds of 100 requests a second have been sent."""
    pace = Pacing()
    send(pace, T0 - 10, T0)
    return pace


# --- tokens, by refusals ----------------------------------------------------------------------


def test_a_token_limit_makes_all_wait_as_the_server_says(pace: Pacing) -> None:
    """Nothing is sent before the moment that it names."""
    refuse(pace, T0, 0.976, TPM)
    assert not pace.may_send(T0 + 0.97)
    assert pace.may_send(T0 + 0.98)


def test_one_token_limit_costs_a_second_or_two_of_throughput(pace: Pacing) -> None:
    """Half the rate after the wait, the whole rate a second later, though the refusal's numbers
    would allow one request in two seconds."""
    refuse(pace, T0, 0.976, TPM)
    assert len(send(pace, T0 + 1, T0 + 2)) > 50
    assert len(send(pace, T0 + 2, T0 + 4)) > 190
    send(pace, T0 + 4, T0 + 12)
    assert not pace.on


def test_requests_are_not_spaced_out_after_a_token_limit(pace: Pacing) -> None:
    """It says nothing of how many requests may be sent."""
    refuse(pace, T0, 0.976, TPM)
    assert not pace.requests.on


def test_refusals_of_one_burst_count_once(pace: Pacing) -> None:
    """Twenty requests in flight are refused together: that is one refusal."""
    for n in range(20):
        refuse(pace, T0 + n / 100, 0.5, TPM)
    assert len(send(pace, T0 + 0.7, T0 + 1.7)) > 40


def test_each_later_refusal_slows_further(pace: Pacing) -> None:
    """Until the rate is one that the limit bears."""
    now, rates = T0, list[int]()
    for _ in range(4):
        refuse(pace, now, 0.5, RateLimit("tokens"))
        rates.append(len(send(pace, now + 0.5, now + 1.5)))
        now += 1.6
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < rates[0] / 2


# --- stated limits ----------------------------------------------------------------------------


def test_a_stated_request_limit_is_kept_before_the_first_refusal() -> None:
    """500 calls at once, 40 requests left: 40 are sent, then as many as come back."""
    pace = Pacing()
    report(pace, "requests", 240, 40, T0)
    sent = send(pace, T0, T0 + 10, rate=1e4)
    assert len(sent) == pytest.approx(40 + 10 * 4, abs=2)
    assert sum(at < T0 + 1 for at, _ in sent) <= 45


def test_a_stated_token_limit_is_kept_by_what_requests_have_taken() -> None:
    """The cost of a request is the difference from one report to the next."""
    pace = Pacing()
    for n in range(3):
        report(pace, "tokens", 60_000, 10_000 - 1_000 * n, T0 + n / 100)
    assert pace.seconds_for(18, T0 + 0.02) == pytest.approx(10.0, rel=0.1)
    sent = send(pace, T0 + 0.02, T0 + 10, rate=1e4)
    assert len(sent) == pytest.approx(8 + 10, abs=2)


def test_a_report_that_enough_is_left_ends_the_slowing_down(pace: Pacing) -> None:
    """The response to a request that was sent after the refusal knows better."""
    refuse(pace, T0, 0.1, TPM)
    report(pace, "tokens", 200_000, 150_000, T0 + 0.2)
    assert len(send(pace, T0 + 0.2, T0 + 0.4, rate=1e4)) > 15


def test_a_limit_that_only_refusals_state_does_not_last(pace: Pacing) -> None:
    """No response would show that more is left again."""
    refuse(pace, T0, 0.5, RateLimit("requests", 0, 240, 4))
    refuse(pace, T0, 0.5, TPM)
    assert pace.seconds_for(10_000, T0 + 60) < 10_000 / 4


def test_a_server_that_counts_the_last_minute_is_refused_once() -> None:
    """It refuses though enough should have come back: from then on, a minute has no more."""
    pace = Pacing()
    report(pace, "requests", 100, 99, T0)
    send(pace, T0, T0 + 5, rate=19.0)
    report(pace, "requests", 100, 20, T0 + 5)
    pace.limited(T0 + 5.1, 55.0, RateLimit("requests", 0, 100, 100 / 60), 999, T0 + 5.1)
    assert not pace.may_send(T0 + 59)
    sent = send(pace, T0 + 59, T0 + 300, rate=1e4)
    for at, _ in sent:
        assert sum(at - 60 < other <= at for other, _ in sent) <= 100
    assert len(sent) >= 350


def test_a_limit_that_no_header_states_spaces_requests_out() -> None:
    """Groq states the requests of a day, and also limits those of a minute."""
    pace = Pacing()
    report(pace, "requests", 14_400, 14_000, T0)
    send(pace, T0, T0 + 20, rate=1.5)
    pace.limited(T0 + 20, 2.0, RateLimit("requests"), 31, T0 + 20)
    assert pace.requests.interval == pytest.approx(1.05 * 60 / 30, rel=0.1)
    assert len(send(pace, T0 + 22, T0 + 82)) < 35


def test_reports_out_of_order_are_ignored() -> None:
    """The response to an earlier request that arrives later knows less."""
    bucket = RateBucket(1.0)
    bucket.report(RateLimit("requests", 50, 100, 1), 10, T0, 0, T0)
    bucket.report(RateLimit("requests", 90, 100, 1), 9, T0 - 1, 1, T0)
    assert bucket.left(T0) == 50


def test_what_was_sent_after_the_request_of_a_report_is_taken_off() -> None:
    """It had not arrived when the server counted."""
    bucket = RateBucket(1.0)
    bucket.report(RateLimit("requests", 50, 100, 1), 10, T0, 20, T0 + 3)
    assert bucket.left(T0 + 3) == 50 + 3 - 20
