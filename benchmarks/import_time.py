"""CPU time of ``from flextier import FlexOpenAI``, by that of ``import openai``.

Each in a fresh interpreter. The first imports the second, so the ratio says how much flextier adds
(``import flextier`` alone imports nothing else: names are loaded on first use). Counted are user
and system time of the whole child, as the kernel reports them when it ends; the interpreter's own
start, some two hundredths of it, is in both. Nothing is compiled: a first import, not counted,
leaves the compiled modules in a directory of ours, whatever the environment says of writing them.

The number with the target is that of an import at the top of a script. The "nested" row imports
from changing depths of nested calls, the same for both in each round: where a chunk of the
interpreter's stack ends in the middle of an import, CPython 3.11 maps and unmaps memory thousands
of times. Depth by depth that hits one or the other, and moves the ratio by a fifth: compare both
rows before believing that a change of the order of imports has gained anything.

The "collector disabled" row leaves out one full garbage collection, which `import openai` ends just
short of: whatever a program imports next sets it off.

Below these lines stand the modules that cost most beyond openai, imported after it under
``-X importtime``; other packages are taken together, flextier's modules one by one.

Needs ``os.wait4``: not on Windows.

    python benchmarks/import_time.py
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from tempfile import TemporaryDirectory

from _measure import Result, in_turn, summary

TARGET = 1.06
ROUNDS = 26

_DEPTHS = range(0, 52, 4)
_TOP_LEVEL = "{statement}"
_UNCOLLECTED = "import gc; gc.disable(); {statement}"
_NESTED = """
def nested(depth):
    if depth:
        return nested(depth - 1)
    {statement}

nested({depth})
"""

_TRACES = 5
_SHOWN = 3

Environment = dict[str, str]


@contextmanager
def _compiled() -> Iterator[Environment]:
    """An environment whose children find every module compiled."""
    with TemporaryDirectory() as directory:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": directory}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        _cpu_of("from flextier import FlexOpenAI", environment)
        yield environment


def measure(rounds: int = ROUNDS) -> list[Result]:
    """Imports at the top, with the garbage collector and without, and from changing depths."""
    with _compiled() as environment:
        top = _pairs((_TOP_LEVEL,), environment, rounds)
        uncollected = _pairs((_UNCOLLECTED,), environment, rounds)
        nested = _pairs([_nested(depth) for depth in _DEPTHS], environment, rounds)
    return [
        summary("import FlexOpenAI", top, "import", TARGET),
        summary("import FlexOpenAI, collector disabled", uncollected, "import", TARGET),
        summary("import FlexOpenAI, nested", nested, "import"),
    ]


def _pairs(
    programs: Sequence[str], environment: Environment, rounds: int
) -> list[tuple[float, float]]:
    ours = _imports("from flextier import FlexOpenAI", programs, environment)
    plain = _imports("import openai", programs, environment)
    return in_turn(lambda: next(ours), lambda: next(plain), rounds)


def _nested(depth: int) -> str:
    return _NESTED.replace("{depth}", str(depth)) if depth else _TOP_LEVEL


def _imports(statement: str, programs: Sequence[str], environment: Environment) -> Iterator[float]:
    """CPU seconds of an import in one program after another."""
    for program in cycle(programs):
        yield _cpu_of(program.replace("{statement}", statement), environment)


def _cpu_of(code: str, environment: Environment) -> float:
    """CPU seconds of an interpreter that runs ``code``."""
    child = subprocess.Popen([sys.executable, "-c", code], env=environment)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"`{code}` failed in a fresh interpreter")
    return used.ru_utime + used.ru_stime


def contributors() -> dict[str, float]:
    """What was imported beyond openai, and its own microseconds, most first."""
    with _compiled() as environment:
        traces = [_beyond_openai(environment) for _ in range(_TRACES)]
    names = {name for trace in traces for name in trace}
    costs = {name: statistics.median(trace.get(name, 0.0) for trace in traces) for name in names}
    return dict(sorted(costs.items(), key=lambda item: item[1], reverse=True))


def _beyond_openai(environment: Environment) -> dict[str, float]:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-c",
        "import openai; from flextier import FlexOpenAI",
    ]
    trace = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stderr
    # "import time:  self [us] | cumulative | imported package", a module after what it imports.
    lines = [line.removeprefix("import time:").split("|") for line in trace.splitlines()]
    openai_ends = next(number for number, line in enumerate(lines) if line[-1] == " openai")
    costs: defaultdict[str, float] = defaultdict(float)
    for own, _, module in lines[openai_ends + 1 :]:
        costs[_grouped(module.strip())] += float(own)
    return costs


def _grouped(module: str) -> str:
    package = module.partition(".")[0]
    return module if package == "flextier" else package


def main() -> None:
    """Print one line a pair, and the most expensive modules below it."""
    for result in measure():
        print(result)
    for name, cost in list(contributors().items())[:_SHOWN]:
        print(f"  {name}: {cost:,.0f} us")


if __name__ == "__main__":
    main()
