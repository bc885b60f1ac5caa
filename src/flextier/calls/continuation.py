"""Runs: several calls that depend on each other, such as an agent's: ``continuation()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flextier.calls.context import current_scope, scoped

_MAX_LENGTH = 512


@contextmanager
def continuation(continuation_id: str) -> Iterator[None]:
    """Group the calls made inside as steps of one run, through any framework.

    Background responses of one run, window and model get a higher priority in OpenAI's queue from
    the second one on. Inside, ``lanes="auto"`` does not batch calls: steps wait for each other.
    Inner blocks win. LangChain's runs and LlamaIndex's workflows need no block: each is a run.

    Args:
        continuation_id: any name of the run, opaque to OpenAI and scoped to the project. It should
            contain no secret and no personal data.

    Raises:
        ValueError: the name is empty, or longer than 512 characters.

    Example::

        with continuation(f"review-{order.id}"):
            agent.invoke(...)

    Source: https://developers.openai.com/api/docs/guides/background
    """
    checked = checked_continuation_id(continuation_id)
    with scoped(run=lambda: checked):
        yield


def checked_continuation_id(continuation_id: str) -> str:
    """The name of a run.

    Raises:
        ValueError: it is empty, or longer than 512 characters.
    """
    if not isinstance(continuation_id, str) or not 0 < len(continuation_id) <= _MAX_LENGTH:
        raise ValueError(
            f"continuation_id={continuation_id!r}: must be a text of 1 to {_MAX_LENGTH} characters"
        )
    return continuation_id


def continuation_id() -> str | None:
    """The run that calls made here are part of; None: no run is known."""
    run = current_scope().run
    return None if run is None else run()
