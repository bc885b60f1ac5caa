"""Programs with a cluster of Ray of their own: rows, refusals, errors, kills (`make test-ray`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from flextier.sim import Simulator, Weather

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed"),
]

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = """
import json, os, ray, flextier.ray

def build():
    from flextier import AsyncFlexOpenAI
    client = AsyncFlexOpenAI()  # with the gateway's base URL, and without a key
    async def ask(row):
        if row["id"] % 25 == 7:
            raise ValueError("no such row")
        assert "secret" not in str(dict(os.environ))
        messages = [{"role": "user", "content": f"row {row['id']}"}]
        answer = await client.chat.completions.create(model="o4-mini", messages=messages)
        return answer.choices[0].message.content
    return ask

def main():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    # Set after the cluster: it reaches the gateway alone.
    os.environ |= {"OPENAI_BASE_URL": os.environ.pop("SIMULATOR"), "OPENAI_API_KEY": "sk-secret"}
    rows = ray.data.range(100, override_num_blocks=8)
    settings = {"key": "id", "with_cost": True, "workers": 2, "num_cpus": 0.25}
    done = flextier.ray.run(rows, build, policy={"backoff_initial": 0.1}, **settings)
    print(json.dumps(done.take_all()))
    try:
        flextier.ray.run(rows, build, policy={"journal": "other.db"}, **settings)
    except flextier.bulk.BulkError as error:
        print(error)
    flextier.ray.stop_gateway()
    flextier.ray.stop_gateway()
    try:
        flextier.ray.run(rows, "no_such:target", gateway=False, num_cpus=0.25).take_all()
    except Exception as error:
        print("no such module:", "no module 'no_such' from here" in str(error))

main()
"""


def test_a_dataset(tmp_path: Path) -> None:
    """Each row has its answer or its error, costs are those of the provider's books."""
    (tmp_path / "program.py").write_text(PROGRAM)
    with Simulator(Weather(refuse=0.1)) as sim:
        environment = {"SIMULATOR": sim.base_url, "RAY_worker_niceness": "0"}
        ended = subprocess.run(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        stats = sim.stats()
    assert ended.returncode == 0, ended.stderr
    [table] = [line for line in ended.stdout.splitlines() if line.startswith("[{")]
    rows: dict[int, Any] = {row["id"]: row for row in json.loads(table)}
    assert len(rows) == 100
    failed = [number for number, row in rows.items() if row["error"] is not None]
    assert sorted(failed) == [7, 32, 57, 82]
    assert rows[7]["error"] == "ValueError: no such row"
    assert rows[8]["output"] == "[simulated] row 8"
    assert {row["lane"] for row in rows.values()} == {"flex", None}
    assert stats["served"] == {"flex": 96}
    assert stats["refusals"] > 0
    assert "journal=None, not" in ended.stdout
    assert "stop_gateway()" in ended.stdout
    assert "no such module: True" in ended.stdout


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("lanes", ["flex,standard", "batch"])
def test_killed_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lanes: str
) -> None:
    """A small version of benchmarks/ray_crashes.py: a worker, the gateway and the program."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from ray_crashes import VICTIMS, crash

    outcome = crash(tmp_path, rows=500, kills=3, lanes=lanes, seed=3)
    assert outcome.is_right, str(outcome)
    assert set(outcome.kills) == set(VICTIMS)
    sys.modules.pop("ray_crashes")
