"""Hooks of the whole process: called for every call that begins while they are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flextier.calls.call import Call
from flextier.calls.context import Scope
from flextier.calls.hooks import CallStart, add_hook, remove_hook, with_hooks

CALL = Call("o3", "/responses", stream=True, body={})


class RecordingHook:
    """A hook that records the calls that begin, and whose listeners do nothing."""

    def __init__(self) -> None:
        self.started: list[CallStart] = []

    def __call__(self, start: CallStart) -> Any:
        """Called when a call begins."""
        self.started.append(start)
        return SimpleNamespace(ended=lambda report: None, retried=lambda retry: None)


@pytest.fixture
def hook() -> Iterator[RecordingHook]:
    """A hook that is removed after the test, however that ends."""
    hook = RecordingHook()
    yield hook
    remove_hook(hook)


def test_without_hooks() -> None:
    """The scope of a call is returned as it is."""
    scope = Scope(changes=(("patience", 1),))
    assert with_hooks(scope, "https://api.openai.com/v1/", CALL) is scope


def test_a_hook_adds_listeners_to_the_scope(hook: RecordingHook) -> None:
    """It gets the start of the call once; its listener comes before those around the call."""

    def listener(report: Any) -> None: ...

    scope = Scope(reports=(listener,), changes=(("patience", 1),))
    add_hook(hook)
    merged = with_hooks(scope, "https://api.openai.com/v1/", CALL)
    assert hook.started == [CallStart("https://api.openai.com/v1/", "/responses", stream=True)]
    assert (len(merged.reports), len(merged.retries)) == (2, 1)
    assert merged.reports[1] is listener
    assert merged.changes == scope.changes


@pytest.mark.parametrize(
    "remove", [remove_hook, lambda hook: (remove_hook(hook), remove_hook(hook))]
)
def test_a_removed_hook(remove: Callable[[Any], object], hook: RecordingHook) -> None:
    """It is not called any more, and removing it twice is no error."""
    add_hook(hook)
    remove(hook)
    with_hooks(Scope(), "", CALL)
    assert hook.started == []
