"""The ``flextier`` command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flextier._version import __version__
from flextier.cli import batch, demo, explain, journal, prices, rehearse, report, run, sim
from flextier.cli._common import fail


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except ImportError as error:
        return fail(options.command, error)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flextier", description="Half-price LLM calls that always come back."
    )
    parser.add_argument("--version", action="version", version=f"flextier {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module, summary in (
        ("batch", batch, "list, show, await, cancel, fetch and create batches at OpenAI"),
        ("demo", demo, "summarise real text on the flex lane, through bad weather"),
        ("explain", explain, "which lanes a model and a deadline leave, their prices and waits"),
        ("journal", journal, "show, export and delete the contents of a journal"),
        ("prices", prices, "prices of models on each lane, side by side"),
        ("rehearse", rehearse, "cost and late answers of a policy in simulated flex weather"),
        ("report", report, "what a ledger's calls cost and saved, and when flex is worth trying"),
        ("run", run, "run a chain or function over every row of a dataset, resumable"),
        ("sim", sim, "serve a simulated OpenAI with flex weather on loopback"),
    ):
        command = commands.add_parser(name, help=summary, description=summary)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
