"""The gateway of a Ray cluster: an actor with a name, so that all jobs share one limiter."""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Thread
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from flextier._utils.extras import needs_extra
from flextier.bulk.errors import BulkError
from flextier.policy import FlexPolicy
from flextier.ray.needs_ray import ray_data
from flextier.variables import GATEWAY_TOKEN, LEDGER, setting

NAME, NAMESPACE = "flextier-gateway", "flextier"
_OPENAI = "https://api.openai.com/v1"
_STARTS_IN = 60.0
"""Seconds in which a gateway that is started, or started again, must answer."""
_INTERVAL = 0.1


@dataclass(frozen=True)
class GatewayAddress:
    """Where a gateway is reached."""

    url: str
    token: str = field(default="", repr=False)
    base_url: str | None = None
    """The API that it serves at ``/v1``, whose key only it has; None: unknown."""

    def prepare_process(self) -> None:
        """Let the clients of this process reach it, and wait until it answers."""
        environment, host = os.environ, urlsplit(self.url).hostname or ""
        if self.token:
            environment[GATEWAY_TOKEN] = self.token
        for name in ("NO_PROXY", "no_proxy"):  # no proxy leads into a cluster
            hosts = filter(None, environment.get(name, "").split(","))
            environment[name] = ",".join(dict.fromkeys((*hosts, host)))
        if self.base_url is not None:
            environment.setdefault("OPENAI_BASE_URL", self.base_url)
            environment.setdefault("OPENAI_API_BASE", self.base_url)  # LlamaIndex reads this one
            environment.setdefault("OPENAI_API_KEY", "the-gateway-has-it")
        _wait_until_ready(self.url)


def _wait_until_ready(url: str) -> None:
    opener, ends_at = build_opener(ProxyHandler({})), time.monotonic() + _STARTS_IN
    while True:
        try:
            with opener.open(f"{url}/healthz", timeout=5):
                return
        except (URLError, OSError) as error:
            if time.monotonic() > ends_at:
                raise BulkError(f"gateway {url} does not answer: {error}") from error
        time.sleep(_INTERVAL)


@dataclass(frozen=True)
class _Settings:
    """What a gateway is started with."""

    policy: FlexPolicy
    base_url: str
    ledger: str
    api_key: str = field(repr=False)
    token: str = field(repr=False)
    host: str
    port: int

    @property
    def shared(self) -> dict[str, str | None]:
        """What all jobs of a cluster must agree on."""
        budget = self.policy.budget
        return {
            "journal": self.policy.journal,
            "budget": None if budget is None else f"{budget:f}",
            "OPENAI_BASE_URL": self.base_url,
            LEDGER: self.ledger or None,
        }


class _GatewayActor:
    """Serves a gateway in a thread. Ray starts it again, at the same address, if it dies."""

    def __init__(self, settings: _Settings) -> None:
        from flextier.serve.app import Gateway
        from flextier.serve.log import log_to_stderr
        from flextier.serve.options import GatewayOptions, UpstreamOptions
        from flextier.serve.server import GatewayServer, raise_open_files
        from flextier.serve.tokens import Token

        self._settings, ledger = settings, None
        if settings.ledger:
            from flextier.ledger import Ledger

            ledger = Ledger(settings.ledger)
        options = GatewayOptions(
            (UpstreamOptions("", settings.base_url, settings.api_key),),
            settings.policy,
            host=settings.host,
            port=settings.port,
            tokens=(Token("ray", settings.token),),
        )
        raise_open_files()
        log_to_stderr()
        self._server = GatewayServer(Gateway(options, ledger))
        self._server.bind()
        self._thread = Thread(target=self._server.run_bound, daemon=True, name="flextier-gateway")
        self._thread.start()

    def settings(self) -> _Settings:
        return self._settings

    def stop(self) -> None:
        """Take no more calls, and return when those that run have ended."""
        self._server.should_exit = True
        self._thread.join()


def cluster_gateway(journal: str | None, budget: Decimal | None) -> GatewayAddress:
    """The gateway of this cluster, which is started if there is none, on this process's node.

    Raises:
        BulkError: there is no key for it, or there is one with other settings.
    """
    ray = ray_data()
    with needs_extra("serve"):
        import flextier.serve.server  # noqa: F401 - before an actor fails to
    asked = _settings(ray, journal, budget)
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
        ray.get_runtime_context().get_node_id(), soft=False
    )
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_GatewayActor)
    actor = remote.options(
        name=NAME,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        scheduling_strategy=strategy,
    ).remote(asked)
    found: _Settings = ray.get(actor.settings.remote())
    if differing := [
        f"{name}={value}, not {asked.shared[name]}"
        for name, value in found.shared.items()
        if value != asked.shared[name]
    ]:
        raise BulkError(
            f"this cluster's gateway was started with {'; '.join(differing)}: use the same, or end "
            "it with flextier.ray.stop_gateway()"
        )
    host = f"[{found.host}]" if ":" in found.host else found.host
    return GatewayAddress(f"http://{host}:{found.port}", found.token, found.base_url)


def _settings(ray: Any, journal: str | None, budget: Decimal | None) -> _Settings:
    if not (key := os.environ.get("OPENAI_API_KEY", "")):
        raise BulkError(
            "OPENAI_API_KEY is not set here, and the gateway of the cluster needs it: set it, or "
            "name a gateway that runs (gateway='http://host:8484'), or use none (gateway=False)"
        )
    host = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    return _Settings(
        # Repeats of a row find its responses, also those that were delivered.
        FlexPolicy(gateway=None, journal=journal, budget=budget, journal_duplicates="once"),
        os.environ.get("OPENAI_BASE_URL", "") or _OPENAI,
        setting(LEDGER),
        key,
        secrets.token_urlsafe(32),
        host,
        port,
    )


def stop_gateway() -> None:
    """End the gateway that :func:`flextier.ray.run` has started in this cluster, if there is one.

    It takes no more calls; those that run may take another 30 seconds.
    """
    ray = ray_data()
    try:
        actor = ray.get_actor(NAME, namespace=NAMESPACE)
    except ValueError:
        return
    ray.get(actor.stop.remote())
    ray.kill(actor)
