"""``flextier serve``: the gateway as a command."""

from __future__ import annotations

import argparse
import os
import signal
from typing import TYPE_CHECKING, Any

from flextier._utils.extras import needs_extra
from flextier.cli._common import DURATION, duration, duration_or_zero, fail

if TYPE_CHECKING:
    from flextier.ledger import Ledger
    from flextier.serve.options import GatewayOptions, UpstreamOptions

PORT = 8484
_OPENAI = "https://api.openai.com/v1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier serve`` to a parser."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address; others than loopback need tokens [%(default)s]",
    )
    parser.add_argument("--port", type=int, default=PORT, help="0: any free one [%(default)s]")
    parser.add_argument(
        "--upstream",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="serve URL at /NAME/v1 with the key in NAME_API_KEY; may be given repeatedly; "
        "[OPENAI_BASE_URL with OPENAI_API_KEY is at /v1]",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="callers need a token of it: lines NAME TOKEN [budget=US$] [tags=TAG,TAG] [none]",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which callers may reach it; may be given repeatedly",
    )
    parser.add_argument("--lanes", metavar="LANES", help="such as flex,standard [FLEXTIER_LANES]")
    parser.add_argument(
        "--deadline",
        type=duration,
        metavar=DURATION,
        help="for calls that state none [FLEXTIER_DEADLINE]",
    )
    parser.add_argument(
        "--journal", metavar="FILE", help="a restart pays for nothing twice [FLEXTIER_JOURNAL]"
    )
    parser.add_argument(
        "--budget", metavar="US$", help="for all calls since the start [FLEXTIER_BUDGET]"
    )
    parser.add_argument(
        "--ledger",
        metavar="URL",
        default=os.environ.get("FLEXTIER_LEDGER", "").strip(),
        help="a row for each call, with its tags, and the page /report [FLEXTIER_LEDGER]",
    )
    parser.add_argument(
        "--drain",
        type=duration_or_zero,
        default=30.0,
        metavar=DURATION,
        help="how long calls may still run after SIGTERM [30s]",
    )
    parser.add_argument(
        "--max-calls",
        type=int,
        default=10_000,
        metavar="N",
        help="calls that run or wait at once; more get 503 [%(default)s]",
    )
    parser.add_argument(
        "--max-body-memory",
        type=int,
        default=1024,
        metavar="MIB",
        help="for the bodies of calls that run or wait; more get 503 [%(default)s]",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; return 0, or 2 if it cannot begin."""
    from flextier.errors import PolicyError

    try:
        with needs_extra("serve"):
            from flextier.serve.app import Gateway
            from flextier.serve.log import log_to_stderr
            from flextier.serve.server import GatewayServer, raise_open_files
        server = GatewayServer(Gateway(_options(options), _ledger(options.ledger)))
        server.bind()
    except (ImportError, OSError, ValueError, PolicyError) as error:
        return fail("serve", error)
    raise_open_files()
    log_to_stderr()
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.run_bound()
    except KeyboardInterrupt:  # raised again by uvicorn, once all has ended
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _options(options: argparse.Namespace) -> GatewayOptions:
    from flextier.policy import FlexPolicy
    from flextier.serve.options import GatewayOptions
    from flextier.serve.tokens import read_tokens

    fields: dict[str, Any] = {
        name: value
        for name in ("lanes", "deadline", "journal", "budget")
        if (value := getattr(options, name)) is not None
    }
    return GatewayOptions(
        _upstreams(options.upstream),
        FlexPolicy(gateway=None, **fields),  # its own calls go to the upstream
        host=options.host,
        port=options.port,
        tokens=read_tokens(options.token_file) if options.token_file else (),
        hosts=tuple(options.allow_host),
        drain=options.drain,
        max_calls=options.max_calls,
        max_body_memory=options.max_body_memory * 2**20,
    )


def _ledger(url: str) -> Ledger | None:
    if not url:
        return None
    with needs_extra("ledger"):
        from flextier.ledger import Ledger, LedgerError
    try:
        return Ledger(url)
    except LedgerError as error:
        raise ValueError(f"--ledger: {error}") from None


def _upstreams(named: list[str]) -> tuple[UpstreamOptions, ...]:
    """The upstreams by name, and the default one if it has a key or is the only one."""
    from flextier.serve.options import UpstreamOptions

    upstreams: list[UpstreamOptions] = []
    for one in named:
        name, _, url = one.partition("=")
        if name == "v1" or name in [other.name for other in upstreams]:
            raise ValueError(f"--upstream {one}: another name is needed, {name} is taken")
        variable = f"{name.upper().replace('-', '_')}_API_KEY"
        if not url.startswith(("http://", "https://")) or not name.replace("-", "").isalnum():
            raise ValueError(f"--upstream {one}: must be NAME=URL, a name of letters and digits")
        if not (key := os.environ.get(variable, "")):
            raise ValueError(f"--upstream {one}: its key must be in {variable}")
        upstreams.append(UpstreamOptions(name, url, key))
    key = os.environ.get("OPENAI_API_KEY", "")
    if key:
        url = os.environ.get("OPENAI_BASE_URL", "") or _OPENAI
        upstreams.insert(0, UpstreamOptions("", url, key))
    if not upstreams:
        raise ValueError("OPENAI_API_KEY is not set, and there is no --upstream NAME=URL")
    return tuple(upstreams)
