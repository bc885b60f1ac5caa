"""What all tests share: no settings of the machine, nothing learnt, certificates read once."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import settings

from flextier.capacity import CAPACITY
from flextier.variables import LEAN
from tests import sampling, skips
from tests.sampling import pytest_collection_modifyitems
from tests.skips import pytest_configure

__all__ = ["pytest_collection_modifyitems", "pytest_configure"]

# A machine that is busy for a moment is no counterexample.
settings.register_profile("flextier", deadline=None, max_examples=100)
settings.load_profile("flextier")

_PREFIXES = ("OPENAI_", "FLEXTIER_", "LANGCHAIN_", "LANGSMITH_", "AZURE_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the tests."""
    sampling.pytest_addoption(parser)
    skips.pytest_addoption(parser)


def pytest_sessionstart() -> None:
    """Give Ctrl-C its usual effect, here and in the processes that tests start: the background of a
    script hands down a SIGINT that is ignored. And have no event loop that no test closes:
    LlamaIndex's `asyncio_run` would otherwise have asyncio create one.
    """
    asyncio.set_event_loop(None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the settings, the keys or the learnt capacity of another, or of the machine.

    But ``FLEXTIER_LEAN=0``, with which all tests pass, too (``make test-lean-off``).
    """
    for name in list(os.environ):
        if name == LEAN:
            continue
        if name.startswith(_PREFIXES) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    CAPACITY.reset()
    yield
    CAPACITY.reset()


_context = functools.cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def certificates_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test uses TLS, but every client reads all certificates: most of what a test would take."""
    monkeypatch.setattr(ssl, "create_default_context", _context)
