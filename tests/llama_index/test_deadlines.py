"""Deadlines over LlamaIndex: those of the SDK's clients, and what is LlamaIndex's own."""

from __future__ import annotations

from typing import Any

import pytest

from flextier import FlexDeadlineExceeded, FlexPolicy, override, track
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST
from tests.client.test_deadlines import (  # noqa: F401 - the same tests, over other ways to call
    test_a_call_ends_by_its_deadline,
    test_a_stalled_flex_attempt_leaves_time_for_standard,
    test_a_stream_ends_by_the_deadline,
    test_a_trickling_body_cannot_outlast_the_deadline,
    test_a_wait_that_does_not_fit_is_not_waited,
)
from tests.llama_index.callers import CALLERS, CHAT, PLAIN, STREAMS, closed
from tests.llama_index.llms import OURS, make

pytestmark = pytest.mark.sampled(2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each way to call that it asks for."""
    for name, callers in (("caller", CALLERS), ("plain", PLAIN), ("stream", STREAMS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, callers, ids=str)


@pytest.mark.parametrize("cls", OURS)
def test_override_sets_the_deadline_of_calls_inside(cls: Any, sim: Simulator) -> None:
    """`override` reaches any call made inside it, and ends with its block."""
    llm = make(cls, sim, policy=FlexPolicy())
    sim.script(Fault.stall())
    with closed(llm):
        with override(deadline=0.2, lanes=("flex",)), pytest.raises(FlexDeadlineExceeded) as caught:
            llm.chat(CHAT)
        with track() as calls:
            llm.chat(CHAT)

    assert [a.outcome for a in caught.value.report.attempts] == ["timeout"]  # type: ignore[attr-defined]
    assert calls[0].lane == "flex"


@pytest.mark.parametrize("name", ["chat", "stream_chat"])
@pytest.mark.parametrize("cls", OURS)
def test_an_override_shorter_than_the_reserve(cls: Any, name: str, sim: Simulator) -> None:
    """Its calls go to standard at once."""
    llm = make(cls, sim, policy=FlexPolicy(standard_reserve=60))
    with closed(llm), override(deadline=30), track() as calls:
        list(getattr(llm, name)(CHAT))
    assert [[attempt.lane for attempt in call.attempts] for call in calls] == [["standard"]]


@pytest.mark.parametrize("cls", OURS)
def test_the_deadline_of_a_stream_begins_when_it_is_read(cls: Any, sim: Simulator) -> None:
    """LlamaIndex asks for a stream when its first chunk is wanted: that is when the call begins."""
    llm = make(cls, sim, policy=FAST.replace(deadline=5))
    with closed(llm), track() as calls:
        chunks = llm.stream_chat(CHAT)
        assert sim.requests == []
        list(chunks)

    assert [call.served for call in calls] == [True]
