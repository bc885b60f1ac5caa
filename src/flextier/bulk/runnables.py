"""RUNNABLEs: imported by MODULE:NAME, recognised by their methods, called with a row's input."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
import threading
from collections.abc import AsyncIterable, Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any

from flextier.bulk.errors import BulkError
from flextier.bulk.row import RowProblem

Invoke = Callable[[Any], Awaitable[Any]]
"""Calls a runnable with the input of a row; returns its response."""


@dataclass(frozen=True, slots=True)
class Target:
    """A runnable, ready to be called."""

    invoke: Invoke
    needs_text: bool
    """Whether it takes text, not a dict."""
    label: str
    """Its name, the same at the next start."""


def target_of(runnable: Any, threads: WorkerThreads, label: str | None = None) -> Target:
    """How to call a Runnable of LangChain, an object of LlamaIndex, or a function.

    ``label`` is its name; None: the name of the function, or of its class.
    """
    if inspect.isclass(runnable):
        raise BulkError(f"{runnable.__name__} is a class: give an object, {runnable.__name__}()")
    name = label or _name(runnable)
    if hasattr(runnable, "ainvoke"):
        return Target(runnable.ainvoke, _starts_with_model(runnable), name)
    for method in ("aquery", "acomplete", "achat"):
        if hasattr(runnable, method):
            if _streams(runnable):
                raise BulkError(
                    f"a {type(runnable).__name__} with streaming=True cannot be run, as a row "
                    "needs the whole response: build the engine with streaming=False"
                )
            return Target(_text_only(getattr(runnable, method)), True, name)
    if hasattr(runnable, "aevaluate"):
        return Target(_evaluation(runnable.aevaluate), False, name)
    kinds = {kind.__name__ for kind in type(runnable).__mro__}
    if kinds & {"BaseWorkflowAgent", "AgentWorkflow"}:
        return Target(_text_only(lambda text: runnable.run(user_msg=text)), True, name)
    if "Workflow" in kinds:
        return Target(_workflow(runnable.run), False, name)
    if not callable(runnable):
        raise BulkError(
            f"a {type(runnable).__name__} cannot be run: give a LangChain Runnable, an LLM, query "
            "engine, agent, workflow or evaluator of LlamaIndex, or a function"
        )
    return Target(_function(runnable, threads), False, name)


def _streams(engine: Any) -> bool:
    """Whether an engine of LlamaIndex, or the one inside it, returns streams."""
    seen = engine
    while seen is not None:
        if getattr(getattr(seen, "_response_synthesizer", None), "_streaming", False):
            return True
        seen = getattr(seen, "_query_engine", None)
    return False


def _name(runnable: Any) -> str:
    if isinstance(runnable, partial):
        return _name(runnable.func)
    named = runnable if hasattr(runnable, "__qualname__") else type(runnable)
    return f"{named.__module__}.{named.__qualname__}"


def _starts_with_model(runnable: Any) -> bool:
    """Whether a Runnable is a language model, or passes its input to one unchanged."""
    seen = runnable
    for _ in range(20):
        if hasattr(seen, "agenerate_prompt"):
            return True
        inner = getattr(seen, "bound", None) or getattr(seen, "first", None)
        if inner is None:
            return False
        seen = inner
    return False


def _text_only(method: Invoke) -> Invoke:
    def invoke(value: Any) -> Awaitable[Any]:
        if not isinstance(value, str):
            raise RowProblem(f"text is needed, not a {type(value).__name__}")
        return method(value)

    return invoke


def _evaluation(method: Callable[..., Awaitable[Any]]) -> Invoke:
    """An evaluator of LlamaIndex, given the columns that are called like its arguments."""
    names = set(inspect.signature(method).parameters) - {"kwargs"}

    def invoke(row: Any) -> Awaitable[Any]:
        if not isinstance(row, dict):
            row = {"response": row}
        given = {name: value for name, value in row.items() if name in names}
        if isinstance(given.get("contexts"), str):
            given["contexts"] = [given["contexts"]]
        return method(**given)

    return invoke


def _workflow(run: Callable[..., Awaitable[Any]]) -> Invoke:
    """A workflow of LlamaIndex, whose start event gets the columns of the row."""
    return lambda row: run(**(row if isinstance(row, dict) else {"input": row}))


def _function(function: Callable[[Any], Any], threads: WorkerThreads) -> Invoke:
    if _is_a(inspect.isasyncgenfunction, function):
        return lambda value: _collected(function(value))
    if _is_a(inspect.iscoroutinefunction, function):
        return function

    async def invoke(value: Any) -> Any:
        response = await threads.run(function, value)
        if inspect.isgenerator(response):
            return await threads.run(list, response)
        if inspect.isasyncgen(response):
            return await _collected(response)
        # A lambda around an async function does not look like one.
        return await response if inspect.isawaitable(response) else response

    return invoke


async def _collected(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


def _is_a(kind: Callable[[Any], bool], function: Any) -> bool:
    """Whether a function, or an object that can be called, is of a kind."""
    while isinstance(function, partial):
        function = function.func
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004 - its own


def load(spec: str) -> Any:
    """The object that ``MODULE:NAME`` names; with ``()`` at its end, what calling it returns.

    Modules of the current directory come first.
    """
    module_name, colon, name = spec.partition(":")
    is_factory = name.endswith("()")
    name = name.removesuffix("()")
    if not (colon and module_name and name):
        raise BulkError(f"RUNNABLE {spec!r}: give MODULE:NAME, as in my_chain:chain")
    found = _imported(spec, module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise BulkError(f"RUNNABLE {spec!r}: {module_name} has no {name!r}")
        found = getattr(found, part)
    try:
        return found() if is_factory else found
    except Exception as error:
        raise BulkError(f"RUNNABLE {spec!r} raised {type(error).__name__}: {error}") from error


def _imported(spec: str, module_name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise BulkError(f"RUNNABLE {spec!r}: no module {error.name!r} from here") from error
        raise BulkError(f"RUNNABLE {spec!r}: {module_name} needs {error.name!r}") from error
    except Exception as error:
        raise BulkError(
            f"RUNNABLE {spec!r}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error


# --- threads for sync functions ---------------------------------------------------------------

_Job = tuple[Future[Any], Callable[[], Any]]


class WorkerThreads:
    """Runs sync functions in a bounded number of threads, each in a copy of the caller's context.

    Unlike an executor's, the threads are daemons: a run that is aborted must not wait for them.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads = max_threads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = 0
        self._busy = 0

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call the function with the argument; return its result."""
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        self._busy += 1
        if self._busy > self._started < self._max_threads:
            self._started += 1
            threading.Thread(target=self._work, daemon=True, name="flextier-bulk").start()
        self._jobs.put((future, lambda: context.run(function, argument)))
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._busy -= 1

    def close(self) -> None:
        """End the threads once their queue is empty."""
        for _ in range(self._started):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except StopIteration as error:  # asyncio's futures do not accept it
                future.set_exception(RuntimeError(f"the function raised {error!r}"))
            except BaseException as error:  # noqa: BLE001 - it is raised where run() is awaited
                future.set_exception(error)
