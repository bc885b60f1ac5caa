"""LangChain's runs, for lanes that group the calls of one run.

LangChain gives a model its parent run, not the outermost one. But each run passes its callback
handlers on to the runs inside it. So each outermost run gets a handler that ignores all events and
only identifies the run; it is released with the run.
"""

from __future__ import annotations

from threading import Lock
from typing import Any
from uuid import uuid4

from flextier._utils.extras import needs_extra
from flextier.calls.run_tracking import register_run_tracking

with needs_extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook


class _RunMarker(BaseCallbackHandler):
    """Identifies an outermost run in all runs inside it; ignores every event."""

    # Otherwise an async run makes a task for each event.
    run_inline = True
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = True
    ignore_retriever = ignore_retry = ignore_custom_event = True

    def run(self) -> str:
        """The key of the run, created at the first use, which most runs never have."""
        key: str = self.__dict__.setdefault("_key", _run_key(uuid4()))  # the same for all threads
        return key


class _MarkerHook:
    """Takes the place of the context variable from which LangChain gets a handler for each run.

    LangChain adds the handler only to a run that has none of its class, that is, to outermost runs.
    """

    def get(self) -> BaseCallbackHandler:
        return _RunMarker()


_lock = Lock()
_is_watching = False


def watch_runs() -> None:
    """Track the outermost run of every model call from now on; costs microseconds for each run."""
    global _is_watching
    with _lock:
        if not _is_watching:
            hook: Any = _MarkerHook()
            register_configure_hook(hook, inheritable=True, handle_class=_RunMarker)
            _is_watching = True


register_run_tracking(watch_runs)


def outermost_run(run_manager: Any) -> str:
    """The key of the outermost run around a model run, which may be the model run itself.

    If the outermost run began before tracking started, it is the model's parent run instead.
    """
    watch_runs()
    parent = run_manager.parent_run_id
    if parent is not None:
        for handler in run_manager.handlers:
            if isinstance(handler, _RunMarker):
                return handler.run()
    return _run_key(parent or run_manager.run_id)


def _run_key(run_id: Any) -> str:
    return f"flextier-{run_id}"
