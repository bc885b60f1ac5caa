"""LlamaIndex's runs, for lanes that group the calls of one run.

A run is that of a workflow or an agent, or one call of a query engine or a chat engine; of nested
ones, the outermost. LlamaIndex's instrumentation reports when they begin and end. The current one
is kept in the context, which LlamaIndex passes on to its tasks and threads.
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import Lock
from typing import Any, NamedTuple

from flextier._utils.extras import needs_extra
from flextier.calls.run_tracking import register_run_tracking

with needs_extra("llama-index"):
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.chat_engine.types import BaseChatEngine
    from llama_index.core.instrumentation.span_handlers import NullSpanHandler
    from llama_index.core.workflow import Workflow
    from llama_index_instrumentation import get_dispatcher

_RUNS = (Workflow, BaseQueryEngine, BaseChatEngine)
_KEY = "flextier_run"
_UUID = 36  # characters; a span's id is a name, a hyphen and a UUID


class SpanRun(NamedTuple):
    id: str
    span_id: str | None
    """The span that it ends with. None: it ends in another task or process."""


RUN: ContextVar[SpanRun | None] = ContextVar("flextier_llama_index_run", default=None)
"""The current run; None: there is none."""


class _RunSpanHandler(NullSpanHandler):
    """Keeps the current run in the context, from the spans that begin and end."""

    def span_enter(
        self, id_: str, *_: Any, instance: Any = None, parent_id: str | None = None, **__: Any
    ) -> None:
        """Set the run, if one begins outside of any other."""
        run = RUN.get()
        if run is not None and run.span_id is not None and parent_id is None:
            # Its span has ended in another context, which left the run open in this one.
            RUN.set(run := None)
        if run is None and isinstance(instance, _RUNS):
            RUN.set(SpanRun(_run_name(id_), id_))

    def span_exit(self, id_: str, *_: Any, **__: Any) -> None:
        """Unset the run, if it ends."""
        run = RUN.get()
        if run is not None and run.span_id == id_:
            RUN.set(None)

    def span_drop(self, id_: str, *_: Any, **__: Any) -> None:
        """Unset the run, if it fails."""
        self.span_exit(id_)

    def capture_propagation_context(self) -> dict[str, Any]:
        """The run, for a nested workflow that may run elsewhere."""
        run = RUN.get()
        return {} if run is None else {_KEY: run.id}

    def restore_propagation_context(self, context: dict[str, Any]) -> None:
        """Continue the run that a workflow was started in."""
        if (run_id := context.get(_KEY)) is not None:
            RUN.set(SpanRun(run_id, None))


_span_handler = _RunSpanHandler()
_lock = Lock()


def watch_runs() -> None:
    """Track the run of every call from now on; costs a few microseconds for each span."""
    root = get_dispatcher()
    with _lock:
        # Programs may replace all handlers.
        if not any(handler is _span_handler for handler in root.span_handlers):
            root.add_span_handler(_span_handler)


register_run_tracking(watch_runs)


def run_key(run: SpanRun | None, span_id: str) -> str:
    """The key of the run of a call; outside of any run, one for the call alone.

    A run that began before tracking started does not count.
    """
    watch_runs()
    return _run_name(span_id) if run is None else run.id


def _run_name(span_id: str) -> str:
    return f"flextier-{span_id[-_UUID:]}"
