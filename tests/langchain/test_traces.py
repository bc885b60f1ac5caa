"""Traces of LangSmith and Langfuse have the cost of each call as the report has it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers import LangChainTracer
from langsmith import Client

from flextier import track
from flextier.langchain import ChatOpenAIFlex
from flextier.sim import Fault, Simulator
from tests.batch.conftest import forget

Make = Callable[..., ChatOpenAIFlex]
Runs = list[dict[str, Any]]
LANES = ["flex", "standard", "batch", "background-2h"]
AFTER_FLEX = "gpt-6.2-sol"


async def _astream(model: ChatOpenAIFlex, config: Any) -> None:
    async for _ in model.astream("Hi.", config):
        pass


WAYS: dict[str, Callable[[ChatOpenAIFlex, Any], object]] = {
    "invoke": lambda model, config: model.invoke("Hi.", config),
    "batch": lambda model, config: model.batch(["Hi."], config),
    "stream": lambda model, config: list(model.stream("Hi.", config)),
    "ainvoke": lambda model, config: asyncio.run(model.ainvoke("Hi.", config)),
    "astream": lambda model, config: asyncio.run(_astream(model, config)),
}


class _Ingestion(BaseHTTPRequestHandler):
    """Takes runs as LangSmith's API does, one a request."""

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        self.server.runs.append(json.loads(self.rfile.read(size)))  # type: ignore[attr-defined]
        self.send_response(202)
        self.end_headers()
        self.wfile.write(b"{}")

    do_PATCH = do_POST

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def langsmith() -> Iterator[tuple[LangChainTracer, Runs]]:
    """LangChain's tracer, and what the SDK of LangSmith sends to a server of ours."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ingestion)
    runs: Runs = []
    server.runs = runs  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    client = Client(api_url=url, api_key="x", auto_batch_tracing=False)
    yield LangChainTracer(client=client), runs
    client.session.close()
    server.shutdown()
    server.server_close()
    thread.join()


def usage_of(runs: Runs) -> dict[str, Any]:
    """The usage with which the only model run has ended."""
    (ended,) = [run for run in runs if run.get("end_time")]
    usage: dict[str, Any] = ended["extra"]["metadata"]["usage_metadata"]
    return usage


@pytest.mark.parametrize("way", WAYS)
def test_langsmith(
    way: str, make: Make, sim: Simulator, langsmith: tuple[LangChainTracer, Runs]
) -> None:
    """However the call is made, also after a refusal; the message itself has no cost."""
    tracer, runs = langsmith
    sim.script(Fault.refuse())
    with track() as calls:
        WAYS[way](make(stream_usage=True), {"callbacks": [tracer]})
    (cost,) = [report.cost for report in calls]
    usage = usage_of(runs)
    assert calls[0].lane == "flex"
    assert usage["total_cost"] == float(cost.total or 0) > 0
    assert usage["input_cost"] == float(cost.all_input or 0)
    assert usage["output_cost"] == float(cost.output or 0)
    assert usage["input_tokens"] == getattr(calls[0].usage, "input_tokens", None)
    (ended,) = [run for run in runs if run.get("end_time")]
    message = ended["outputs"]["generations"][0][0]["message"]["kwargs"]
    assert "total_cost" not in message["usage_metadata"]


@pytest.mark.parametrize("lane", LANES)
def test_langsmith_on_every_lane(
    lane: str, make: Make, langsmith: tuple[LangChainTracer, Runs]
) -> None:
    """What its own prices, those of standard, would be wrong for."""
    tracer, runs = langsmith
    policy = {
        "lanes": (lane,), "batch_window": 0.05, "batch_poll_interval": 0.1,
        "background_poll_interval": 0.1,
    }  # fmt: skip
    model = make(model=AFTER_FLEX if lane == "background-2h" else "o3", policy=policy)
    with track() as calls:
        model.invoke("Hi.", {"callbacks": [tracer]})
    assert calls[0].lane == lane
    assert usage_of(runs)["total_cost"] == float(calls[0].cost.total or 0) > 0


def test_a_replay_costs_nothing(
    make: Make, langsmith: tuple[LangChainTracer, Runs], tmp_path: Path
) -> None:
    """The journal's response has tokens, which were paid for before."""
    tracer, runs = langsmith
    policy = {"journal": str(tmp_path / "journal.db")}
    make(policy=policy).invoke("Hi.")
    forget()
    with track() as calls:
        make(policy=policy).invoke("Hi.", {"callbacks": [tracer]})
    assert calls[0].lane == "journal"
    assert usage_of(runs)["total_cost"] == 0


def test_several_choices(make: Make, langsmith: tuple[LangChainTracer, Runs]) -> None:
    """LangChain adds up the usage of their messages, which costs would break."""
    tracer, runs = langsmith
    with track() as calls:
        make(n=2, use_responses_api=False).invoke("Hi.", {"callbacks": [tracer]})
    assert usage_of(runs)["total_cost"] == float(calls[0].cost.total or 0) > 0


def test_tracing_by_the_environment(
    make: Make, langsmith: tuple[LangChainTracer, Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracer that LangChain adds itself, for streams too."""
    from langchain_core.tracers import context

    tracer, runs = langsmith
    monkeypatch.setattr(context, "_tracing_v2_is_enabled", lambda: True)
    token = context.tracing_v2_callback_var.set(tracer)
    try:
        with track() as calls:
            list(make(stream_usage=True).stream("Hi."))
    finally:
        context.tracing_v2_callback_var.reset(token)
    assert usage_of(runs)["total_cost"] == float(calls[0].cost.total or 0) > 0


class LangchainCallbackHandler(BaseCallbackHandler):
    """As Langfuse's handler of this name, as far as flextier uses it."""

    run_inline = True

    def __init__(self) -> None:
        self._runs: dict[UUID, Any] = {}
        self.details: dict[str, float] = {}

    def on_chat_model_start(self, *_: Any, run_id: UUID, **kwargs: Any) -> None:
        self._runs[run_id] = self

    def update(self, *, cost_details: dict[str, float]) -> None:
        self.details = cost_details


LangchainCallbackHandler.__module__ = "langfuse.langchain.CallbackHandler"


@pytest.mark.parametrize("way", WAYS)
def test_langfuse(way: str, make: Make) -> None:
    """Its generation gets the cost, before the handler ends it."""
    handler = LangchainCallbackHandler()
    with track() as calls:
        WAYS[way](make(stream_usage=True), {"callbacks": [handler]})
    cost = calls[0].cost
    assert handler.details == {
        "input": float(cost.all_input or 0),
        "output": float(cost.output or 0),
        "total": float(cost.total or 0),
    }


def test_a_cost_that_is_not_known(make: Make, langsmith: tuple[LangChainTracer, Runs]) -> None:
    """Is left to the platform, and not sent as zero."""
    tracer, runs = langsmith
    make(model="my-own-model").invoke("Hi.", {"callbacks": [tracer]})
    assert "total_cost" not in usage_of(runs)
