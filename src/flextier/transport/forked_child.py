"""After a fork the child opens its own connections: those that it inherited are its parent's.

If both used one, each would get responses to the other's requests.
"""

from __future__ import annotations

import copy
import os
import socket
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from flextier._utils.fork import after_fork_in_child

_OWNERS: weakref.WeakSet[Any] = weakref.WeakSet()


def drop_in_child(owner: Any) -> None:
    """Call ``owner.drop_inherited`` in every forked child, as long as it lives."""
    _OWNERS.add(owner)


def _drop_all() -> None:
    for owner in list(_OWNERS):
        owner.drop_inherited()


after_fork_in_child(_drop_all)


def disconnect(sockets: Iterable[Any]) -> None:
    """Make this process's copies of connections lead nowhere; the parent's are as they were.

    The file descriptors stay open: closed ones would be reused for new connections, while the
    selector of the parent's event loop, which the child shares, may have them.
    """
    nowhere, peer = socket.socketpair()
    peer.close()
    with nowhere:
        for sock in sockets:
            if (descriptor := sock.fileno()) >= 0:
                os.dup2(nowhere.fileno(), descriptor, inheritable=False)


def replace_pool(transport: Any) -> None:
    """Give a transport of httpx's a connection pool without connections and held locks."""
    inherited = transport._pool
    disconnect(sockets_of(inherited))
    lock = type(inherited._optional_thread_lock)
    transport._pool = pool = copy.copy(inherited)
    pool._connections, pool._requests = [], []
    pool._optional_thread_lock = lock()
    # Responses that are still open acquire that of their own pool when they are closed.
    inherited._optional_thread_lock = lock()


def sockets_of(pool: Any) -> Iterator[Any]:
    """The sockets of a connection pool of httpcore."""
    for connection in pool.connections:
        # Connections are nested: at most three, behind proxies.
        while (inner := getattr(connection, "_connection", None)) is not None:
            connection = inner
        stream = getattr(connection, "_network_stream", None)  # none while it is being opened
        sock = None if stream is None else stream.get_extra_info("socket")
        if sock is not None:
            yield sock
