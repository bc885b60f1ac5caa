"""Courses of responses in virtual time: looked at seldom, soon enough, and never too late."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flextier.background.poll_schedule import MAX_UNSTORED_INTERVAL, PollSchedule
from flextier.errors import BackgroundUnfinished
from tests.background.virtual import HOUR, Server, course, run
from tests.batch.crowd import patch_all


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are in programs: here no call waits for them."""
    patch_all(monkeypatch, "MIN_POLL_INTERVAL", 2.0, "flextier.background")


def test_a_response_of_eight_hours() -> None:
    """Some hundred looks, and its answer is noticed within minutes."""
    server = Server(ends=8 * HOUR)
    (ended,) = run(server, [course(server)])
    assert ended.said is not None
    assert ended.said.status == "completed"
    assert ended.at - server.ends <= 360
    assert len(server.times("look")) < 200


@pytest.mark.parametrize("ends", [1.0, 10.0, 60.0, 600.0])
def test_an_answer_is_noticed_soon(ends: float) -> None:
    """At most a quarter of its age later, or three seconds."""
    server = Server(ends=ends)
    (ended,) = run(server, [course(server)])
    assert ended.at - ends <= max(3.0, ends / 4)


def test_what_is_not_stored_is_seen_before_it_is_deleted() -> None:
    """Ten minutes after its end it is gone, however seldom others are looked at."""
    server = Server(ends=8 * HOUR, stored=False)
    (ended,) = run(server, [course(server, max_interval=3_000.0)])
    assert ended.at - server.ends < MAX_UNSTORED_INTERVAL * 1.2 < 600
    assert len(server.times("look")) < 250


def test_thousands_look_less_often() -> None:
    """Of 1,000, each is looked at as often as one; together they keep to the account's rate."""
    server, pace = Server(ends=2 * HOUR), PollSchedule()
    ended = run(server, [course(server, pace, f"resp_{n}") for n in range(1_000)])
    assert all(one.said is not None for one in ended)
    looks = server.times("look")
    assert len(looks) / 1_000 < 80
    by_minute = Counter(int(when // 60) for when in looks)
    assert max(by_minute[minute] for minute in by_minute if minute) <= 60 * 31


def test_a_rate_limited_account_polls_less_often() -> None:
    """After a refusal no poll is sent until the server allows it, and then not all at once."""
    server, pace = Server(ends=HOUR, per_minute=600), PollSchedule()
    ended = run(server, [course(server, pace, f"resp_{n}") for n in range(1_000)])
    assert [one.error for one in ended if one.said is None] == []
    assert max(one.at for one in ended) - server.ends < 600
    assert server.refused < len(server.asked) / 10


@settings(max_examples=60, deadline=None)
@given(
    ends=st.floats(0, 5_000),
    cancel_at=st.floats(0.5, 5_000),
    room=st.floats(0.1, 60),
    fails=st.sampled_from([0.0, 0.3, 1.0]),
    cancels=st.booleans(),
    max_interval=st.floats(20, 1_000),
)
def test_no_wait_passes_the_last_moment(
    ends: float, cancel_at: float, room: float, fails: float, cancels: bool, max_interval: float
) -> None:
    """Whatever happens: looks come before the last moment, and the call goes on by its limit."""
    server = Server(ends=ends, fails=fails, cancels=cancels)
    limits = {
        "cancel_at": cancel_at,
        "attempt_ends_by": cancel_at + room,
        "max_interval": max_interval,
    }
    (ended,) = run(server, [course(server, **limits)])
    assert ended.at <= cancel_at + room + 1e-6
    first_cancel = min(server.times("cancel"), default=ended.at)
    assert first_cancel <= cancel_at + 1e-6
    if ended.said is None:
        assert isinstance(ended.error, BackgroundUnfinished)
        assert server.times("cancel")
    elif fails == 0:
        assert ended.said.status == "completed"
