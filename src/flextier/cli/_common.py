"""Output shared by all commands: one-line errors, and text on standard output."""

from __future__ import annotations

import sys


def fail(command: str, why: object, status: int = 2) -> int:
    """Print ``flextier COMMAND: why`` as one line on standard error, and return the exit status.

    Control characters are escaped: names in the message may come from files and servers.
    """
    from flextier._utils.formatting import plain

    if sys.stderr is not None:
        print(f"flextier {command}: {plain(str(why))}", file=sys.stderr)
    return status


def write_stdout(command: str, text: str) -> int:
    """Write to standard output, whose reader may close it early; returns 0, or 2 with an error."""
    from flextier.report import output

    try:
        output.write(text, None)
    except OSError as error:
        return fail(command, f"standard output cannot be written: {error.strerror}")
    return 0
