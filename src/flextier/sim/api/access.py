"""Who may make requests: no page of another site, and to steer, only who has the token."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from flextier.sim.base.api_errors import ErrorReply, Rejected

TOKEN_HEADER = "x-flextier-token"

_HOSTS = frozenset({"127.0.0.1", "localhost"})


def check_host(headers: Mapping[str, str], *, as_proxy: bool) -> None:
    """Check that a request is meant for the loopback: a browser sends those of any page.

    Requests to a proxy (``as_proxy``) may name any host: no page can have a browser make them.

    Raises:
        Rejected: its Host or its Origin is another one.
    """
    given = {
        "Host": f"//{headers.get('host', 'localhost')}",
        "Origin": headers.get("origin", "//localhost"),
    }
    if as_proxy:
        del given["Host"]
    for name, url in given.items():
        if _hostname(url) not in _HOSTS:
            raise Rejected(ErrorReply(403, f"{name}: the simulator serves 127.0.0.1 only"))


def _hostname(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def check_token(headers: Mapping[str, str], token: str) -> None:
    """Check that a request to steer the simulator names its token.

    Raises:
        Rejected: it does not.
    """
    if not hmac.compare_digest(headers.get(TOKEN_HEADER, "").encode(), token.encode()):
        message = f"{TOKEN_HEADER}: steering needs Simulator.token, which flextier sim prints"
        raise Rejected(ErrorReply(403, message))
