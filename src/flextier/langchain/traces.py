"""The cost of a call in the traces of LangSmith and Langfuse, which price every call as standard.

LangSmith reads ``total_cost``, ``input_cost`` and ``output_cost`` from the ``usage_metadata`` of a
run's metadata, Langfuse the ``cost_details`` of a generation. On the message itself, LangChain
could not add such usage up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

from flextier.calls.report import CallReport

_TRACERS = {
    "LangChainTracer": "langchain_core",
    "LangchainCallbackHandler": "langfuse",
    "OpenInferenceTracer": "openinference",
}
"""Handlers that write traces, and their packages, which are not imported here."""


def tracers_of(handlers: Iterable[Any]) -> dict[str, Any]:
    """The handlers that write traces, by their class in ``_TRACERS``."""
    return {name: handler for handler in handlers for name in _tracers_in(handler.__class__)}


@lru_cache(maxsize=256)
def _tracers_in(handler: Any) -> tuple[str, ...]:
    """The classes in ``_TRACERS`` that a class is, or derives from."""
    names = ((kind.__name__, kind.__module__.partition(".")[0]) for kind in handler.__mro__)
    return tuple(name for name, package in names if _TRACERS.get(name) == package)


def add_cost(tracers: Mapping[str, Any], run_id: Any, report: CallReport) -> None:
    """Give a call's cost to the traces of its run; a cost that is not known is left out."""
    cost = report.cost
    if cost.total is None or cost.all_input is None or cost.output is None:
        return
    amounts = {"input": cost.all_input, "output": cost.output, "total": cost.total}
    costs = {name: float(amount) for name, amount in amounts.items()}
    langsmith = tracers.get("LangChainTracer")
    run = None if langsmith is None else langsmith.run_map.get(str(run_id))
    if run is not None:
        run.extra["metadata"] = _PricedMetadata(run.extra.get("metadata") or {}, costs)
    if (generation := _generation(tracers, run_id)) is not None:
        generation.update(cost_details=costs)


class _PricedMetadata(dict[str, Any]):
    """The metadata of a run, whose usage gets costs when the tracer sets it, at the run's end."""

    costs: Mapping[str, float] = {}  # of a copy, until its attributes are set

    def __init__(self, metadata: Mapping[str, Any], costs: Mapping[str, float]) -> None:
        super().__init__(metadata)
        self.costs = {f"{name}_cost": amount for name, amount in costs.items()}

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "usage_metadata" and isinstance(value, dict):
            value = {**value, **self.costs}
        super().__setitem__(name, value)


_NO_SPAN = nullcontext()


def current_span(tracers: Mapping[str, Any], run_id: Any) -> AbstractContextManager[Any]:
    """Make the span that a handler has made of the run the current one, as for ``flextier.otel``.

    Handlers cannot do that themselves in async runs: they run in another thread.
    """
    if not tracers:
        return _NO_SPAN
    span = getattr(_generation(tracers, run_id), "_otel_span", None)
    if span is None and (openinference := tracers.get("OpenInferenceTracer")) is not None:
        span = openinference.get_span(run_id)
        # Its wrapper keeps this attribute to the end, but flextier.otel recognises spans by it.
        recorded = getattr(span, "__wrapped__", None)
        if recorded is not None:
            recorded.set_attribute("openinference.span.kind", "LLM")
    if span is None:
        return _NO_SPAN
    from opentelemetry.trace import use_span  # the handler has imported it

    return use_span(span, record_exception=False, set_status_on_exception=False)


def _generation(tracers: Mapping[str, Any], run_id: Any) -> Any:
    """What Langfuse's handler has made of a run; None: there is no such handler, or nothing."""
    runs = getattr(tracers.get("LangchainCallbackHandler"), "_runs", None)
    return runs.get(run_id) if isinstance(runs, dict) else None
