"""Callbacks of LangChain runs for their calls: ``on_retry`` with tenacity's state, and reports.

Reports go to handlers that take them, as ``on_flextier_report(report, run_id=...)``: LangChain has
no callback for every call's end. For a cancelled run it calls none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, Token
from threading import Lock
from typing import Any

from flextier._utils.extras import needs_extra
from flextier.calls.context import current_scope, listen
from flextier.calls.report import CallReport, Retry
from flextier.langchain.records import FRAMEWORK
from flextier.langchain.run_tracking import run_of

with needs_extra("langchain"):
    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        BaseCallbackManager,
        CallbackManagerForLLMRun,
    )
    from langchain_core.callbacks.manager import handle_event
    from langchain_core.runnables import RunnableConfig, ensure_config
    from langchain_core.utils.uuid import uuid7


_NOTHING = nullcontext()


def calls_of(
    run_manager: Any, on_report: Callable[[CallReport], None] | None = None
) -> AbstractContextManager[None]:
    """Have calls begun inside be LangChain's, part of the outermost run around ``run_manager``."""
    return listen(on_report, run=run_of(run_manager), framework=FRAMEWORK)


def run_listener(run_manager: Any) -> AbstractContextManager[None]:
    """Pass retries and reports of calls begun inside to ``run_manager``; each once."""
    if run_manager is None or not run_manager.handlers or _has_callback(run_manager):
        return _NOTHING
    run = _RunCallbacks(run_manager)
    return listen(run.report if run.takers else None, run)


class _RunCallbacks:
    """Hands retries on to a run manager, which knows tenacity's state only, and reports."""

    def __init__(self, run_manager: Any) -> None:
        self.run_manager = run_manager
        self.takers = [h for h in run_manager.handlers if hasattr(h, "on_flextier_report")]

    def __call__(self, retry: Retry) -> Any:
        return self.run_manager.on_retry(retry.state)

    def report(self, report: CallReport) -> None:
        run_id = self.run_manager.run_id
        handle_event(self.takers, "on_flextier_report", None, report, run_id=run_id)


def _has_callback(run_manager: Any) -> bool:
    """Whether a manager of the same run listens: ``stream`` may fall back to ``invoke``."""
    runs = (
        listener.run_manager
        for listener in current_scope().retries
        if isinstance(listener, _RunCallbacks)
    )
    return any(run.run_id == run_manager.run_id for run in runs)


def run_of_config(
    model: Any, config: RunnableConfig | None, *, is_async: bool
) -> tuple[RunnableConfig, Any]:
    """The config with a run id of its own, and a run manager for that run.

    LangChain makes the run manager of ``stream`` out of reach. This one knows the handlers of the
    config, of the chain around it, of the model, and of our own blocks; not those that LangChain
    adds by itself for the outermost run (its tracers, which then miss a retry, nothing else).
    """
    config = ensure_config(config)
    config["run_id"] = run_id = config.get("run_id") or uuid7()
    given = [*_handlers(config.get("callbacks")), *_handlers(model.callbacks), *listening()]
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

_Place = ContextVar[BaseCallbackHandler | None]

# LangChain asks every variable that was ever registered, at every run, and forgets none: one for
# each level of blocks inside blocks is enough.
_places: list[_Place] = []
_adding = Lock()


@contextmanager
def listen_with(handler: BaseCallbackHandler) -> Iterator[None]:
    """Notify ``handler`` of all runs begun inside, beside the handlers they have anyway."""
    place, token = _take(handler)
    try:
        yield
    finally:
        place.reset(token)


def listening() -> list[BaseCallbackHandler]:
    """The handlers of the blocks around the running code, the outermost first."""
    return [handler for place in _places if (handler := place.get()) is not None]


def _take(handler: BaseCallbackHandler) -> tuple[_Place, Token[Any]]:
    with _adding:
        for place in _places:
            if place.get() is None:
                break
        else:
            place = ContextVar(f"flextier_block_{len(_places)}", default=None)
            register_configure_hook(place, inheritable=True)
            _places.append(place)
    return place, place.set(handler)
