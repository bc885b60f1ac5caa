"""Runs of several calls: continuation(), and who is asked for one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Thread
from typing import Any

import pytest

from flextier import FlexPolicy, continuation, override, track
from flextier.calls.context import Scope, current_scope, listen
from flextier.calls.continuation import continuation_id
from flextier.calls.run_tracking import need_run_tracking, register_run_tracking, start_run_tracking


def test_calls_belong_to_no_run_by_default() -> None:
    """Without a block, there is no run; after one, there is none again."""
    assert continuation_id() is None
    with continuation("review-7"):
        assert continuation_id() == "review-7"
    assert continuation_id() is None


def test_inner_blocks_win() -> None:
    """The innermost name counts, and the outer one again after it."""
    with continuation("outer"):
        with continuation("inner"):
            assert continuation_id() == "inner"
        assert continuation_id() == "outer"


def test_an_error_ends_the_block() -> None:
    """What is raised inside passes, and the run is over."""
    with pytest.raises(KeyError), continuation("run"):
        raise KeyError
    assert continuation_id() is None


@pytest.mark.parametrize("wrong", ["", "x" * 513, None, 7, b"run", ["run"]])
def test_wrong_names(wrong: Any) -> None:
    """A name is a text of 1 to 512 characters; the error says so, and nothing begins."""
    with pytest.raises(ValueError, match="1 to 512 characters"), continuation(wrong):
        pytest.fail("it has begun")
    assert continuation_id() is None


@pytest.mark.parametrize("name", ["x", "x" * 512, "Ærø 7/3", " "])
def test_any_other_text_is_a_name(name: str) -> None:
    """It is opaque: nothing is made of it."""
    with continuation(name):
        assert continuation_id() == name


def test_blocks_of_other_kinds_keep_the_run() -> None:
    """Listening, tracking and overriding inside do not end it, and it does not end them."""
    with track() as calls, override(deadline=60), continuation("run"):
        with override(deadline=90), track(), listen():
            assert continuation_id() == "run"
            assert dict(current_scope().changes) == {"deadline": 90}
        assert current_scope().reports == (calls.append,)
        assert dict(current_scope().changes) == {"deadline": 60}


def test_a_frameworks_run_is_used_where_no_block_sets_one() -> None:
    """The run of a framework gives way to a block around it, not to a block inside."""
    with listen(run=lambda: "framework"):
        assert continuation_id() == "framework"
        with listen(run=lambda: "inner framework"):
            assert continuation_id() == "framework"
        with continuation("inside"):
            assert continuation_id() == "inside"
    with continuation("around"), listen(run=lambda: "framework"):
        assert continuation_id() == "around"


def test_tracking_starts_only_when_a_lane_needs_it() -> None:
    """The callback for the run is called each time the run is needed, and only then."""
    asked = []

    def current_run() -> str:
        asked.append(1)
        return "run"

    with listen(run=current_run), track():
        assert asked == []
        assert continuation_id() == continuation_id() == "run"
    assert len(asked) == 2


def test_a_call_that_begins_elsewhere_takes_its_run_along() -> None:
    """The run of the scope where it was asked for counts, unless there is one where it begins."""
    with continuation("here"):
        scope = current_scope()
    with listen(outer=scope):
        assert continuation_id() == "here"
    with continuation("there"), listen(outer=scope, run=lambda: "framework"):
        assert continuation_id() == "there"
    assert Scope().merged(scope).run is scope.run
    assert scope.merged(Scope()).run is scope.run


async def test_tasks() -> None:
    """Tasks begun inside are part of the run; those at once are kept apart."""

    async def run(name: str) -> list[str | None]:
        with continuation(name):
            await asyncio.sleep(0)
            tasks = [asyncio.create_task(asyncio.to_thread(continuation_id)) for _ in range(2)]
        return [*await asyncio.gather(*tasks), continuation_id()]

    assert await asyncio.gather(run("a"), run("b")) == [["a", "a", None], ["b", "b", None]]


def test_threads() -> None:
    """A thread that carries the context along is part of the run; a bare one is not."""
    with continuation("run"), ThreadPoolExecutor(1) as threads:
        assert threads.submit(copy_context().run, continuation_id).result() == "run"
        runs: list[str | None] = []
        thread = Thread(target=lambda: runs.append(continuation_id()))
        thread.start()
        thread.join()
    assert runs == [None]


# --- frameworks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lanes", "wanted"),
    [
        ("flex,standard", False),
        ("batch", False),
        ("auto", True),
        ("background", True),
        ("flex,background-8h,standard", True),
    ],
)
def test_lanes_that_want_to_know_runs(
    lanes: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The background lanes do, and auto, which may choose one: frameworks watch for them only."""
    watched: list[str] = []
    monkeypatch.setattr("flextier.calls.run_tracking._trackers", [])
    register_run_tracking(lambda: watched.append("one"))
    register_run_tracking(lambda: watched.append("another"))
    start_run_tracking(lanes.split(","))
    assert watched == (["one", "another"] if wanted else [])
    assert need_run_tracking(None, FlexPolicy(lanes=lanes)) is wanted


def test_policies_that_are_none_of_ours_want_nothing() -> None:
    """What another client calls its policy is not looked at."""
    assert not need_run_tracking(None, "auto", object())
