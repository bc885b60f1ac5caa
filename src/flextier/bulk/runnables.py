"""RUNNABLEs: imported by MODULE:NAME, recognised by their methods, called with a row."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from flextier.bulk.errors import BulkError
from flextier.bulk.row import RowProblem
from flextier.bulk.worker_threads import WorkerThreads

Ask = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Target:
    """A runnable, ready to be asked."""

    ask: Ask
    needs_text: bool
    """Whether it takes a text, not a dict."""
    label: str
    """A name for it, the same in the next run."""


def target_of(runnable: Any, threads: WorkerThreads, label: str | None = None) -> Target:
    """The target that a runnable is.

    Args:
        runnable: a LangChain Runnable, an LLM, query engine or chat engine of LlamaIndex, or a
            function, async or not.
        threads: where functions run that are not async.
        label: its name. None: that of the function, or of its class.

    Raises:
        BulkError: it is none of these.
    """
    if inspect.isclass(runnable):
        raise BulkError(f"{runnable.__name__} is a class: give an object, {runnable.__name__}()")
    name = label or _name(runnable)
    if hasattr(runnable, "ainvoke"):
        return Target(runnable.ainvoke, _begins_with_a_model(runnable), name)
    for method in ("aquery", "acomplete", "achat"):
        if hasattr(runnable, method):
            return Target(_with_text(getattr(runnable, method)), True, name)
    if not callable(runnable):
        raise BulkError(
            f"a {type(runnable).__name__} cannot be run: give a LangChain Runnable, an LLM or "
            "query engine of LlamaIndex, or a function"
        )
    return Target(_function(runnable, threads), False, name)


def _name(runnable: Any) -> str:
    if isinstance(runnable, partial):
        return _name(runnable.func)
    named = runnable if hasattr(runnable, "__qualname__") else type(runnable)
    return f"{named.__module__}.{named.__qualname__}"


def _begins_with_a_model(runnable: Any) -> bool:
    """Whether a Runnable is a language model, or hands its input to one as it is."""
    seen = runnable
    for _ in range(20):
        if hasattr(seen, "agenerate_prompt"):
            return True
        inner = getattr(seen, "bound", None) or getattr(seen, "first", None)
        if inner is None:
            return False
        seen = inner
    return False


def _with_text(method: Ask) -> Ask:
    def ask(given: Any) -> Awaitable[Any]:
        if not isinstance(given, str):
            raise RowProblem(f"a text is needed, and this is a {type(given).__name__}")
        return method(given)

    return ask


def _function(function: Callable[[Any], Any], threads: WorkerThreads) -> Ask:
    if _is_async(function):
        return function

    async def ask(given: Any) -> Any:
        answer = await threads.run(function, given)
        # A lambda around an async function does not look like one.
        return await answer if inspect.isawaitable(answer) else answer

    return ask


def _is_async(function: Any) -> bool:
    while isinstance(function, partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    return inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - its own


def load(spec: str) -> Any:
    """The object that ``MODULE:NAME`` names; with ``()`` at its end, what calling it returns.

    The current directory comes first where modules are looked for.

    Raises:
        BulkError: there is none, or it cannot be imported.
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
    return _called(spec, found) if is_factory else found


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


def _called(spec: str, factory: Any) -> Any:
    try:
        return factory()
    except Exception as error:
        raise BulkError(f"RUNNABLE {spec!r} raised {type(error).__name__}: {error}") from error
