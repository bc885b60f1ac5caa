"""Output shared by all commands: one-line errors, and text on standard output."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import TextIO

from flextier._utils.durations import next_time_of_day, parse_duration, seconds_of

DURATION = "TIME"
"""How help texts name the value of an option that is a duration."""


def fail(command: str, why: object, status: int = 2) -> int:
    """Print ``flextier COMMAND: why`` as one line on standard error, and return the exit status.

    Control characters are escaped: names in the message may come from files and servers.
    """
    print_stderr(f"flextier {command}: {why}")
    return status


def print_stderr(line: str) -> None:
    """Print one line on standard error, if that is open and has a reader and room."""
    from flextier._utils.formatting import plain

    if sys.stderr is not None:
        try:
            print(plain(line), file=sys.stderr, flush=True)
        except OSError:
            discard(sys.stderr)


def _type(parse: Callable[[str], float]) -> Callable[[str], float]:
    """An argparse ``type``, which reports what is wrong with an option's value."""

    def parsed(text: str) -> float:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


duration, duration_or_zero = _type(parse_duration), _type(seconds_of)
"""The seconds of an option's value, as argparse's ``type``."""
time_of_day = _type(lambda shown: next_time_of_day(shown, time.time()))
"""When the clock shows an option's value next, as argparse's ``type``."""


def write_stdout(command: str, text: str) -> int:
    """Write to standard output, whose reader may close it early; returns 0, or 2 with an error."""
    if sys.stdout is None:
        return fail(command, "standard output cannot be written: it is closed")
    # Characters that the terminal's encoding lacks are escaped.
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):  # as of `| head`
            return fail(command, f"standard output cannot be written: {error.strerror}")
    return 0


def write_json(command: str, value: object) -> int:
    """The same with a value as JSON, in ASCII, whatever the encoding of the output."""
    return write_stdout(command, json.dumps(value, indent=2) + "\n")


def discard(stream: TextIO) -> None:
    """Discard what is left for a stream that cannot be written.

    Python flushes the buffer again at exit, which would fail and change the exit status.
    """
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)
