"""``flextier report``: what a ledger's calls cost, what they saved, and how flex behaved."""

from flextier.report.command import add_arguments, run

__all__ = ["add_arguments", "run"]
