"""LlamaIndex's runs, for lanes that tie the calls of one run together.

A run is one of a workflow or an agent, or one call of a query engine or a chat engine: the
outermost of them. LlamaIndex's instrumentation reports when they begin and end; the running one
is kept in the context, which LlamaIndex takes along into its tasks and threads.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any, NamedTuple
from uuid import uuid4

from flextier.calls.run_tracking import register_run_tracking
from flextier.llama_index._requires import needs_llama_index

with needs_llama_index():
    from llama_index.core.base.base_query_engine import BaseQueryEngine
    from llama_index.core.chat_engine.types import BaseChatEngine
    from llama_index.core.instrumentation.span_handlers import NullSpanHandler
    from llama_index.core.workflow import Workflow
    from llama_index_instrumentation import get_dispatcher

_RUNS = (Workflow, BaseQueryEngine, BaseChatEngine)
_KEY = "flextier_run"
_UUID = 36  # characters; a span's id is a name, a hyphen and a UUID


class _SpanRun(NamedTuple):
    id: str
    span_id: str | None
    """The span that it ends with. None: it does so in another task, or another process."""


_run: ContextVar[_SpanRun | None] = ContextVar("flextier_llama_index_run", default=None)


class _RunSpanHandler(NullSpanHandler):
    """Receives spans, and keeps in the context which run they are in."""

    def span_enter(
        self, id_: str, *_: Any, instance: Any = None, parent_id: str | None = None, **__: Any
    ) -> None:
        """Note the run that begins, if it is one and inside none."""
        run = _run.get()
        if run is not None and run.span_id is not None and parent_id is None:
            # It was left open in this context: by its span's end in another one.
            _run.set(run := None)
        if run is None and isinstance(instance, _RUNS):
            _run.set(_SpanRun(_name(id_), id_))

    def span_exit(self, id_: str, *_: Any, **__: Any) -> None:
        """Forget the run that ends."""
        run = _run.get()
        if run is not None and run.span_id == id_:
            _run.set(None)

    def span_drop(self, id_: str, *_: Any, **__: Any) -> None:
        """Forget the run that fails."""
        self.span_exit(id_)

    def capture_propagation_context(self) -> dict[str, Any]:
        """The run, for a workflow inside it that may run elsewhere."""
        run = _run.get()
        return {} if run is None else {_KEY: run.id}

    def restore_propagation_context(self, context: dict[str, Any]) -> None:
        """Go on in the run that a workflow was started in."""
        if (run_id := context.get(_KEY)) is not None:
            _run.set(_SpanRun(run_id, None))


_watch = _RunSpanHandler()
_adding = Lock()


def watch_runs() -> None:
    """From now on, know the run of every call: a few microseconds for each span."""
    root = get_dispatcher()
    with _adding:
        # Programs may put other handlers in place of all there are.
        if not any(handler is _watch for handler in root.span_handlers):
            root.add_span_handler(_watch)


register_run_tracking(watch_runs)


def run_here(span_id: str | None) -> Callable[[], str]:
    """The key of the run that a call asked for here is part of; the call itself, if of none.

    It is of none, too, where the run began before anybody watched.

    Args:
        span_id: the span of the call.
    """
    return partial(_run_key, _run.get(), span_id or str(uuid4()))


def _run_key(run: _SpanRun | None, span_id: str) -> str:
    watch_runs()
    return _name(span_id) if run is None else run.id


def _name(span_id: str) -> str:
    return f"flextier-{span_id[-_UUID:]}"
