"""Programs that are not written in Python, through ``flextier serve``, in two kinds of weather.

python -m tests.clients.through_gateway
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flextier.sim import Simulator
from tests.clients.__main__ import CACHE, LIMIT, OFFLINE, REFUSING, SETTINGS, WEATHERS

PROGRAMS = Path(__file__).parent / "programs"
OPENAI_JS = "7.59.0"


def main() -> int:
    """Run the programs; the number of those with something wrong."""
    failed = 0
    for name, command in (("curl", ["sh", PROGRAMS / "gateway_curl.sh"]), ("node", _node())):
        for weather in WEATHERS:
            if command is None or shutil.which(str(command[0])) is None:
                sys.stdout.write(f"{name}: not installed\n")
                break
            wrong, outcome = _run(name, command, weather)
            failed += bool(wrong)
            sys.stdout.write(f"{name}, {weather}: {outcome}; {'; '.join(wrong) or 'as expected'}\n")
            sys.stdout.flush()
    return failed


def _node() -> list[Path | str] | None:
    """The command for the program in JavaScript, whose package npm installs."""
    folder = CACHE / "gateway-node"
    if (npm := shutil.which("npm")) is None:
        return None
    program = folder / "program.mjs"
    package = folder / "node_modules" / "openai" / "package.json"
    folder.mkdir(parents=True, exist_ok=True)
    if not package.exists() or json.loads(package.read_text())["version"] != OPENAI_JS:
        install = [npm, "install", "--silent", "--no-audit", "--no-fund", f"openai@{OPENAI_JS}"]
        subprocess.run(install, cwd=folder, check=True)
    shutil.copy(PROGRAMS / "gateway_node.mjs", program)
    return ["node", program]


def _run(name: str, command: list[Any], weather_name: str) -> tuple[list[str], str]:
    weather, faults = WEATHERS[weather_name]
    folder = CACHE / f"gateway-{name}" / weather_name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Simulator(weather) as sim:
        sim.script(*faults)
        with _gateway(sim, folder, SETTINGS[weather_name]) as url:
            environment = {
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "OPENAI_BASE_URL": f"{url}/v1",
                "OPENAI_API_KEY": "a-key-of-the-caller",
                **{k: v for k, v in OFFLINE.items() if not k.endswith("PROXY")},
            }
            done = subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=False,
            )
        stats = sim.stats()
    (folder / "log.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        return [f"exit status {done.returncode}, see {folder / 'log.txt'}"], "not run"
    report = json.loads(done.stdout)
    lanes: dict[str, int] = {}
    for tiers in stats["billed"].values():
        for tier, tokens in tiers.items():
            lanes[tier] = lanes.get(tier, 0) + tokens["requests"]
    wrong = list(report["problems"])
    if sum(lanes.values()) != report["asked"]:
        wrong.append(f"{report['asked']} asked, {lanes} paid")
    if weather_name == REFUSING and set(lanes) != {"flex"}:
        wrong.append("not all on flex")
    met = f"{stats['refusals']} refusals, {stats['stalls']} stalls"
    return wrong, f"{report['asked']} asked, {lanes}, {met}"


@contextmanager
def _gateway(sim: Simulator, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    code = "import sys; from flextier.cli import main; sys.exit(main())"
    environment = {
        **os.environ,
        **settings,
        "OPENAI_BASE_URL": sim.base_url,
        "OPENAI_API_KEY": "the-key-of-the-gateway",
    }
    with (
        (folder / "gateway.txt").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-c", code, "serve", "--port", "0"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stderr is not None
        try:
            yield json.loads(process.stderr.readline())["url"]
        finally:
            process.terminate()
            log.write(process.stderr.read())


if __name__ == "__main__":
    sys.exit(main())
