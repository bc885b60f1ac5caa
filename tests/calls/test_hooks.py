"""Listeners of the whole process: told of what begins while they listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from flextier.calls.hooks import Beginning, hear, unhear, with_hearers
from flextier.calls.report import Scope

OPTIONS: Any = SimpleNamespace(url="/responses?beta=true", json_data={"stream": True})


class Ear:
    """A hearer that remembers what it was asked, and keeps nothing of a call."""

    def __init__(self) -> None:
        self.asked: list[Beginning] = []

    def hear(self, beginning: Beginning) -> Any:
        """Asked at the beginning of a call."""
        self.asked.append(beginning)
        return SimpleNamespace(ended=lambda report: None, retried=lambda retry: None)


@pytest.fixture
def ear() -> Iterator[Ear]:
    """A hearer that is gone after the test, however that ends."""
    ear = Ear()
    yield ear
    unhear(ear.hear)


def test_nobody_listens() -> None:
    """A call's scope is then what it was, and its options are not looked at."""
    scope = Scope(changes=(("patience", 1),))
    assert with_hearers(scope, "https://api.openai.com/v1/", None) is scope


def test_a_hearer_joins_the_scope(ear: Ear) -> None:
    """It is told what begins, once, and hears before the listeners around the call."""

    def listener(report: Any) -> None: ...

    scope = Scope(reports=(listener,), changes=(("patience", 1),))
    hear(ear.hear)
    joined = with_hearers(scope, "https://api.openai.com/v1/", OPTIONS)
    assert ear.asked == [Beginning("https://api.openai.com/v1/", "/responses", stream=True)]
    assert (len(joined.reports), len(joined.retries)) == (2, 1)
    assert joined.reports[1] is listener
    assert joined.changes == scope.changes


@pytest.mark.parametrize("switch", [unhear, lambda hearer: (unhear(hearer), unhear(hearer))])
def test_a_hearer_that_has_gone(switch: Callable[[Any], object], ear: Ear) -> None:
    """It is asked no more, and going twice is no error."""
    hear(ear.hear)
    switch(ear.hear)
    with_hearers(Scope(), "", OPTIONS)
    assert ear.asked == []
