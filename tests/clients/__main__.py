"""Builds each tool's environment, runs its program in two kinds of weather, writes docs/tools.md.

python -m tests.clients [TOOL ...]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from flextier.sim import Fault, Simulator, Weather
from tests.clients.books import NO_REPORT, compared
from tests.clients.environments import CACHE, ROOT, python_environment
from tests.clients.table import write_table
from tests.clients.tools import BUILDS_ITS_OWN, TOOLS, Tool

LIMIT = 240  # seconds for a program, most of which is its import

REFUSING = "refusing"
STALLING = "stalling"
WEATHERS = {
    # The first three requests, and some of the others, are refused.
    REFUSING: (Weather(refuse=0.3), [Fault.refuse().on(lane="flex")] * 3),
    # The first request, and some of the others, are never answered.
    STALLING: (Weather(stall=0.3), [Fault.stall().on(lane="flex")]),
}
MET = {REFUSING: "refusals", STALLING: "stalls"}
SETTINGS = {
    REFUSING: {"FLEXTIER_BACKOFF_INITIAL": "0.2"},
    STALLING: {"FLEXTIER_FLEX_TIMEOUT": "3", "FLEXTIER_PATIENCE": "2"},
}
INSTALL = """
import runpy, sys
import flextier
flextier.install()
runpy.run_path(sys.argv[1], run_name="__main__")
"""
# Nothing leaves the machine: what a tool sends home, or loads on use, fails at once.
OFFLINE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "DEEPEVAL_TELEMETRY_OPT_OUT": "YES",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "MEM0_TELEMETRY": "False",
    "RAGAS_DO_NOT_TRACK": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}


def main(names: list[str]) -> int:
    """Run these tools, or all; the number of those with something wrong."""
    failed = 0
    for tool in TOOLS:
        if names and tool.name not in names:
            continue
        result = _result(tool)
        (CACHE / "results").mkdir(exist_ok=True)
        (CACHE / "results" / f"{tool.name}.json").write_text(json.dumps(result, indent=1))
        wrong = [f"{weather}: {line}" for weather in WEATHERS for line in result[weather]["wrong"]]
        failed += bool(wrong)
        sys.stdout.write(f"{tool.name} {result['version']}: {'; '.join(wrong) or 'as expected'}\n")
        sys.stdout.flush()
    write_table(ROOT / "docs" / "tools.md", CACHE / "results")
    return failed


def _result(tool: Tool) -> dict[str, Any]:
    python = python_environment(tool.name, tool.requirements, tool.extra) / "python"
    return {
        "version": tool.requirements[0].partition("==")[2],
        "openai": _version(python, "openai"),
        **{weather: _run(tool, python, weather) for weather in WEATHERS},
    }


def _version(python: Path, package: str) -> str:
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [python, "-c", code, package]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _run(tool: Tool, python: Path, name: str) -> dict[str, Any]:
    """The lanes, stalls and faults of the tool's program in this weather."""
    weather, faults = WEATHERS[name]
    folder = python.parents[1] / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    report = folder / "report.json"
    with Simulator(weather) as sim, (folder / "log.txt").open("w") as log:
        sim.script(*faults)
        environment = {
            **OFFLINE,
            **SETTINGS[name],
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(Path(__file__).parent / "programs"),
            "OPENAI_API_KEY": "simulated",
            "OPENAI_BASE_URL": sim.base_url,
            "OPENAI_API_BASE": sim.base_url,  # the name that some tools know it by
            "TOOL_REPORT": str(report),
        }
        program = Path(__file__).parent / "programs" / tool.program
        if tool.client is BUILDS_ITS_OWN:
            command = [*_installed(python, name), program]
        else:
            command = [python, program]
        ended = end_of(command, cwd=folder, env=environment, stdout=log, stderr=log)
        stats = sim.stats()
        (folder / "stats.json").write_text(json.dumps(stats, indent=1))
        bodies = [[request.outcome, request.body] for request in sim.requests]
        (folder / "requests.json").write_text(json.dumps(bodies, indent=1))
    written = json.loads(report.read_text()) if report.exists() else NO_REPORT
    result = compared(written, stats, MET[name])
    if ended != "exit status 0":
        result["wrong"].append(ended)
    return result


def _installed(python: Path, weather: str) -> list[Path | str]:
    """What runs a program that is given no client, one way in each weather."""
    if weather == REFUSING:
        return [python.parent / "flextier", "exec", "--", python]
    return [python, "-c", INSTALL]


def end_of(command: list[Path | str], **options: Any) -> str:
    """How a program ended."""
    try:
        done = subprocess.run(command, timeout=LIMIT, check=False, **options)
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT} s"
    return f"exit status {done.returncode}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
