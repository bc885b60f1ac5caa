"""Handlers for every run inside a ``with`` block, without being passed along."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from threading import Lock
from typing import Any

from flextier._utils.extras import needs_extra

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
