"""The ``flextier`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from flextier._version import __version__
from flextier.cli._common import discard, fail

_SUMMARIES = {
    "batch": "list, show, wait for, cancel, fetch and create batches at OpenAI",
    "demo": "summarise real text on the flex lane, through bad weather",
    "exec": "run a command whose Python processes build flextier's clients",
    "explain": "which lanes a model and a deadline leave, their prices and waits",
    "journal": "show, export and delete the contents of a journal",
    "prices": "prices of models on each lane, side by side",
    "rehearse": "cost and late answers of a policy in simulated flex weather",
    "report": "what a ledger's calls cost and saved, and when flex is worth trying",
    "run": "run a chain or function over every row of a dataset, resumable",
    "serve": "serve an OpenAI-compatible gateway, one limiter and budget for many processes",
    "sim": "serve a simulated OpenAI with flex weather on loopback",
}
"""The commands: each is a module of this package with ``add_arguments`` and ``run``."""

EXAMPLES = {
    "batch": "batch create requests.jsonl",
    "demo": "demo --topics 20 --report demo.html --open",
    "exec": "exec --deadline 10m -- python evaluate.py",
    "explain": "explain --model gpt-6.2-sol --deadline 10h --step",
    "journal": "journal show nightly.db",
    "prices": "prices o4-mini gpt-5 --usage input=3000,output=1000",
    "rehearse": "rehearse outages --against",
    "report": "report --ledger flextier.db --since 7d --by tag",
    "run": "run my_chain:chain reviews.csv moods.csv --key id --lanes batch,flex --deadline 6h",
    "serve": "serve --port 8484 --deadline 10m",
    "sim": "sim --weather outage=10-40,slots=5,refuse=0.3",
}
"""An example of each command, as its help shows it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    name = given[0] if given else ""
    try:
        try:
            options = _parser(given).parse_args(given)
            name = options.command
            status: int = options.run(options)
        finally:  # also of --help, which ends the process
            if sys.stdout is not None:
                sys.stdout.flush()
    except ImportError as error:
        return fail(name, error)
    except OSError as error:  # standard output has no reader any more, or its disk is full
        if error.filename is None and sys.stdout is not None:
            discard(sys.stdout)
        return 0 if isinstance(error, BrokenPipeError) else fail(name, error)
    return status


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser; only the command that is named is imported, which takes most of the time."""
    parser = argparse.ArgumentParser(
        prog="flextier", description="Half-price LLM calls that always come back."
    )
    parser.add_argument("--version", action="version", version=f"flextier {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in _SUMMARIES.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"example:\n  flextier {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name in arguments:
            module = import_module(f"flextier.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
