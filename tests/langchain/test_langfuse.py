"""What Langfuse's SDK sends to its ingestion: each call once, with the cost of its report."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flextier import track
from flextier.langchain import ChatOpenAIFlex

pytest.importorskip("langfuse", reason="langfuse is not installed")

from langfuse import Langfuse
from langfuse.langchain import CallbackHandler
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from flextier.otel import instrument
from tests.langchain.test_traces import WAYS


class _Ingestion(BaseHTTPRequestHandler):
    """Takes spans as Langfuse's API does, over OTLP."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        self.server.spans += [  # type: ignore[attr-defined]
            {one.key: one.value.string_value or one.value.double_value for one in span.attributes}
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def langfuse() -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Langfuse's client, and the attributes of the spans that its server has got."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Ingestion)
    spans: list[dict[str, Any]] = []
    server.spans = spans  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield Langfuse(public_key="pk", secret_key="sk", base_url=url), spans
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("telemetry", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_each_call_once_with_its_cost(
    way: str,
    telemetry: bool,
    make: Callable[..., ChatOpenAIFlex],
    langfuse: tuple[Any, list[dict[str, Any]]],
) -> None:
    """With ``flextier.otel`` beside Langfuse's handler, and without."""
    client, spans = langfuse
    spans.clear()
    instrumentation = instrument() if telemetry else None
    try:
        with track() as calls:
            WAYS[way](make(stream_usage=True), {"callbacks": [CallbackHandler()]})
    finally:
        if instrumentation is not None:
            instrumentation.uninstrument()
    client.flush()
    (span,) = spans
    cost = calls[0].cost
    assert span["langfuse.observation.type"] == "generation"
    assert json.loads(span["langfuse.observation.cost_details"]) == {
        "input": float(cost.all_input or 0),
        "output": float(cost.output or 0),
        "total": float(cost.total or 0),
    }
    assert ("flextier.lane" in span) == telemetry
