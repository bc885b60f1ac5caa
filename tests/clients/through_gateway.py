"""Clients that are given a base URL and nothing else, through ``flextier serve``.

In the weather of the other tools. Writes the table of docs/serve.md.

python -m tests.clients.through_gateway [CLIENT ...]
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flextier.costs import Ledger
from flextier.sim import Simulator
from tests.clients.__main__ import MET, OFFLINE, REFUSING, SETTINGS, WEATHERS, end_of
from tests.clients.books import NO_REPORT, compared
from tests.clients.environments import CACHE, ROOT, node_environment, python_environment
from tests.clients.table import write_gateway_table

PROGRAMS = Path(__file__).parent / "programs"
NODE = "node@22.23.3"


@dataclass(frozen=True)
class Client:
    """A client, whose program writes ``report.json`` into its working folder.

    Attributes:
        name: Of its environment.
        title: As its makers write it, and what its program asks for.
        command: What runs the program: a program of its environment or of the machine.
        program: A file below ``programs/``.
        packages: What is installed for it, pinned; the first one is the client itself.
    """

    name: str
    title: str
    command: str
    program: str
    packages: tuple[str, ...] = ()


CLIENTS = (
    Client("curl", "curl: chat and responses, plain and streamed", "sh", "gateway_curl.sh"),
    Client(
        "node",
        "`openai` {} for Node: chat and responses, plain, streamed, tools",
        "node",
        "gateway_node.mjs",
        ("openai@7.59.0", NODE),
    ),
    Client(
        "litellm",
        "LiteLLM {}: chat and responses, plain, async, streamed, tools",
        "python",
        "gateway_litellm.py",
        ("litellm==1.110.2",),
    ),
    Client(
        "lm-eval",
        "lm-evaluation-harness {}: `local-chat-completions`, `openai-chat-completions`",
        "python",
        "gateway_lm_eval.py",
        ("lm_eval[api]==0.4.13",),
    ),
    Client(
        "promptfoo",
        "promptfoo {}: `openai:chat`, `openai:responses`",
        "node",
        "gateway_promptfoo.mjs",
        ("promptfoo@0.123.1", NODE),
    ),
)


def main(names: list[str]) -> int:
    """Run these clients, or all; the number of those with something wrong."""
    failed = 0
    (CACHE / "results").mkdir(parents=True, exist_ok=True)
    for client in CLIENTS:
        if names and client.name not in names:
            continue
        if client.packages and client.command == "node" and shutil.which("npm") is None:
            sys.stdout.write(f"{client.name}: npm is not installed\n")
            continue
        result = {weather: _run(client, weather) for weather in WEATHERS}
        saved = {"title": client.title.format(_version(client)), **result}
        (CACHE / "results" / f"gateway-{client.name}.json").write_text(json.dumps(saved, indent=1))
        wrong = [f"{weather}: {line}" for weather in WEATHERS for line in result[weather]["wrong"]]
        failed += bool(wrong)
        sys.stdout.write(f"{client.name}: {'; '.join(wrong) or 'as expected'}\n")
        sys.stdout.flush()
    results = [CACHE / "results" / f"gateway-{client.name}.json" for client in CLIENTS]
    write_gateway_table(ROOT / "docs" / "serve.md", results)
    return failed


def _version(client: Client) -> str:
    return client.packages[0].replace("==", "@").rpartition("@")[2] if client.packages else ""


def _environment(client: Client) -> Path | None:
    """The folder of the client's programs; None if it is the machine's."""
    name = f"gateway-{client.name}"
    if not client.packages:
        return None
    if client.command == "python":
        return python_environment(name, client.packages)
    return node_environment(name, client.packages)


def _run(client: Client, weather_name: str) -> dict[str, Any]:
    weather, faults = WEATHERS[weather_name]
    programs = _environment(client)
    folder = CACHE / f"gateway-{client.name}" / weather_name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Node looks for packages in the folders above a program, so it runs a copy of it.
    program = shutil.copy(PROGRAMS / client.program, folder)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}" if programs else os.environ["PATH"]
    with Simulator(weather) as sim:
        sim.script(*faults)
        with _gateway(sim, folder, SETTINGS[weather_name]) as url:
            environment = {
                **OFFLINE,
                "PATH": path,
                "HOME": str(folder),
                "OPENAI_BASE_URL": f"{url}/v1",
                "OPENAI_API_KEY": "a-key-of-the-caller",
            }
            with (folder / "log.txt").open("w") as log:
                command = [shutil.which(client.command, path=path) or client.command, program]
                ended = end_of(command, cwd=folder, env=environment, stdout=log, stderr=log)
        stats = sim.stats()
    with Ledger(_ledger(folder)) as ledger:
        totals = ledger.totals().to_dict()
    written, report = NO_REPORT, folder / "report.json"
    if report.exists():
        written = {"tokens": None, "cost": None, **json.loads(report.read_text())}
    result = compared({**written, "totals": totals}, stats, MET[weather_name])
    if ended != "exit status 0":
        result["wrong"].append(ended)
    if sum(result["lanes"].values()) != result["asked"]:
        result["wrong"].append(f"{result['asked']} asked, {result['lanes']} paid")
    if weather_name == REFUSING and set(result["lanes"]) != {"flex"}:
        result["wrong"].append("not all on flex")
    return result


def _ledger(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


@contextmanager
def _gateway(sim: Simulator, folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The address of a gateway before the simulator; its ledger is complete when it has ended."""
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
            [sys.executable, "-c", code, "serve", "--port", "0", "--ledger", _ledger(folder)],
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
    sys.exit(main(sys.argv[1:]))
