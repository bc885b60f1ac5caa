"""The connections of this process to a gateway, and the base URLs that it serves."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from functools import cached_property, partial
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import anyio

from flextier._openai.http_library import connection_errors, http
from flextier._utils.fork import after_fork_in_child
from flextier._utils.safe_warn import safe_warn
from flextier._version import __version__
from flextier.errors import GatewayUnavailable
from flextier.routing.steps import Pause, Request, Steps
from flextier.transport.http_clients import async_http_client, sync_http_client
from flextier.variables import GATEWAY_TOKEN, setting

SILENCE = 60.0
"""Seconds without a byte, after which a connection is lost: a gateway sends one every 15 s."""
_CONNECT = 5.0
_LAST_WORDS = 5.0
"""Seconds for a request of a call that is cancelled."""
_FAILED_FOR = 5.0
"""Seconds for which a gateway that did not answer is not asked again what it serves."""


class SyncLink:
    """How the sync clients reach a gateway."""

    def __init__(self, http_client: Any) -> None:
        self._http = http_client

    def open(self, request: Any) -> tuple[Any, Callable[[], Any]]:
        """The response to a request, whose body is not read, and what returns its next bytes."""
        response = self._http.send(request, stream=True)
        return response, partial(next, response.iter_bytes(), b"")

    def read(self, request: Any) -> Any:
        """The response to a request."""
        return self._http.send(request)

    last_words = read
    """The response to a request of a call that is cancelled."""

    def finish(self, response: Any) -> Any:
        """Read a response to its end."""
        return response.read()

    def close(self, response: Any) -> None:
        """Close a response."""
        response.close()


class AsyncLink:
    """How the async clients reach a gateway: as :class:`SyncLink`, awaited."""

    def __init__(self, http_client: Any) -> None:
        self._http = http_client

    async def open(self, request: Any) -> tuple[Any, Callable[[], Any]]:
        response = await self._http.send(request, stream=True)
        return response, partial(anext, response.aiter_bytes(), b"")

    async def read(self, request: Any) -> Any:
        return await self._http.send(request)

    async def last_words(self, request: Any) -> Any:
        with anyio.CancelScope(shield=True):
            return await self._http.send(request)

    async def finish(self, response: Any) -> Any:
        return await response.aread()

    async def close(self, response: Any) -> None:
        with anyio.CancelScope(shield=True):
            await response.aclose()


Link = SyncLink | AsyncLink


class KnownGateway:
    """A gateway, as this process knows it."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._paths: dict[str, str] | None = None
        """Of each base URL that it serves, the path; None: it was not asked yet."""
        self._failed: tuple[float, str] | None = None
        self._warned: set[str] = set()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Those who wait are the parent's."""
        self._lock, self._waiting = Lock(), None

    _waiting: list[Callable[[], None]] | None
    """Wake those who wait for the answer of what it serves; None: it is not being asked."""

    # --- connections ------------------------------------------------------------------------------

    @property
    def _settings(self) -> Any:
        # A call that waits has its connection; the limit is the gateway's.
        limits = http.Limits(max_connections=None, max_keepalive_connections=100)
        trust_env = not _is_loopback(urlsplit(self.url).hostname or "")  # no proxy leads here
        return {"limits": limits, "trust_env": trust_env, "follow_redirects": False}

    @cached_property
    def sync_link(self) -> SyncLink:
        return SyncLink(sync_http_client(**self._settings))

    @cached_property
    def async_link(self) -> AsyncLink:
        return AsyncLink(async_http_client(**self._settings))

    def request(
        self, method: str, path: str, *, read: float = _LAST_WORDS, content: Any = None, **more: str
    ) -> Any:
        """A request; ``more`` are headers."""
        headers = {
            "accept-encoding": "identity",
            "user-agent": f"flextier/{__version__}",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        if self._token:
            headers["x-flextier-token"] = self._token
        timeout = http.Timeout(SILENCE, connect=_CONNECT, read=read).as_dict()
        return http.Request(
            method,
            f"{self.url}{path}",
            headers=headers,
            content=content,
            extensions={"timeout": timeout},
        )

    # --- what it serves ---------------------------------------------------------------------------

    def path_of(self, base_url: str, link: Link, clock: Any, new_wait: Any) -> Steps[str | None]:
        """The path under which a base URL is served; None: it is not, which is warned about once.

        The gateway is asked once.

        Raises:
            GatewayUnavailable: it does not answer.
        """
        while self._paths is None:
            wait = new_wait()
            wait.prepare()
            with self._lock:
                is_first = self._waiting is None
                self._waiting = [] if self._waiting is None else [*self._waiting, wait.wake]
            if not is_first:
                yield Pause(_CONNECT, wait)
                continue
            try:
                yield from self._ask(link, clock)
            finally:
                with self._lock:
                    waiting, self._waiting = self._waiting or [], None
                for wake in waiting:
                    _wake(wake)
        own = base_url.rstrip("/")
        if own.startswith(f"{self.url}/"):
            return own.removeprefix(self.url)
        path = self._paths.get(_normalised(own))
        if path is None and own not in self._warned:
            self._warned.add(own)
            safe_warn(
                f"the gateway {self.url} (FLEXTIER_GATEWAY) does not serve {own}: calls to it go "
                "there directly. `flextier serve --upstream NAME=URL` adds it"
            )
        return path

    def _ask(self, link: Link, clock: Any) -> Steps[None]:
        if self._failed is not None and clock.now() - self._failed[0] < _FAILED_FOR:
            raise self.unavailable(self._failed[1])
        why, response = "", None
        try:
            request = self.request("GET", "/flextier/upstreams")
            response = yield Request(partial(link.read, request))
            if response.status_code == 200:
                listed = response.json()["upstreams"]
                self._paths = {_normalised(one["base_url"]): one["path"] for one in listed}
                return
            why = self.refusal(response)
        except connection_errors as error:
            why = str(error) or type(error).__name__
        except (ValueError, LookupError, TypeError):
            why = "it is no gateway of this version"
        self._failed = clock.now(), why
        raise self.unavailable(why)

    def refusal(self, response: Any) -> str:
        """What a response that has no frames says."""
        try:
            said = str(response.json()["error"]["message"])
        except (ValueError, LookupError, TypeError):
            said = "it is no gateway of this version"
        hint = ": set FLEXTIER_GATEWAY_TOKEN" if response.status_code == 401 else ""
        return f"status {response.status_code}, {said}{hint}"

    def unavailable(self, why: str) -> GatewayUnavailable:
        """The error for a call that cannot reach the gateway."""
        return GatewayUnavailable(
            message=f"the gateway {self.url} (FlexPolicy.gateway, FLEXTIER_GATEWAY) cannot take "
            f"the call: {why}. FLEXTIER_GATEWAY_FALLBACK=local lets calls go on without it",
            request=http.Request("POST", self.url),
        )

    def warn_fallback(self, error: Exception) -> None:
        """Warn once that calls go on without the gateway."""
        if "" not in self._warned:
            self._warned.add("")
            safe_warn(f"calls go on without their gateway (gateway_fallback='local'): {error}")


_GATEWAYS: dict[tuple[str, str], KnownGateway] = {}


def gateway_at(url: str) -> KnownGateway:
    """The gateway at a URL, with the token of ``FLEXTIER_GATEWAY_TOKEN``; one a process."""
    key = url, setting(GATEWAY_TOKEN)
    return _GATEWAYS.get(key) or _GATEWAYS.setdefault(key, KnownGateway(*key))


def _forked() -> None:
    for gateway in _GATEWAYS.values():
        gateway.reset_after_fork()


after_fork_in_child(_forked)


def _wake(wake: Callable[[], None]) -> None:
    try:
        wake()
    except RuntimeError:  # its event loop has ended
        return


def _normalised(url: str) -> str:
    parts = urlsplit(url.rstrip("/"))
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}{parts.path}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
