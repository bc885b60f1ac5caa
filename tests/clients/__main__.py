"""Builds each tool's environment, runs its program in two kinds of weather, writes docs/tools.md.

python -m tests.clients [TOOL ...]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from flextier.costs import CostTotals, Usage, price
from flextier.sim import Fault, Simulator, Weather
from tests.clients.table import write_table
from tests.clients.tools import BUILDS_ITS_OWN, TOOLS, Tool

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".clients"
LIMIT = 240  # seconds for a program, most of which is its import

REFUSING = "refusing"
STALLING = "stalling"
WEATHERS = {
    # The first three requests, and some of the others, are refused.
    REFUSING: (Weather(refuse=0.3), [Fault.refuse().on(lane="flex")] * 3),
    # The first request, and some of the others, are never answered.
    STALLING: (Weather(stall=0.3), [Fault.stall().on(lane="flex")]),
}
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

_TOKENS = [field.name for field in fields(Usage)]
_NO_REPORT = {
    "asked": 0,
    "problems": ["no report, see log.txt"],
    "totals": CostTotals().to_dict(),
    "tokens": None,
    "cost": None,
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
    python = _environment(tool)
    return {
        "version": tool.requirements[0].partition("==")[2],
        "openai": _version(python, "openai"),
        **{weather: _run(tool, python, weather) for weather in WEATHERS},
    }


def _version(python: Path, package: str) -> str:
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [python, "-c", code, package]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _environment(tool: Tool) -> Path:
    """The Python of the tool's environment, which is made again when its requirements change."""
    folder = CACHE / tool.name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(tool.requirements) + "\n"
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    ours = ["--editable", f"{ROOT}[{tool.extra}]"]
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [python, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, *ours, *tool.requirements], check=True)
    stamp.write_text(wanted)
    return python


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
        ended = _ended(command, cwd=folder, env=environment, stdout=log, stderr=log)
        stats = sim.stats()
        (folder / "stats.json").write_text(json.dumps(stats, indent=1))
        bodies = [[request.outcome, request.body] for request in sim.requests]
        (folder / "requests.json").write_text(json.dumps(bodies, indent=1))
    written = json.loads(report.read_text()) if report.exists() else None
    result = _compared(name, written, stats)
    if ended != "exit status 0":
        result["wrong"].append(ended)
    return result


def _installed(python: Path, weather: str) -> list[Path | str]:
    """What runs a program that is given no client, one way in each weather."""
    if weather == REFUSING:
        return [python.parent / "flextier", "exec", "--", python]
    return [python, "-c", INSTALL]


def _ended(command: list[Path | str], **options: Any) -> str:
    """How a program ended."""
    try:
        done = subprocess.run(command, timeout=LIMIT, check=False, **options)
    except subprocess.TimeoutExpired:
        return f"not done after {LIMIT} s"
    return f"exit status {done.returncode}"


def _compared(name: str, report: dict[str, Any] | None, stats: dict[str, Any]) -> dict[str, Any]:
    """The program's report beside the simulator's books."""
    billed = [
        (model, tier, tokens)
        for model, tiers in stats["billed"].items()
        for tier, tokens in tiers.items()
        if not model.startswith("text-embedding")  # passed through, and not counted
    ]
    usage = {field: sum(tokens[field] for _, _, tokens in billed) for field in _TOKENS}
    cost = sum((_cost(model, tier, tokens) for model, tier, tokens in billed), Decimal(0))
    standard = sum((_cost(model, "default", tokens) for model, _, tokens in billed), Decimal(0))
    if report is None:
        report = _NO_REPORT
    totals = report["totals"]
    lanes = {lane: sums["calls"] for lane, sums in totals["by_lane"].items()}
    wrong = list(report["problems"])
    if not stats["refusals" if name == REFUSING else "stalls"]:
        wrong.append("the weather was not met")
    figures = []
    if (counted := {field: totals[field] for field in usage}) != usage:
        figures.append(f"tokens {counted}, billed {usage}")
    if Decimal(totals["cost"]) != cost:
        figures.append(f"cost {totals['cost']}, billed {cost}")
    if lanes != _answers_by_lane(billed):
        figures.append(f"calls {lanes}, billed {_answers_by_lane(billed)}")
    return {
        "wrong": wrong + figures,
        "asked": report["asked"],
        "right": report["asked"] - len(report["problems"]),
        "lanes": lanes,
        "refusals": stats["refusals"],
        "stalls": stats["stalls"],
        "figures_right": not figures,
        "usage": usage,
        "cost": str(cost),
        "standard_cost": str(standard),
        "own_tokens": report["tokens"],
        "own_cost": report["cost"],
    }


def _answers_by_lane(billed: list[tuple[str, str, dict[str, int]]]) -> dict[str, int]:
    lanes: dict[str, int] = {}
    for _, tier, tokens in billed:
        lane = "standard" if tier == "default" else tier
        lanes[lane] = lanes.get(lane, 0) + tokens["requests"]
    return lanes


def _cost(model: str, tier: str, tokens: dict[str, int]) -> Decimal:
    usage = Usage(**{field: tokens[field] for field in _TOKENS})
    total = price(usage, model=model, lane=tier).total
    assert total is not None, f"no price of {model} on {tier}"
    return total


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
