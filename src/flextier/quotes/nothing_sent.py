"""Nothing leaves the process: requests are answered here, other connections are refused.

While a quote is made, three classes are patched: the HTTP clients' ``send``, sockets' ``connect``,
and threads' ``start``, so that the context goes along. Contexts outside the quote are unaffected.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from flextier.batch.line_response import http_response

_ENDPOINTS = ("/chat/completions", "/responses", "/embeddings")
_REFUSAL = "nothing is sent while a quote is made"
_lock = threading.Lock()
_open = 0
_originals: list[tuple[type, str, Any]] = []


class AnswersRequests(Protocol):
    """What answers model calls of any client."""

    is_open: bool
    """Whether it still does: threads that were started meanwhile keep the quote's context."""

    def of_request(self, endpoint: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """The status and JSON of the response to a model call, given its path and body."""


class NothingSentError(ConnectionRefusedError):
    """A connection that was refused, as a quote is being made."""


_ANSWERING: ContextVar[AnswersRequests | None] = ContextVar("flextier_quote", default=None)


def _answering() -> AnswersRequests | None:
    """What answers the requests of this context; None: they are sent."""
    answers = _ANSWERING.get()
    return answers if answers is not None and answers.is_open else None


@contextmanager
def nothing_sent(answers: AnswersRequests) -> Iterator[None]:
    """Answer model calls of any client made inside by ``answers``; refuse every other request."""
    global _open
    with _lock:
        if not _open:
            _patch_all()
        _open += 1
    token = _ANSWERING.set(answers)
    try:
        yield
    finally:
        _ANSWERING.reset(token)
        with _lock:
            _open -= 1
            if not _open:
                _restore_all()


def _patch_all() -> None:
    for name in ("httpx", "httpx2"):
        if name in sys.modules or find_spec(name) is not None:
            library: Any = import_module(name)
            _patch(library.Client, "send", _sync_send)
            _patch(library.AsyncClient, "send", _async_send)
    for name in ("connect", "connect_ex", "sendto"):
        _patch(socket.socket, name, _no_connection)
    _patch(threading.Thread, "start", _start_in_context)


def _patch(owner: type, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    _originals.append((owner, name, vars(owner).get(name)))
    setattr(owner, name, wraps(original)(make(original)))


def _restore_all() -> None:
    while _originals:
        owner, name, original = _originals.pop()
        if original is None:  # it was inherited
            delattr(owner, name)
        else:
            setattr(owner, name, original)


def _sync_send(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(client: Any, request: Any, **arguments: Any) -> Any:
        if (answers := _answering()) is None:
            return original(client, request, **arguments)
        return _response(answers, request, request.read())

    return send


def _async_send(original: Callable[..., Any]) -> Callable[..., Any]:
    async def send(client: Any, request: Any, **arguments: Any) -> Any:
        if (answers := _answering()) is None:
            return await original(client, request, **arguments)
        return _response(answers, request, await request.aread())

    return send


def _response(answers: AnswersRequests, request: Any, content: bytes) -> Any:
    """The response to a request: an answer, or an error that is not retried."""
    endpoint = next((path for path in _ENDPOINTS if request.url.path.endswith(path)), None)
    if endpoint is None or request.method != "POST":
        where = f"{request.method} {request.url.copy_with(query=None)}"
        status, body = 501, json.dumps({"error": {"message": f"{_REFUSAL}: {where}"}}).encode()
    else:
        status, body = answers.of_request(endpoint, json.loads(content))
    response = http_response(status, None, body, request)
    response.headers["x-should-retry"] = "false"
    return response


def _no_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    def connect(own: Any, *arguments: Any) -> Any:
        if _answering() is None:
            return original(own, *arguments)
        raise NothingSentError(f"{_REFUSAL}: a connection to {arguments[-1]!r}")

    return connect


def _start_in_context(original: Callable[..., Any]) -> Callable[..., Any]:
    def start(thread: Any) -> Any:
        if _answering() is not None:
            context, run = copy_context(), thread.run
            thread.run = lambda: context.run(run)
        return original(thread)

    return start
