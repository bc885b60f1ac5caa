"""wrap(): a function that runs in the context where it was wrapped, also in a pool's threads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from functools import wraps
from types import coroutine
from typing import Any, ParamSpec, TypeVar, cast

_P = ParamSpec("_P")
_T = TypeVar("_T")


def wrap(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """``function``, to be called in any thread or event loop as if it were called here.

    Plain threads and pools start with an empty context: the blocks around the code that uses them
    (:func:`track`, :func:`override`, :func:`budget`, ``record_calls``, frameworks' callbacks,
    tracing) do not reach the calls that they make. A wrapped function takes the context along; each
    call of it has a copy of its own. Coroutine functions stay coroutine functions. Contexts do not
    cross processes: see ``FLEXTIER_LEDGER``.

    Args:
        function: wrap it inside the blocks, where it is handed over.

    Raises:
        TypeError: it is a generator function, whose body runs where it is iterated.

    Example::

        with track() as calls, ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(flextier.wrap(ask), questions))
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"wrap({function!r}): wrap the function that iterates over the generator")
    context = copy_context()

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def run_coroutine(*args: _P.args, **kwargs: _P.kwargs) -> Any:
            return await _in_context(context.copy(), function(*args, **kwargs))

        return cast("Callable[_P, _T]", run_coroutine)

    @wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        own = context.copy()
        result = own.run(function, *args, **kwargs)
        return cast("_T", _awaited(own, result)) if inspect.iscoroutine(result) else result

    return run


async def _awaited(context: Context, body: Coroutine[Any, Any, Any]) -> Any:
    return await _in_context(context, body)


@coroutine
def _in_context(context: Context, body: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run each step of a coroutine in ``context``: a task takes a context from Python 3.11 on."""
    step: Callable[..., Any] = body.send
    sent: Any = None
    while True:
        try:
            awaited = context.run(step, sent)
        except StopIteration as end:
            return end.value
        try:
            step, sent = body.send, (yield awaited)
        except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of it
            step, sent = body.throw, error
