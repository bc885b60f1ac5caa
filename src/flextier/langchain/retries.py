"""Retries as LangChain callbacks: ``on_retry`` with tenacity's ``RetryCallState``."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flextier._extras import needs_extra
from flextier.calls import Retry, current_scope, listen

with needs_extra("langchain"):
    from langchain_core.callbacks import (
        AsyncCallbackManagerForLLMRun,
        BaseCallbackManager,
        CallbackManagerForLLMRun,
    )
    from langchain_core.runnables import RunnableConfig, ensure_config
    from langchain_core.utils.uuid import uuid7


def retry_listener(run_manager: Any) -> AbstractContextManager[None]:
    """Tell ``run_manager`` of the retries of calls begun inside; once, if it is told already."""
    if run_manager is None or not run_manager.handlers or _is_told(run_manager):
        return nullcontext()
    return listen(on_retry=_ToRun(run_manager))


class _ToRun:
    """Hands retries on to a run manager, which knows tenacity's state only."""

    def __init__(self, run_manager: Any) -> None:
        self.run_manager = run_manager

    def __call__(self, retry: Retry) -> Any:
        return self.run_manager.on_retry(retry.state)


def _is_told(run_manager: Any) -> bool:
    """Whether a manager of the same run listens: ``stream`` may fall back to ``invoke``."""
    runs = (told.run_manager for told in current_scope().retries if isinstance(told, _ToRun))
    return any(run.run_id == run_manager.run_id for run in runs)


def run_of_config(
    model: Any, config: RunnableConfig | None, *, is_async: bool
) -> tuple[RunnableConfig, Any]:
    """The config with a run id of its own, and a run manager for that run.

    LangChain makes the run manager of ``stream`` out of reach. This one knows the handlers of the
    config, of the chain around it, and of the model; not those that LangChain adds by itself for
    the outermost run (its tracers, which then miss a retry, nothing else).
    """
    config = ensure_config(config)
    config["run_id"] = run_id = config.get("run_id") or uuid7()
    given = [*_handlers(config.get("callbacks")), *_handlers(model.callbacks)]
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
