"""Servers that do to a connection whatever a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import trustme

Handler = Callable[[socket.socket], None]

OK = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n"
    b"connection: close\r\n\r\n{}"
)


@cache
def authority() -> trustme.CA:
    """The certificate authority of servers with TLS: created by each process."""
    return trustme.CA()


@contextlib.contextmanager
def serving(handler: Handler, *, tls: bool = False) -> Iterator[str]:
    """The address of a server that hands each connection to ``handler``, and closes it then."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if context is not None:
        authority().issue_cert("localhost", "127.0.0.1", "api.example.invalid").configure_cert(
            context
        )

    def handle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            if context is None:
                handler(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as secured:
                    handler(secured)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def head_of(connection: socket.socket) -> bytes:
    """The request's line and headers; its body is left unread."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            break
        head += data
    return head


def answering(answer: bytes, seen: list[bytes] | None = None) -> Handler:
    """A handler that reads a request's head, sends ``answer``, and lets the client hang up."""

    def handler(connection: socket.socket) -> None:
        head = head_of(connection)
        if seen is not None:
            seen.append(head)
        connection.sendall(answer)
        connection.settimeout(0.1)
        while connection.recv(65536):  # an unread body would reset the connection
            pass

    return handler


def tunnelling(to: str, seen: list[bytes], answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> Handler:
    """A proxy that says ``answer`` to CONNECT and then leads to ``to``, whatever was asked for."""

    def handler(connection: socket.socket) -> None:
        seen.append(head_of(connection))
        connection.sendall(answer)
        if not answer.startswith(b"HTTP/1.1 200"):
            return
        host, _, port = to.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=_copy, args=(server, connection), daemon=True)
            back.start()
            _copy(connection, server)
            back.join()

    return handler


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def event_stream(*events: Any, done: bool = True) -> bytes:
    """An HTTP answer with these server-sent events."""
    blocks = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"] * done
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return "".join((head, *blocks)).encode()


def chunk(text: str | None = None, finish_reason: str | None = None, **fields: Any) -> Any:
    """A chunk of a chat stream on flex."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    shared = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "o3"}
    return {**shared, "service_tier": "flex", "choices": [choice], **fields}
