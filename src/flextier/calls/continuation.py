"""Runs of several calls that follow from each other, such as an agent's: ``continuation()``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flextier.calls.context import current_scope, scoped

_LONGEST = 512


@contextmanager
def continuation(continuation_id: str) -> Iterator[None]:
    """Tie the calls made inside together, through any framework: they are steps of one run.

    Background responses of one run, window and model get a higher priority in OpenAI's queue from
    the second one on. Inside, ``lanes="auto"`` does not put calls into batches: steps wait for each
    other. Inner blocks win. LangChain's runs and LlamaIndex's workflows need no block: they are
    runs by themselves.

    Args:
        continuation_id: any name of the run: opaque to OpenAI, which keeps it apart by project. Not
            a secret, and nothing personal.

    Raises:
        ValueError: it is empty, or longer than 512 characters.

    Example::

        with continuation(f"review-{order.id}"):
            agent.invoke(...)

    Source: https://developers.openai.com/api/docs/guides/background
    """
    if not isinstance(continuation_id, str) or not 0 < len(continuation_id) <= _LONGEST:
        raise ValueError(
            f"continuation_id={continuation_id!r}: a text of 1 to {_LONGEST} characters"
        )
    with scoped(run=lambda: continuation_id):
        yield


def continuation_id() -> str | None:
    """The run that the calls made here are part of; None: of none that is known."""
    run = current_scope().run
    return None if run is None else run()
