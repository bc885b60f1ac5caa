"""The ``flextier`` command."""

from flextier.cli.main import main

__all__ = ["main"]
