"""``flextier exec``: run a command whose Python processes build flextier's clients."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
from urllib.parse import urlsplit

from flextier.cli._common import DURATION, fail

_SETTINGS = ("lanes", "deadline", "patience", "budget", "ledger")
"""The options that set the variable of that name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier exec`` to a parser."""
    parser.usage = "flextier exec [options] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("--lanes", metavar="LANES", help="such as flex,standard [FLEXTIER_LANES]")
    parser.add_argument(
        "--deadline", metavar=DURATION, help="of a call: 90s, 15m, 1h30m [FLEXTIER_DEADLINE]"
    )
    parser.add_argument(
        "--patience", metavar=DURATION, help="of a call with flex [FLEXTIER_PATIENCE]"
    )
    parser.add_argument("--budget", metavar="US$", help="of each process [FLEXTIER_BUDGET]")
    parser.add_argument("--ledger", metavar="URL", help="of all calls [FLEXTIER_LEDGER]")
    parser.add_argument(
        "--gateway",
        metavar="URL",
        help="of `flextier serve`, for programs in any language: sets OPENAI_BASE_URL, and leaves "
        "the SDK's clients as they are; flextier's own use it as with FLEXTIER_GATEWAY",
    )
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(options: argparse.Namespace) -> int:
    """Run the command in place of this process; return a status only if that fails.

    127: there is no such command, 126: it cannot be run, 2: a setting is wrong. On Windows it runs
    beside this process, and its status is returned.
    """
    from flextier.installer.children import cover_children

    program = options.program[options.program[:1] == ["--"] :]
    if not program:
        return fail("exec", "no command is given: flextier exec [options] -- COMMAND …")
    given = {name: value for name in _SETTINGS if (value := getattr(options, name)) is not None}
    try:
        if options.gateway is None:
            _set_policy(given)
        else:
            _set_gateway(options.gateway, given)
    except ValueError as error:
        return fail("exec", error)
    cover_children(covered=options.gateway is None)
    try:
        return _run_beside(program) if os.name == "nt" else _run_instead(program)
    except FileNotFoundError:
        return fail("exec", f"{program[0]}: no such command", 127)
    except OSError as error:
        return fail("exec", f"{program[0]}: {error.strerror}", 126)


def _set_policy(given: dict[str, str]) -> None:
    """Set the variables of the options, and check all of the policy's."""
    from flextier.policy import PREFIX, FlexPolicy

    os.environ.update({f"{PREFIX}{name.upper()}": value for name, value in given.items()})
    FlexPolicy()


def _set_gateway(gateway: str, given: dict[str, str]) -> None:
    """Set the variables by which clients of all languages, and flextier's, find a gateway.

    Raises:
        ValueError: it is not one, or there are settings that are the gateway's own.
    """
    if given:
        name = next(iter(given))
        raise ValueError(f"--{name} has no effect with --gateway, which has settings of its own")
    os.environ["OPENAI_BASE_URL"] = _base_url(gateway)
    url = urlsplit(gateway)
    os.environ["FLEXTIER_GATEWAY"] = f"{url.scheme}://{url.netloc}"
    if token := os.environ.get("FLEXTIER_GATEWAY_TOKEN"):
        os.environ["OPENAI_API_KEY"] = token


def _base_url(gateway: str) -> str:
    """The base URL for clients of a gateway; a ``ValueError`` if it is none."""
    url = urlsplit(gateway)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError(f"--gateway {gateway}: must be an address such as http://host:8484")
    return gateway if url.path.strip("/") else f"{gateway.rstrip('/')}/v1"


def _run_instead(program: list[str]) -> int:
    """Become the command, which then has this process's id, terminal and signals."""
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them; other programs expect them
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_DFL)
    os.execvp(program[0], program)


def _run_beside(program: list[str]) -> int:
    """Run the command and wait for it, through Ctrl-C, which reaches both processes."""
    with subprocess.Popen(program) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # noqa: PERF203  # once, usually
                continue
