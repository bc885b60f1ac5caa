"""Reports and attempts, and the code around a call: track(), override(), listen()."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import json
from threading import Thread
from typing import Any, get_args

import pytest

from flextier import Attempt, CallReport, FlexPolicy, PolicyError, override, track
from flextier.calls.context import current_scope, listen
from flextier.calls.report import CANCELLED, SERVED
from flextier.costs import Usage
from flextier.lanes.failures import Kind

REFUSED = Attempt("flex", "capacity", 0.1, 429, "req_1")
ANSWERED = Attempt("standard", SERVED, 3.5, 200, "req_2")
REPORT = CallReport(
    model="o3",
    lane="standard",
    attempts=(REFUSED, ANSWERED),
    waited=1.5,
    elapsed=5.1,
    fallback="capacity",
    usage=Usage(10, 20, cached_input_tokens=5, reasoning_tokens=15),
)


def deliver(report: CallReport = REPORT) -> None:
    """What a client does when a call is over."""
    for listener in current_scope().reports:
        listener(report)


def changes() -> dict[str, Any]:
    """The overrides in force."""
    return dict(current_scope().changes)


# --- Attempt ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status", "billed"),
    [
        (SERVED, 200, False),
        ("capacity", 429, False),
        ("rate_limited", 429, False),
        ("quota", 429, False),
        ("rejected", 400, False),
        ("lane_unsupported", 400, False),
        ("stream_unverified", 400, False),
        ("timeout", None, True),
        ("timeout", 408, True),
        ("transient", None, True),
        ("transient", 200, True),
        ("transient", 400, False),
        ("transient", 409, False),
        ("transient", 500, False),
        ("transient", 503, False),
        ("interrupted", 200, True),
        (CANCELLED, None, True),
        (CANCELLED, 200, True),
    ],
)
def test_possibly_billed(outcome: str, status: int | None, billed: bool) -> None:
    """An answer may have been made and charged that never arrived; a refusal is not charged."""
    assert Attempt("flex", outcome, 1.0, status).possibly_billed is billed


@pytest.mark.parametrize("kind", get_args(Kind))
def test_no_refusal_with_a_status_is_possibly_billed(kind: Kind) -> None:
    """With an error status in hand, only a timeout leaves a doubt."""
    assert Attempt("flex", kind, 1.0, 429).possibly_billed is (kind == "timeout")


# --- CallReport -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempts", "served"),
    [((), False), ((REFUSED,), False), ((REFUSED, ANSWERED), True), ((ANSWERED, REFUSED), False)],
)
def test_served_is_how_it_ended(attempts: tuple[Attempt, ...], served: bool) -> None:
    """The last attempt decides."""
    assert dataclasses.replace(REPORT, attempts=attempts).served is served


def test_a_dict_is_read_back() -> None:
    """`from_dict` gives the report that `to_dict` was of, through JSON, usage and all."""
    report = dataclasses.replace(REPORT, id="c1", at=1.5, first_lane="flex", output_limit=9)
    assert CallReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    with pytest.raises(KeyError):
        CallReport.from_dict({})


def test_to_dict_is_json() -> None:
    """A report survives a round through JSON as what it was."""
    assert json.loads(json.dumps(REPORT.to_dict(), allow_nan=False)) == {
        "model": "o3",
        "lane": "standard",
        "attempts": [
            {
                "lane": "flex",
                "outcome": "capacity",
                "seconds": 0.1,
                "status": 429,
                "request_id": "req_1",
                "possibly_billed": False,
                "sent": True,
            },
            {
                "lane": "standard",
                "outcome": "served",
                "seconds": 3.5,
                "status": 200,
                "request_id": "req_2",
                "possibly_billed": False,
                "sent": True,
            },
        ],
        "waited": 1.5,
        "elapsed": 5.1,
        "fallback": "capacity",
        "usage": {
            "input_tokens": 10,
            "output_tokens": 20,
            "cached_input_tokens": 5,
            "cache_write_tokens": 0,
            "reasoning_tokens": 15,
        },
        "id": "",
        "at": 0.0,
        "first_lane": "",
        "served_model": None,
        "output_limit": None,
        "error": None,
        "why": "",
        "usage_estimated": False,
        "limits": "",
    }


def test_to_dict_of_a_call_without_an_answer() -> None:
    """Unknown fields are null, and a possible bill is reported."""
    lost = Attempt("flex", "timeout", 9.0)
    report = CallReport("o3", "flex", (lost,), waited=0.0, elapsed=9.0).to_dict()
    assert (report["usage"], report["fallback"]) == (None, None)
    assert report["attempts"][0]["possibly_billed"] is True
    json.dumps(report)


@pytest.mark.parametrize("value", [REFUSED, REPORT, Usage(1, 2)], ids=lambda v: type(v).__name__)
def test_facts_are_frozen(value: Any) -> None:
    """Reports cannot be changed, and compare by value."""
    field = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, field, None)
    assert dataclasses.replace(value) == value
    assert hash(dataclasses.replace(value)) == hash(value)


# --- track ------------------------------------------------------------------------------------


def test_track_collects_the_reports_inside() -> None:
    """In order, without those before or after."""
    other = dataclasses.replace(REPORT, model="o4-mini")
    deliver()
    with track() as calls:
        assert calls == []
        deliver()
        deliver(other)
    deliver()
    assert calls == [REPORT, other]


def test_tracks_nest() -> None:
    """The outer block gets the calls of the inner one, not the reverse."""
    with track() as outer:
        deliver()
        with track() as inner:
            deliver()
        deliver()
    assert (len(outer), len(inner)) == (3, 1)


def test_track_ends_with_an_error() -> None:
    """Calls that failed are in the list, and the block is over."""
    calls: list[CallReport] = []

    def failing() -> None:
        with track() as tracked:
            nonlocal calls
            calls = tracked
            deliver()
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    deliver()
    assert calls == [REPORT]
    assert current_scope().reports == ()


def test_track_covers_tasks_and_threads_with_the_context() -> None:
    """Tasks started inside and ``asyncio.to_thread`` carry it along, wherever they end."""

    async def run() -> int:
        with track() as calls:
            await asyncio.gather(asyncio.to_thread(deliver), *(started() for _ in range(3)))
            late = asyncio.create_task(started())
        await late
        return len(calls)

    async def started() -> None:
        await asyncio.sleep(0)
        deliver()

    assert asyncio.run(run()) == 5


def test_track_does_not_reach_beyond_its_context() -> None:
    """A bare thread is not covered; neighbouring tasks do not get each other's reports."""

    async def one(model: str) -> list[str]:
        with track() as calls:
            await asyncio.sleep(0)
            deliver(dataclasses.replace(REPORT, model=model))
            await asyncio.sleep(0)
        return [call.model for call in calls]

    async def both() -> list[list[str]]:
        return list(await asyncio.gather(one("a"), one("b")))

    assert asyncio.run(both()) == [["a"], ["b"]]

    with track() as calls:
        bare = Thread(target=contextvars.Context().run, args=(deliver,))
        bare.start()
        bare.join()
    assert calls == []


# --- override ---------------------------------------------------------------------------------


def test_overrides_nest() -> None:
    """Inner blocks win over outer ones, field by field, and end with their block."""
    with override(deadline=30, max_retries=1):
        with override(max_retries=5, lanes=("flex",)):
            assert changes() == {"deadline": 30, "max_retries": 5, "lanes": ("flex",)}
        assert changes() == {"deadline": 30, "max_retries": 1}
    assert changes() == {}


def test_overrides_fit_a_policy() -> None:
    """What is in force can be put in place of a policy's fields, lists included."""
    with override(lanes=["standard"], patience=7):
        assert FlexPolicy().replace(**changes()) == FlexPolicy(lanes=("standard",), patience=7)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"patiense": 3}, "no field 'patiense'"),
        ({"patience": "soon"}, r"FlexPolicy\(patience='soon'\).*FLEXTIER_PATIENCE"),
        ({"lanes": ("turbo",)}, "unknown lane 'turbo'"),
        ({"lanes": ()}, "no lane is named"),
        ({"deadline": 0}, "deadline"),
        ({"max_retries": -1}, "max_retries"),
    ],
)
def test_an_override_that_is_wrong(wrong: dict[str, Any], match: str) -> None:
    """It raises at the ``with``, where the mistake is, and nothing is in force after it."""
    with pytest.raises(PolicyError, match=match), override(**wrong):
        pytest.fail("the block must not be entered")
    assert changes() == {}


def test_an_override_is_held_against_the_outer_one() -> None:
    """Two blocks that contradict each other raise where they meet."""
    with (
        override(backoff_initial=50),
        pytest.raises(PolicyError, match="backoff_max"),
        override(backoff_max=40),
    ):
        pytest.fail("the block must not be entered")


def test_an_override_is_not_held_against_the_defaults() -> None:
    """The policy that it is for is not known yet: a short deadline may fit it."""
    with override(deadline=1):
        assert changes() == {"deadline": 1}


def test_override_ends_with_an_error() -> None:
    """The block is over however it ends."""
    with pytest.raises(KeyError), override(patience=1):
        raise KeyError
    assert changes() == {}


def test_override_stays_in_its_task() -> None:
    """Tasks started inside have it; neighbours do not."""

    async def one(patience: int) -> Any:
        with override(patience=patience):
            await asyncio.sleep(0)
            inside = asyncio.create_task(seen())
            return await inside

    async def seen() -> Any:
        return changes()["patience"]

    async def both() -> list[Any]:
        return list(await asyncio.gather(one(1), one(2)))

    assert asyncio.run(both()) == [1, 2]
    assert changes() == {}


def test_track_and_override_do_not_disturb_each_other() -> None:
    """Each keeps what the other has set."""
    with track() as calls, override(patience=1):
        with track() as inner:
            assert changes() == {"patience": 1}
            with override(deadline=99):
                deliver()
        deliver()
    assert (len(calls), len(inner)) == (2, 1)


# --- listen -----------------------------------------------------------------------------------


def test_listeners_are_notified_in_order() -> None:
    """Outer ones first; both kinds may be given, or none."""
    notified: list[str] = []

    def on_retry(retry: Any) -> None:
        notified.append("retry")

    with (
        listen(lambda report: notified.append("outer"), on_retry),
        listen(),
        listen(lambda report: notified.append("inner")),
        listen(on_retry=on_retry),
    ):
        deliver()
        assert current_scope().retries == (on_retry, on_retry)
    assert notified == ["outer", "inner"]
    assert current_scope().retries == ()
