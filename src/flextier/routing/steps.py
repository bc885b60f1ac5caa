"""The steps of a call that wait: a generator yields them, ``driver.py`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

from flextier.calls.answer import Answer


class Pause(NamedTuple):
    """A step: wait for ``seconds``, or until ``wait`` is woken."""

    seconds: float
    wait: Any = None


class Request(NamedTuple):
    """A step: call ``send``, and await what it returns in the async driver."""

    send: Callable[[], Any]


class Notify(NamedTuple):
    """A step: await what an async listener has returned; the sync driver cannot."""

    listener: Any
    awaitable: Any


class Background(NamedTuple):
    """A step: drive a background response to its end."""

    lifecycle: Any
    waiters: Any
    send: Callable[[Any], Any]
    """Sends a request, given its SDK options."""


_T = TypeVar("_T")
Step: TypeAlias = Pause | Request | Notify | Background
Steps: TypeAlias = Generator[Step, Any, _T]


@dataclass(slots=True, eq=False)
class Served:
    """The end of an attempt that the server has answered."""

    value: Any
    """What the caller gets."""
    answer: Answer | None = None
    """The facts of the answer; None: the caller reads it."""
    request_id: str | None = None
    stream: Any = None
    """The stream in ``value``, which is open: the call ends with it. None: there is none."""
    error: Exception | None = None
    """What the caller's own parser will raise for ``value``; None: nothing."""
