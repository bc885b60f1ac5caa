"""The settings of a gateway."""

from __future__ import annotations

from dataclasses import dataclass, field

from flextier.policy import FlexPolicy
from flextier.serve.access import is_loopback
from flextier.serve.answer_response import QUIET
from flextier.serve.tokens import Token


@dataclass(frozen=True)
class UpstreamOptions:
    """An API that the gateway serves."""

    name: str
    """As in the path ``/NAME/v1``; empty: the default one, at ``/v1``."""
    base_url: str
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class GatewayOptions:
    """The settings of a gateway."""

    upstreams: tuple[UpstreamOptions, ...]
    policy: FlexPolicy = field(default_factory=FlexPolicy)
    """For all calls; a request may set fields of it."""
    host: str = "127.0.0.1"
    """The address to listen at."""
    port: int = 8484
    """0: any free one."""
    tokens: tuple[Token, ...] = ()
    """One of which each request must state; none: this machine's programs need none."""
    hosts: tuple[str, ...] = ()
    """Other names under which the gateway may be reached."""
    quiet: float = QUIET
    """Seconds of silence, after which a stream that waits gets a comment."""
    drain: float = 30.0
    """Seconds for which calls may still run after a signal to end."""
    max_calls: int = 10_000
    """Calls that run or wait at once."""
    max_body_bytes: int = 64 * 2**20
    """Bytes of the body of a call."""
    max_body_memory: int = 2**30
    """Bytes of the bodies of all calls that arrive, wait or run."""
    max_upload_bytes: int = 2**30
    """Bytes of any other body, which is streamed."""

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host} can be reached from other machines, so callers need tokens: "
                "--token-file, a line NAME TOKEN each"
            )
