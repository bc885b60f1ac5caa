"""``flextier prices``: prices of models on each lane, side by side."""

from __future__ import annotations

import argparse
from datetime import date, datetime, timezone

from flextier.cli._common import fail, write_stdout
from flextier.pricing.usage import Usage

_USAGE = {
    "input": "input_tokens",
    "cached": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "reasoning_tokens",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``flextier prices`` to a parser."""
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="a model's name, of any vendor, or vendor/model"
    )
    parser.add_argument(
        "--at", type=_day, metavar="YYYY-MM-DD", help="the prices of that day [today, UTC]"
    )
    parser.add_argument(
        "--usage",
        type=_usage,
        metavar="SPEC",
        help="also what these tokens cost: input=1000,cached=400,cache_write=0,output=200,"
        "reasoning=150; cached and cache_write are parts of input, reasoning is one of output",
    )


def run(options: argparse.Namespace) -> int:
    """Print the prices; return 0, 1 if a model has none, or 2 if they cannot be written."""
    # Imported here, so that `--help` does not load the price list.
    from flextier.pricing.table import ModelPrices, prices_of, table

    day = options.at or datetime.now(timezone.utc).date()
    answers = [prices_of(model, day) for model in dict.fromkeys(options.models)]
    found = [answer for answer in answers if isinstance(answer, ModelPrices)]
    if found and write_stdout("prices", "\n".join(table(found, day, options.usage)) + "\n"):
        return 2
    for answer in answers:
        if not isinstance(answer, ModelPrices):
            fail("prices", answer)
    return 0 if len(found) == len(answers) else 1


def _day(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!r} is not a day, as in 2025-04-17") from None


def _usage(given: str) -> Usage:
    counts = dict.fromkeys(_USAGE.values(), 0)
    for part in given.split(","):
        name, _, number = part.partition("=")
        if name.strip() not in _USAGE:
            raise argparse.ArgumentTypeError(
                f"{part!r} is none of {', '.join(_USAGE)}, each with =TOKENS"
            )
        if not number.strip().isdecimal():
            raise argparse.ArgumentTypeError(f"{part!r} needs a whole number of tokens, 0 or more")
        counts[_USAGE[name.strip()]] = int(number)
    usage = Usage(**counts)
    try:
        usage.check()
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return usage
