"""Output shared by all commands: one-line errors, and text on standard output."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from flextier._utils.durations import next_time_of_day, parse_duration, seconds_of

DURATION = "TIME"
"""How help texts name the value of an option that is a duration."""


def fail(command: str, why: object, status: int = 2) -> int:
    """Print ``flextier COMMAND: why`` as one line on standard error, and return the exit status.

    Control characters are escaped: names in the message may come from files and servers.
    """
    from flextier._utils.formatting import plain

    if sys.stderr is not None:
        print(f"flextier {command}: {plain(str(why))}", file=sys.stderr)
    return status


def duration(text: str) -> float:
    """The seconds of an option's value, above 0, as argparse's ``type``."""
    return _checked(parse_duration, text)


def duration_or_zero(text: str) -> float:
    """The seconds of an option's value, as argparse's ``type``."""
    return _checked(seconds_of, text)


def time_of_day(text: str) -> float:
    """When the clock shows an option's value next, as argparse's ``type``."""
    return _checked(lambda shown: next_time_of_day(shown, time.time()), text)


def _checked(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def write_stdout(command: str, text: str) -> int:
    """Write to standard output, whose reader may close it early; returns 0, or 2 with an error."""
    from flextier.report import output

    try:
        output.write(text, None)
    except OSError as error:
        return fail(command, f"standard output cannot be written: {error.strerror}")
    return 0
