"""What the process remembers of its lanes, and what threads may do to it."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from flextier import LaneState, capacity_snapshot
from flextier.capacity import CAPACITY, LaneKey, LimiterRegistry, Permit
from flextier.capacity.snapshot import states

KEY = LaneKey("https://api.openai.com/v1/", "account", "o3", "flex")
OTHERS = [
    KEY._replace(base_url="https://eu.api.openai.com/v1/"),
    KEY._replace(account="another"),
    KEY._replace(model="o4-mini"),
    KEY._replace(lane="standard"),
]


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads that change places as often as the interpreter lets them."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def shut(capacity: LimiterRegistry, key: LaneKey, until: float, now: float = 0.0) -> None:
    """The server says when to come back."""
    limiter = capacity.limiter(*key[:3], 0.0)
    limiter.shut(limiter.lane(key.lane, scarce=True), until, now)


def send(capacity: LimiterRegistry, key: LaneKey = KEY, now: float = 0.0) -> Permit:
    """A request that goes out."""
    limiter = capacity.limiter(*key[:3], 0.0)
    permit = limiter.try_acquire(limiter.lane(key.lane, scarce=True), now, now + 60, now + 60)
    limiter.start(permit, now)
    return permit


def state(capacity: LimiterRegistry, key: LaneKey = KEY, now: float = 0.0) -> LaneState:
    """What is shown of one lane."""
    (shown,) = [s for s in states(capacity, now) if LaneKey(*_key(s)) == key]
    return shown


def _key(shown: LaneState) -> tuple[str, str, str, str]:
    return shown.base_url, shown.account, shown.model, shown.lane


# --- the server's word ------------------------------------------------------------------------


def test_what_is_not_known_is_open() -> None:
    """A lane that nothing was learnt of may be asked now."""
    assert LimiterRegistry().shut_for(KEY, 100.0) == 0.0


@pytest.mark.parametrize(
    ("now", "seconds"),
    [(90.0, 20.0), (100.0, 10.0), (109.5, 0.5), (110.0, 0.0), (111.0, 0.0), (1e9, 0.0)],
)
def test_a_shut_lane_opens_in_time(now: float, seconds: float) -> None:
    """The seconds count down to the moment, and are 0 from then on."""
    capacity = LimiterRegistry()
    shut(capacity, KEY, 110.0)
    assert capacity.shut_for(KEY, now) == seconds


@pytest.mark.parametrize("other", OTHERS)
def test_knowledge_is_about_one_lane(other: LaneKey) -> None:
    """Another server, account, model or lane is another matter."""
    capacity = LimiterRegistry()
    capacity.mark_unsupported(KEY)
    assert capacity.shut_for(other, 0.0) == 0.0
    shut(capacity, other, 5.0)
    assert capacity.shut_for(KEY, 0.0) == math.inf
    assert capacity.shut_for(other, 0.0) == 5.0


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [(110.0, 120.0, 20.0), (120.0, 110.0, 20.0), (50.0, 110.0, 10.0)],
)
def test_the_longest_word_counts(first: float, second: float, seconds: float) -> None:
    """A shorter Retry-After does not open what a longer one has shut."""
    capacity = LimiterRegistry()
    shut(capacity, KEY, first)
    shut(capacity, KEY, second)
    assert capacity.shut_for(KEY, 100.0) == seconds


def test_unsupported_is_for_good() -> None:
    """A lane that does not serve a model does not begin to, whatever it said before."""
    capacity = LimiterRegistry()
    shut(capacity, KEY, 5.0)
    capacity.mark_unsupported(KEY)
    assert capacity.shut_for(KEY, 1e12) == math.inf


def test_reset_forgets_everything() -> None:
    """As in a new process."""
    capacity = LimiterRegistry()
    for key in (KEY, *OTHERS):
        shut(capacity, key, 1e9)
        capacity.mark_unsupported(key)
    capacity.reset()
    assert [capacity.shut_for(key, 0.0) for key in (KEY, *OTHERS)] == [0.0] * 5
    assert states(capacity, 0.0) == ()


def test_a_call_under_way_outlives_a_reset() -> None:
    """It ends at its old limiter, and leaves no trace in the new one."""
    capacity = LimiterRegistry()
    limiter, permit = capacity.limiter(*KEY[:3], 0.0), send(capacity)
    capacity.reset()
    send(capacity)
    limiter.end(permit, "served", 1.0)
    assert (state(capacity).in_flight, state(capacity).answered) == (1, 0)


def test_memories_are_apart() -> None:
    """One that is made for a test is not the process's."""
    LimiterRegistry().mark_unsupported(KEY)
    shut(LimiterRegistry(), KEY, 1e9)
    assert CAPACITY.shut_for(KEY, 0.0) == 0.0
    assert LimiterRegistry().shut_for(KEY, 0.0) == 0.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_without_state() -> None:
    """The child has no waiting calls, and no lock held by a thread of the parent."""
    CAPACITY.mark_unsupported(KEY)
    with CAPACITY._limiters._lock:
        child = os.fork()
        if child == 0:
            known = states(CAPACITY, 0.0) or CAPACITY.shut_for(KEY, 0.0)
            os._exit(1 if known else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert CAPACITY.shut_for(KEY, 0.0) == math.inf


# --- what is shown ----------------------------------------------------------------------------


def test_only_lanes_that_were_asked_for_are_shown() -> None:
    """A limiter without a lane is not in the snapshot."""
    capacity = LimiterRegistry()
    capacity.limiter(*KEY[:3], 0.0)
    assert states(capacity, 0.0) == ()
    send(capacity)
    send(capacity, KEY._replace(lane="standard"))
    assert [s.lane for s in states(capacity, 0.0)] == ["flex", "standard"]


def test_an_open_lane_is_shown() -> None:
    """Its requests are counted, and nothing that is not known is made up."""
    capacity = LimiterRegistry()
    permit, limiter = send(capacity), capacity.limiter(*KEY[:3], 0.0)
    other = send(capacity)
    limiter.end(permit, "served", 3.0, timed=True)
    assert state(capacity, now=3.0) == LaneState(
        *KEY[:3],
        lane="flex",
        state="open",
        waiting=0,
        in_flight=1,
        limit=None,
        opens_in=0.0,
        answered=1,
        refused=0,
        stalled=0,
        refusal_rate=pytest.approx(0.03, abs=0.01),
        typical_seconds=None,
        slow_seconds=None,
    )
    assert other.confirmed


def test_a_lane_with_retry_after_is_shown_as_shut() -> None:
    """It opens when the server said, and then waits for the one request that may try."""
    capacity = LimiterRegistry()
    send(capacity)
    shut(capacity, KEY, 110.0)
    shown = state(capacity, now=100.0)
    assert (shown.state, shown.limit, shown.opens_in) == ("shut", 0, 10.0)
    assert state(capacity, now=111.0).opens_in == 0.0


def test_a_lane_that_does_not_serve_the_model_is_unsupported() -> None:
    """It never opens."""
    capacity = LimiterRegistry()
    send(capacity)
    capacity.mark_unsupported(KEY)
    assert (state(capacity).state, state(capacity).opens_in) == ("unsupported", math.inf)


def test_how_long_answers_took_is_shown() -> None:
    """After twenty of them: the median, and what 99 in 100 keep to."""
    capacity = LimiterRegistry()
    limiter = capacity.limiter(*KEY[:3], 0.0)
    for seconds in range(1, 21):
        limiter.end(send(capacity), "served", float(seconds), timed=True)
    shown = state(capacity)
    assert (shown.typical_seconds, shown.slow_seconds) == (11.0, 20.0)


def test_a_state_is_plain_to_others() -> None:
    """As a dict of JSON's types, by the names of its fields."""
    capacity = LimiterRegistry()
    send(capacity)
    as_dict = state(capacity).to_dict()
    assert json.loads(json.dumps(as_dict)) == as_dict
    assert LaneState(**as_dict) == state(capacity)


def test_a_lost_request_is_not_shown() -> None:
    """A dropped permit does not count as in flight, whether or not another request was sent."""
    capacity = LimiterRegistry()
    permit = send(capacity)
    assert state(capacity).in_flight == 1
    send(capacity, now=10.0)  # by then the first one is known to be in
    del permit
    assert state(capacity, now=10.0).in_flight == 1


def test_the_process_shows_what_it_knows_on_the_real_clock() -> None:
    """``capacity_snapshot()`` is about all of the process's calls."""
    assert capacity_snapshot() == ()
    now = time.monotonic()
    shut(CAPACITY, KEY, now + 100, now)
    (shown,) = capacity_snapshot()
    assert 90 < shown.opens_in <= 100


# --- threads ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("eager_switches")
def test_threads_share_one_limiter() -> None:
    """Many that ask for the same limiter and lane at once get the same."""
    capacity, start = LimiterRegistry(), Barrier(8)

    def ask(_: int) -> set[int]:
        start.wait()
        limiters = [capacity.limiter(*key[:3], 0.0) for key in OTHERS]
        return {
            id(thing)
            for limiter in limiters
            for thing in (limiter, limiter.lane("flex", scarce=True))
        }

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert all(one == found[0] for one in found)


@pytest.mark.usefixtures("eager_switches")
def test_threads_do_not_lose_the_longest_word() -> None:
    """Many that shut the same lanes at once leave the longest word of all, on every lane."""
    capacity, start = LimiterRegistry(), Barrier(8)

    def work(worker: int) -> None:
        start.wait()
        for step in range(300):
            for key in OTHERS:
                shut(capacity, key, 1_000.0 + (step * 7 + worker * 13) % 501)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    longest = max((step * 7 + worker * 13) % 501 for step in range(300) for worker in range(8))
    assert [capacity.shut_for(key, 1_000.0) for key in OTHERS] == [float(longest)] * 4


@pytest.mark.usefixtures("eager_switches")
def test_a_reader_does_not_forget_a_newer_word() -> None:
    """Reading never takes along what was said meanwhile."""
    capacity, start = LimiterRegistry(), Barrier(5)

    def read(_: int) -> None:
        start.wait()
        for now in range(2_000):
            capacity.shut_for(KEY, float(now))

    def write(_: int) -> None:
        start.wait()
        for now in range(2_000):
            shut(capacity, KEY, float(now))
        shut(capacity, KEY, 1e9)

    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(read, worker) for worker in range(4)] + [pool.submit(write, 4)]
        for job in jobs:
            job.result()
    assert capacity.shut_for(KEY, 0.0) == 1e9


@pytest.mark.usefixtures("eager_switches")
def test_snapshots_while_requests_run() -> None:
    """What is shown while others send and end is of one moment, and no error."""
    capacity, done = LimiterRegistry(), Event()
    limiter = capacity.limiter(*KEY[:3], 0.0)

    def work(worker: int) -> None:
        for step in range(400):
            permit = send(capacity, now=float(step))
            verdict = "refused" if (step + worker) % 2 else "served"
            limiter.end(permit, verdict, step + 0.1, timed=True)

    def watch() -> list[LaneState]:
        shown: list[LaneState] = []
        while not done.is_set():
            shown += states(capacity, 200.0)
        return shown

    with ThreadPoolExecutor(5) as pool:
        watching = pool.submit(watch)
        for job in [pool.submit(work, worker) for worker in range(4)]:
            job.result()
        done.set()
        assert all(0 <= shown.in_flight <= 4 for shown in watching.result())
    assert (state(capacity).answered, state(capacity).refused) == (800, 800)


def test_limiters_that_are_not_used_are_dropped() -> None:
    """After an hour without a call, once there are many; with what is known of their models."""
    capacity = LimiterRegistry()
    keys = [KEY._replace(account=str(number)) for number in range(300)]
    for key in keys[:100]:
        send(capacity, key)
        capacity.mark_unsupported(key)
    held = {key.account: capacity.limiter(*key[:3], 3_000.0) for key in keys[:2]}  # used since
    for key in keys[3:100]:  # the third is in flight still
        limiter = capacity.limiter(*key[:3], 0.0)
        for permit in list(limiter.lane(key.lane, scarce=True).pending):
            limiter.end(permit, "served", 1.0)
    version = capacity.version
    capacity.limiter(*keys[200][:3], 4_000.0)
    assert capacity.version > version
    shown = {state.account for state in states(capacity, 4_000.0)}
    assert shown == {"0", "1", "2"}
    assert [capacity.limiter(*key[:3], 4_000.0) for key in keys[:2]] == list(held.values())
    assert [capacity.is_unsupported(key) for key in keys[:4]] == [True] * 3 + [False]


def test_a_registry_keeps_its_size_while_models_come_and_go() -> None:
    """Each of them for a minute."""
    capacity = LimiterRegistry()
    for minute in range(5_000):
        key = KEY._replace(model=f"model-{minute}")
        limiter = capacity.limiter(*key[:3], minute * 60.0)
        limiter.lane(key.lane, scarce=True)
    assert len(states(capacity, 0.0)) <= 200
