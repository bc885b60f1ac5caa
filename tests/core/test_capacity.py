"""What the process remembers of its lanes, and what threads may do to it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from flextier.capacity import CAPACITY, Capacity, LaneKey

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


def test_what_is_not_known_is_open() -> None:
    """A lane that nothing was learnt of may be asked now."""
    assert Capacity().shut_for(KEY, 100.0) == 0.0


@pytest.mark.parametrize(
    ("now", "seconds"),
    [(90.0, 20.0), (100.0, 10.0), (109.5, 0.5), (110.0, 0.0), (111.0, 0.0), (1e9, 0.0)],
)
def test_a_shut_lane_opens_in_time(now: float, seconds: float) -> None:
    """The seconds count down to the moment, and are 0 from then on."""
    capacity = Capacity()
    capacity.shut(KEY, 110.0)
    assert capacity.shut_for(KEY, now) == seconds


@pytest.mark.parametrize("other", OTHERS)
def test_knowledge_is_about_one_lane(other: LaneKey) -> None:
    """Another server, account, model or lane is another matter."""
    capacity = Capacity()
    capacity.shut(KEY, math.inf)
    assert capacity.shut_for(other, 0.0) == 0.0
    capacity.shut(other, 5.0)
    assert capacity.shut_for(KEY, 0.0) == math.inf
    assert capacity.shut_for(other, 0.0) == 5.0


@pytest.mark.parametrize(
    ("first", "second", "seconds"),
    [(110.0, 120.0, 20.0), (120.0, 110.0, 20.0), (math.inf, 110.0, math.inf), (50.0, 110.0, 10.0)],
)
def test_the_longest_word_counts(first: float, second: float, seconds: float) -> None:
    """A shorter Retry-After does not open what a longer one has shut."""
    capacity = Capacity()
    capacity.shut(KEY, first)
    capacity.shut(KEY, second)
    assert capacity.shut_for(KEY, 100.0) == seconds


def test_a_lane_can_be_shut_again() -> None:
    """What has passed is forgotten, and new words count as they are."""
    capacity = Capacity()
    capacity.shut(KEY, 110.0)
    assert capacity.shut_for(KEY, 200.0) == 0.0
    capacity.shut(KEY, 105.0)
    assert capacity.shut_for(KEY, 100.0) == 5.0


def test_unsupported_is_for_good() -> None:
    """A lane that does not serve a model does not begin to."""
    capacity = Capacity()
    capacity.shut(KEY, math.inf)
    assert capacity.shut_for(KEY, 1e12) == math.inf


def test_reset_forgets_everything() -> None:
    """As in a new process."""
    capacity = Capacity()
    for key in (KEY, *OTHERS):
        capacity.shut(key, math.inf)
    capacity.reset()
    assert [capacity.shut_for(key, 0.0) for key in (KEY, *OTHERS)] == [0.0] * 5


def test_memories_are_apart() -> None:
    """One that is made for a test is not the process's."""
    Capacity().shut(KEY, math.inf)
    assert CAPACITY.shut_for(KEY, 0.0) == 0.0
    assert Capacity().shut_for(KEY, 0.0) == 0.0


@pytest.mark.usefixtures("eager_switches")
def test_threads_do_not_lose_the_longest_word() -> None:
    """Many that shut the same lanes at once leave the longest word of all, on every lane."""
    capacity, start = Capacity(), Barrier(8)

    def shut(worker: int) -> None:
        start.wait()
        for step in range(500):
            for key in OTHERS:
                capacity.shut(key, 1_000.0 + (step * 7 + worker * 13) % 501)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shut, range(8)))
    longest = max((step * 7 + worker * 13) % 501 for step in range(500) for worker in range(8))
    assert [capacity.shut_for(key, 1_000.0) for key in OTHERS] == [float(longest)] * 4


@pytest.mark.usefixtures("eager_switches")
def test_a_reader_does_not_forget_a_newer_word() -> None:
    """Forgetting what has passed never takes along what was said meanwhile."""
    capacity, start = Capacity(), Barrier(5)

    def read(_: int) -> None:
        start.wait()
        for now in range(2_000):
            capacity.shut_for(KEY, float(now))

    def write(_: int) -> None:
        start.wait()
        for now in range(2_000):
            capacity.shut(KEY, float(now))
        capacity.shut(KEY, 1e9)

    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(read, worker) for worker in range(4)] + [pool.submit(write, 4)]
        for job in jobs:
            job.result()
    assert capacity.shut_for(KEY, 0.0) == 1e9
