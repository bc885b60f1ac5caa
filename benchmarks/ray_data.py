"""The same rows by ``flextier run``, on Ray Data by flextier.ray.run and by Ray's own HTTP stage.

In refusing weather, as in ``bulk_tools.py``, which has the columns and the other tools; LangChain's
``abatch`` is here for comparison. flextier.ray.run has the same number of rows at once in all of
its workers together (``num_cpus=0.5`` each). Seconds are those of the rows, with the start of the
workers and without that of the cluster.

`make test-ray` makes the environment; Ray's HTTP stage needs aiohttp, too.

    .venv-ray/bin/python benchmarks/ray_data.py [--rows N] [--rows-at-once N] [--weather NAME ...]
                                                [--only NAME ...]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bulk_tools import AT_ONCE, WEATHERS, measure, table

ROWS = 20_000
HERE = Path(__file__).parent


def _ray(program: str, workers: int) -> list[str]:
    return [sys.executable, str(HERE / "_ray_programs.py"), program, str(workers)]


COMMANDS = {
    "flextier run": [],
    "flextier.ray.run, 1 worker": _ray("flextier", 1),
    "flextier.ray.run, 2 workers": _ray("flextier", 2),
    "flextier.ray.run, 4 workers": _ray("flextier", 4),
    "Ray's HTTP stage, 4 workers": _ray("http", 4),
    "LangChain abatch": [sys.executable, str(HERE / "_bulk_programs.py"), "LangChain abatch"],
}


def main() -> None:
    """Measure as given on the command line."""
    parser = argparse.ArgumentParser(description="Ray Data side by side, in refusing weather.")
    parser.add_argument("--rows", type=int, metavar="N", default=ROWS)
    parser.add_argument("--rows-at-once", type=int, metavar="N", default=AT_ONCE)
    parser.add_argument("--weather", nargs="+", choices=WEATHERS, default=["both"])
    parser.add_argument(
        "--only", nargs="+", choices=COMMANDS, metavar="NAME", default=list(COMMANDS)
    )
    options = parser.parse_args()
    os.environ |= {"RAY_worker_niceness": "0"}  # as the others
    for weather in options.weather:
        outcomes = []
        for name in options.only:
            at_once = options.rows_at_once
            command = [*COMMANDS[name], str(at_once)] if COMMANDS[name] else None
            outcomes.append(measure(name, weather, options.rows, at_once, command))
            print(weather, outcomes[-1], file=sys.stderr, flush=True)
        print("\n".join(["", *table(outcomes, f"{options.rows:,} rows, {weather}")]), flush=True)


if __name__ == "__main__":
    main()
