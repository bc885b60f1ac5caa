"""Tutorials of several processes: their files run as a reader would run them, behind a gateway."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from flextier.sim import Simulator, Weather
from tests.docs.programs import ROOT, blocks
from tests.serve.conftest import Served, gateway

pytestmark = pytest.mark.exhaustive
TUTORIALS = ROOT / "docs" / "tutorials"
CLIENTS = pytest.mark.parametrize("client", ["stock", "flextier"])
CALLS = 40


def environment(client: str, served: Served, sim: Simulator) -> dict[str, str]:
    """What a tutorial exports for its programs."""
    addresses = {"OPENAI_BASE_URL": served.base_url}
    if client == "flextier":
        addresses = {"OPENAI_BASE_URL": sim.base_url, "FLEXTIER_GATEWAY": served.url}
    return {**os.environ, **addresses, "OPENAI_API_KEY": "any"}


@contextmanager
def started(*arguments: str, folder: Path, env: dict[str, str]) -> Iterator[None]:
    """A module of Python that runs until the block ends."""
    with (
        (folder / "log.txt").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, env=env, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def assert_all_on_flex(served: Served, sim: Simulator) -> None:
    """Each call was made by the gateway, and once, through refusals."""
    assert httpx.get(f"{served.url}/status").json()["totals"]["calls"] == CALLS
    [tiers] = sim.stats()["billed"].values()
    assert {tier: tokens["requests"] for tier, tokens in tiers.items()} == {"flex": CALLS}
    assert sim.stats()["refusals"] > 0


def accepts(http: httpx.Client) -> bool:
    """Whether a server takes connections yet."""
    try:
        return http.get("/docs").is_success
    except httpx.ConnectError:
        return False


@CLIENTS
def test_celery_workers(client: str, flextier_sim: Simulator, tmp_path: Path) -> None:
    """Forty tasks of two worker processes have their answers."""
    stock, send, ours = blocks(TUTORIALS / "celery.md", "py")
    (tmp_path / "tasks.py").write_text(stock if client == "stock" else ours)
    (tmp_path / "send.py").write_text(send)
    flextier_sim.weather = Weather(refuse=0.2)
    with gateway(flextier_sim) as served:
        env = environment(client, served, flextier_sim)
        worker = ("celery", "-A", "tasks", "worker", "--concurrency", "2")
        with started(*worker, folder=tmp_path, env=env):
            command = [sys.executable, "send.py"]
            sent = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=True)
        assert_all_on_flex(served, flextier_sim)
    assert sent.stdout.startswith(f"{CALLS} answers: [simulated]".encode())


@CLIENTS
def test_fastapi_workers(client: str, flextier_sim: Simulator, tmp_path: Path) -> None:
    """Forty requests to two worker processes have their answers; uvicorn is gunicorn here."""
    stock, ours = blocks(TUTORIALS / "fastapi-gunicorn.md", "py")
    (tmp_path / "app.py").write_text(stock if client == "stock" else ours)
    flextier_sim.weather = Weather(refuse=0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with gateway(flextier_sim) as served:
        env = environment(client, served, flextier_sim)
        server = ("uvicorn", "app:app", "--workers", "2", "--port", str(port))
        with (
            started(*server, folder=tmp_path, env=env),
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
            ThreadPoolExecutor(CALLS) as pool,
        ):
            while not accepts(http):
                time.sleep(0.05)

            def ask(number: int) -> str:
                return str(
                    http.post("/summary", params={"text": f"Marble {number}"}).json()["text"]
                )

            answers = list(pool.map(ask, range(CALLS)))
        assert_all_on_flex(served, flextier_sim)
    assert answers == [f"[simulated] Summarise: Marble {number}" for number in range(CALLS)]
