"""LangChain's runs, for lanes that tie the calls of one run together.

LangChain gives a model the run right around it, not the outermost one. But it passes callback
handlers down from each run to those inside it. So a handler that ignores events goes along, another
one for each outermost run: it is the name of that run, and it is gone with it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any
from uuid import uuid4

from flextier._utils.extras import needs_extra
from flextier.calls.run_tracking import register_run_tracking

with needs_extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.tracers.context import register_configure_hook


class _Outermost(BaseCallbackHandler):
    """Follows an outermost run into all runs inside it, and ignores every event."""

    # An async run would make a task for each event of a handler that is not.
    run_inline = True
    ignore_llm = ignore_chat_model = ignore_chain = ignore_agent = True
    ignore_retriever = ignore_retry = ignore_custom_event = True

    def run(self) -> str:
        """The name of the run. It is made when it is asked for: most never are."""
        named: str = self.__dict__.setdefault("_run", _name(uuid4()))  # one for all threads
        return named


class _Everywhere:
    """Stands where LangChain expects a context variable with the handler to add to a run.

    LangChain adds what it gets only to runs that have no handler of that class yet: those inside
    another run have that run's.
    """

    def get(self) -> BaseCallbackHandler:
        return _Outermost()


_adding = Lock()
_watching = False


def watch_runs() -> None:
    """From now on, know the outermost run of every model call: a few microseconds for each run."""
    global _watching
    with _adding:
        if not _watching:
            everywhere: Any = _Everywhere()
            register_configure_hook(everywhere, inheritable=True, handle_class=_Outermost)
            _watching = True


register_run_tracking(watch_runs)


def run_of(run_manager: Any) -> Callable[[], str] | None:
    """The outermost run that the model run of a manager is part of; itself, if of none.

    Where that began before tracking started: the run right around the model. None:
    there is no manager, and the code around knows.
    """
    return None if run_manager is None else partial(_outermost, run_manager)


def _outermost(run_manager: Any) -> str:
    watch_runs()
    around = run_manager.parent_run_id
    if around is not None:
        for handler in run_manager.handlers:
            if isinstance(handler, _Outermost):
                return handler.run()
    return _name(around or run_manager.run_id)


def _name(run_id: Any) -> str:
    return f"flextier-{run_id}"
