"""The public price list as it is installed; no price book left behind."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import NoReturn

import pytest

from flextier.costs import set_price_book


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a price makes a network request."""

    def refuse(*arguments: object, **named: object) -> NoReturn:
        raise AssertionError("a price went to the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(autouse=True)
def public_prices() -> Iterator[None]:
    """Each test begins with the public list, and leaves it to the next."""
    set_price_book(None)
    yield
    set_price_book(None)
