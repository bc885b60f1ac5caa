"""A call through a gateway is, for its caller, as a call without one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import openai
import pytest

from flextier import CallReport, report_of
from flextier.calls.context import listen
from flextier.calls.report import Retry
from flextier.capacity import CAPACITY
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, Caller, Outcome
from tests.serve.conftest import KEY as GATEWAYS_KEY
from tests.serve.conftest import Served

pytestmark = pytest.mark.sampled(3)

COURSES = {
    "served": [],
    "refused": [Fault.refuse(), Fault.refuse()],
    "falls back": [Fault.status(503), Fault.status(503), Fault.status(503)],
    "rejected": [Fault.status(400, message="no such thing", error_code="no_such_thing")],
    "quota": [Fault.quota()],
    "out of time": [Fault.refuse(), Fault.stall()],
    "lost": [Fault.reset()] * 6,
    "too late": [Fault.stall()] * 6,
}
POLICIES: dict[str, Any] = {
    "out of time": {"deadline": 0.3, "lanes": ("flex",)},
    "too late": {"deadline": 0.6, "lanes": ("standard",), "standard_timeout": 0.3},
}


def course(caller: Caller, url: str, sim: Simulator, name: str, **more: Any) -> Any:
    """The outcome of a call, and the retries that were notified of."""
    CAPACITY.reset()
    sim.reset()
    sim.script(*COURSES[name])
    retries: list[Retry] = []
    with listen(on_retry=retries.append):
        outcome = caller(url, FAST.replace(**POLICIES.get(name, {}), **more))
    return outcome, retries


def comparable(report: CallReport | None) -> Any:
    """A report without times and ids."""
    assert report is not None
    assert report.id
    assert report.at > 1e9
    assert report.elapsed > 0
    attempts = tuple(replace(one, seconds=0, request_id=None) for one in report.attempts)
    return replace(report, attempts=attempts, waited=0, elapsed=0, id="", at=0)


def said(outcome: Outcome) -> Any:
    """What an error says, without seconds and without the words of the HTTP library."""
    error: Any = outcome.error
    if error is None:
        return None
    fields = {name: getattr(error, name, None) for name in ("status_code", "code", "body", "type")}
    fields["response"] = hasattr(error, "response")
    if isinstance(error.__cause__, (openai.APIStatusError, openai.APITimeoutError)):
        fields["cause"] = type(error.__cause__), str(error.__cause__)
    words = re.sub(r"[0-9.]+ s waited|(?<=broke off: ).*", "", str(error))
    return type(error), words, fields


@pytest.mark.parametrize("name", COURSES)
def test_a_call_through_a_gateway(
    caller: Caller, name: str, shared: Served, sim: Simulator
) -> None:
    """Its answer, its report, its retries and its error are those of a call without one."""
    here, retries = course(caller, sim.base_url, sim, name)
    assert {one.headers["authorization"] for one in sim.requests} == {f"Bearer {KEY}"}
    there, notified = course(caller, sim.base_url, sim, name, gateway=shared.url)
    assert {one.headers["authorization"] for one in sim.requests} == {f"Bearer {GATEWAYS_KEY}"}
    assert there.text == here.text
    assert comparable(there.report) == comparable(here.report)
    assert said(there) == said(here)
    assert (there.error is None) == (here.error is None)
    if there.error is not None:
        assert report_of(there.error) is there.report
    assert [(one.lane, one.failed.outcome, type(one.error)) for one in notified] == [
        (one.lane, one.failed.outcome, type(one.error)) for one in retries
    ]


@pytest.mark.parametrize(
    "fault",
    [Fault.stream_reset(12), Fault.stream_end(12), Fault.stream_error(12), Fault.unverified()],
    ids=["reset", "end", "error", "unverified"],
)
@pytest.mark.filterwarnings("ignore:o3. OpenAI streams this model")
def test_a_stream_that_breaks(stream: Caller, fault: Fault, shared: Served, sim: Simulator) -> None:
    """What breaks a stream after its first events is raised there, too."""
    outcomes = []
    for more in ({}, {"gateway": shared.url}):
        CAPACITY.reset()
        sim.reset()
        sim.script(fault)
        outcomes.append(stream(sim.base_url, FAST.replace(**more)))
    here, there = outcomes
    assert there.text == here.text
    assert comparable(there.report) == comparable(here.report)
    assert said(there) == said(here)
