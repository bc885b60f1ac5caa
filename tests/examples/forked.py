"""Programs in processes of their own, forked from one that has the frameworks imported."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

FRAMEWORKS = ("openai", "langchain_openai", "langchain.agents", "llama_index.core", "sqlalchemy")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([name for name in FRAMEWORKS if find_spec(name.split(".")[0])])


def run(program: str, environment: dict[str, str], folder: Path, output: Path) -> int:
    """Run a Python file as ``python FILE`` would, with all warnings but deprecations as errors.

    What it prints, on both streams, is written to ``output``. Returns its exit status.
    """
    process = _CONTEXT.Process(target=_main, args=(program, environment, str(folder), str(output)))
    process.start()
    process.join()
    status = process.exitcode
    assert status is not None
    return status


def _main(program: str, environment: dict[str, str], folder: str, output: str) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [program]
    sys.path.insert(0, str(Path(program).parent))
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    runpy.run_path(program, run_name="__main__")
    sys.stdout.flush()
