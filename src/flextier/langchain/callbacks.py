"""Callbacks of LangChain runs: ``on_retry`` with tenacity's state, and call reports.

A handler gets reports by a method ``on_flextier_report(report, run_id=...)``: LangChain has no
callback for the end of every call, and calls none for a cancelled run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from functools import partial
from threading import Lock
from typing import Any

from flextier._utils.extras import needs_extra
from flextier.calls.context import current_scope, listen
from flextier.calls.report import CallReport, Retry
from flextier.langchain.records import FRAMEWORK
from flextier.langchain.run_tracking import outermost_run
from flextier.langchain.traces import add_cost, current_span, tracers_of

with needs_extra("langchain"):
    from langchain_core.callbacks import (
        AsyncCallbackManager,
        AsyncCallbackManagerForLLMRun,
        BaseCallbackManager,
        CallbackManager,
        CallbackManagerForLLMRun,
    )
    from langchain_core.callbacks.manager import handle_event
    from langchain_core.runnables import RunnableConfig, ensure_config
    from langchain_core.utils.uuid import uuid7


def calls_of(
    run_manager: Any, on_report: Callable[[CallReport], None] | None = None
) -> AbstractContextManager[None]:
    """Have calls begun inside be LangChain's, part of the outermost run around ``run_manager``."""
    # Without a run manager, the enclosing code sets the run.
    run, tags = None, ()
    if run_manager is not None:
        run, tags = (
            partial(outermost_run, run_manager),
            tuple(getattr(run_manager, "tags", None) or ()),
        )
    return listen(on_report, run=run, framework=FRAMEWORK, tags=tags)


def run_listener(run_manager: Any) -> AbstractContextManager[None]:
    """Pass retries and reports of calls begun inside to ``run_manager``, each once.

    Without a run manager it is that of the enclosing code. The span of the run is the current one.
    """
    run = _enclosing_run(run_manager)
    if run is not None:
        return current_span(run.tracers, run.run_manager.run_id)
    if run_manager is None or not run_manager.handlers:
        return _NO_LISTENER
    run = _RunCallbacks(run_manager)
    if run.tracers:
        return _traced(run)
    return listen(run.report if run.report_handlers else None, run)


_NO_LISTENER = nullcontext()


@contextmanager
def _traced(run: _RunCallbacks) -> Iterator[None]:
    with listen(run.report, run), current_span(run.tracers, run.run_manager.run_id):
        yield


class _RunCallbacks:
    """Passes retries to a run manager, as tenacity's state, and reports to its handlers."""

    def __init__(self, run_manager: Any) -> None:
        self.run_manager = run_manager
        self.report_handlers = [h for h in run_manager.handlers if hasattr(h, "on_flextier_report")]
        self.tracers = tracers_of(run_manager.handlers)

    def __call__(self, retry: Retry) -> Any:
        return self.run_manager.on_retry(retry.state)

    def report(self, report: CallReport) -> None:
        run_id = self.run_manager.run_id
        handle_event(self.report_handlers, "on_flextier_report", None, report, run_id=run_id)
        if self.tracers:
            add_cost(self.tracers, run_id, report)


def _enclosing_run(run_manager: Any) -> _RunCallbacks | None:
    """The run that listens already: ``stream`` calls ``_stream``, or falls back to ``invoke``."""
    for listener in current_scope().retries:
        if isinstance(listener, _RunCallbacks) and (
            run_manager is None or listener.run_manager.run_id == run_manager.run_id
        ):
            return listener
    return None


def run_of_config(
    model: Any, config: RunnableConfig | None, *, is_async: bool
) -> tuple[RunnableConfig, Any]:
    """The config with a run id, and a run manager for that run.

    LangChain does not expose the run manager of ``stream``. This one has the handlers of the
    config, of the outer chain, of the model, of our own blocks, and the tracers that LangChain adds
    to an outermost run: they are added here already.
    """
    config = ensure_config(config)
    config["run_id"] = run_id = config.get("run_id") or uuid7()
    managers = AsyncCallbackManager if is_async else CallbackManager
    config["callbacks"] = managers.configure(config.get("callbacks"))
    given = [*_handlers(config.get("callbacks")), *_handlers(model.callbacks), *block_handlers()]
    make = AsyncCallbackManagerForLLMRun if is_async else CallbackManagerForLLMRun
    manager = make(
        run_id=run_id,
        handlers=list({id(handler): handler for handler in given}.values()),
        inheritable_handlers=[],
        parent_run_id=getattr(config.get("callbacks"), "parent_run_id", None),
        tags=[*config.get("tags", ()), *(model.tags or ())],
    )
    return config, manager


def _handlers(callbacks: Any) -> list[Any]:
    if isinstance(callbacks, BaseCallbackManager):
        return list(callbacks.handlers)
    return list(callbacks or ())


with needs_extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook

_HookVariable = ContextVar[BaseCallbackHandler | None]

# LangChain reads every registered variable at every run and cannot unregister one, so blocks share
# them: there is one variable for each level of nested blocks.
_hook_variables: list[_HookVariable] = []
_lock = Lock()


@contextmanager
def add_handler(handler: BaseCallbackHandler) -> Iterator[None]:
    """Add ``handler`` to the handlers of all runs begun inside."""
    variable, token = _set_handler(handler)
    try:
        yield
    finally:
        variable.reset(token)


def block_handlers() -> list[BaseCallbackHandler]:
    """The handlers of the enclosing :func:`add_handler` blocks, the outermost first."""
    return [handler for variable in _hook_variables if (handler := variable.get()) is not None]


def _set_handler(handler: BaseCallbackHandler) -> tuple[_HookVariable, Token[Any]]:
    with _lock:
        for variable in _hook_variables:
            if variable.get() is None:
                break
        else:
            variable = ContextVar(f"flextier_block_{len(_hook_variables)}", default=None)
            register_configure_hook(variable, inheritable=True)
            _hook_variables.append(variable)
    return variable, variable.set(handler)
