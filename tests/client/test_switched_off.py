"""``FLEXTIER_OFF``: every call goes to standard as the stock classes send it, whatever is set."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import openai
import pytest

from flextier import Clock, FlexOpenAI, FlexPolicy, budget, override, track
from flextier.bulk import run
from flextier.bulk.options import options
from flextier.journal.call_entry import CallEntry
from flextier.lanes import CallFacts
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Fault, Simulator
from tests.batch.conftest import forget
from tests.bulk.helpers import read_jsonl, write_jsonl
from tests.client.callers import FAST, KEY, MESSAGES, Caller

EVERYTHING = FAST.replace(
    lanes=("batch", "flex", "background-8h", "standard"),
    flex_background=True,
    start_jitter=3600,
    batch_window=3600,
    journal_duplicates="once",
)


@pytest.fixture(autouse=True)
def _off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEXTIER_OFF", "1")


def only_standard(sim: Simulator, requests: int = 1) -> bool:
    """Whether that many calls were sent, directly and without a tier."""
    return [(request.tier, "background" in (request.body or {})) for request in sim.requests] == [
        (None, False)
    ] * requests


@pytest.mark.parametrize(
    "policy",
    [EVERYTHING, FAST.replace(lanes="auto", deadline="2d"), FAST.replace(lanes="flex"), FAST],
    ids=["all lanes", "auto", "flex alone", "default"],
)
def test_every_call_goes_to_standard(policy: FlexPolicy, caller: Caller, sim: Simulator) -> None:
    """Whatever the policy says; without a tier, a wait or a second request."""
    outcome = caller(sim.base_url, policy)
    assert outcome.text is not None
    assert only_standard(sim)
    assert outcome.lanes == ["standard"]
    assert (outcome.report.lane, outcome.report.fallback) == ("standard", None)
    assert outcome.report.first_lane == "standard"
    assert outcome.report.why == "FLEXTIER_OFF is set: standard only"
    assert outcome.report.waited < 1
    assert outcome.report.cost.basis != "unpriced"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"service_tier": "flex"},
        {"service_tier": "priority"},
        {"extra_body": {"service_tier": "flex"}},
    ],
    ids=str,
)
def test_explicit_arguments_and_overrides(
    arguments: dict[str, Any], caller: Caller, sim: Simulator
) -> None:
    """A tier of the call's own is dropped, too, and lanes of an override do not count."""
    with override(lanes="flex", start_jitter=3600):
        caller(sim.base_url, EVERYTHING, **arguments)
    assert only_standard(sim)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.status(500), openai.InternalServerError),
        (Fault.rate_limit(), openai.RateLimitError),
        (Fault.stall(), openai.APITimeoutError),
    ],
    ids=str,
)
def test_retries_are_those_of_the_sdk(fault: Fault, error: type[Exception], sim: Simulator) -> None:
    """``max_retries`` of them, after half a second and more; no other lane follows."""
    sim.script(*[fault] * 9)
    waits: list[float] = []

    clock = Clock(sleep=waits.append, random=lambda: 1.0)
    with (
        FlexOpenAI(
            base_url=sim.base_url,
            api_key=KEY,
            policy=EVERYTHING,
            max_retries=3,
            timeout=0.2,
            clock=clock,
        ) as client,
        track() as calls,
        pytest.raises(error),
    ):
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert only_standard(sim, 4)
    assert waits == [0.5, 1.0, 2.0]
    assert len(calls[0].attempts) == 4


def test_a_rate_limit_stops_no_other_call(sim: Simulator) -> None:
    """Nothing waits for what another call has met."""
    sim.script(Fault.rate_limit(retry_after=60))
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, max_retries=0) as client, track() as calls:
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="o3", messages=MESSAGES)
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert calls[1].waited < 1
    assert only_standard(sim, 2)


def test_a_budget_and_a_journal_go_on(sim: Simulator, tmp_path: Path) -> None:
    """What the journal has is replayed, with or without the switch; what is paid is counted."""
    policy = EVERYTHING.replace(journal=str(tmp_path / "calls.db"))
    with (
        FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client,
        budget(5) as spending,
        track() as calls,
    ):
        for _ in range(2):
            client.chat.completions.create(model="o3", messages=MESSAGES, service_tier="flex")
    assert [call.lane for call in calls] == ["standard", "journal"]
    assert spending.spent == calls[0].cost.total
    assert only_standard(sim)


@pytest.mark.parametrize("value", ["0", "false", "no", "off", "", " "])
def test_values_that_mean_no(value: str, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch is read for every call, so it can be set back while a program runs."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client:
        client.chat.completions.create(model="o3", messages=MESSAGES)
        monkeypatch.setenv("FLEXTIER_OFF", value)
        client.chat.completions.create(model="o3", messages=MESSAGES)
    assert [request.tier for request in sim.requests] == [None, "flex"]


@pytest.mark.parametrize("streamed", [False, True])
def test_langchain(streamed: bool, sim: Simulator) -> None:
    """Also where background lanes would move the call to the Responses API."""
    llm = ChatOpenAIFlex(
        model="o3",
        base_url=sim.base_url,
        api_key=KEY,
        service_tier="flex",
        policy={"lanes": ("background", "standard"), "deadline": "2d"},
    )
    answers = list(llm.stream("Hi.")) if streamed else [llm.invoke("Hi.")]
    assert answers[-1].response_metadata["flextier"]["lane"] == "standard"
    assert only_standard(sim)
    assert sim.requests[0].path == "/v1/chat/completions"


@pytest.mark.skipif(find_spec("llama_index") is None, reason="LlamaIndex is not installed")
@pytest.mark.parametrize("name", ["OpenAIFlex", "OpenAIResponsesFlex"])
def test_llama_index(name: str, sim: Simulator) -> None:
    """Complete and stream."""
    from flextier import llama_index

    llm = getattr(llama_index, name)(
        model="o3",
        api_base=sim.base_url,
        api_key=KEY,
        additional_kwargs={"service_tier": "flex"},
        policy=EVERYTHING,
    )
    assert llm.complete("Hi.").additional_kwargs["flextier"]["lane"] == "standard"
    list(llm.stream_complete("Hi."))
    assert only_standard(sim, 2)
    llm._client.close()


def test_a_bulk_run(sim: Simulator, tmp_path: Path) -> None:
    """Rows are run one after the other, not in batches, and no more at once than sockets allow."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"prompt": f"question {n}"} for n in range(3)])
    llm = ChatOpenAIFlex(model="o3", base_url=sim.base_url, api_key=KEY, policy=EVERYTHING)
    result = run(
        llm, source, tmp_path / "out.jsonl", lanes="batch,flex", deadline="8h", with_cost=True
    )
    assert result.done == 3
    assert only_standard(sim, 3)
    assert {row["lane"] for row in read_jsonl(tmp_path / "out.jsonl")} == {"standard"}
    assert options(source, tmp_path / "other.jsonl", lanes="batch").concurrency == 64


def test_what_the_journal_knows_to_be_pending(sim: Simulator, tmp_path: Path) -> None:
    """A response that an earlier process requested in the background is not waited for."""
    policy = FAST.replace(lanes=("background-8h",), journal=str(tmp_path / "calls.db"))
    facts = CallFacts("/responses", {"input": "Hi.", "model": "o3"})
    CallEntry(sim.base_url.rstrip("/") + "/", facts, policy, Clock()).accepted(
        "resp_1", "background-8h", "o3"
    )
    forget()
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client, track() as calls:
        client.responses.create(model="o3", input="Hi.")
    assert only_standard(sim)
    assert calls[0].lane == "standard"
