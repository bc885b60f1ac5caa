"""A new lane is one file and a line in the registry: three made-up ones, in a copy of src."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flextier
from flextier.lanes import Lane
from tests.lanes.made_up import background_day, calls, saver, slow_batch

PACKAGE = Path(str(flextier.__file__)).parent
REGISTRY = "lanes/registry.py"
LINES = "(FLEX, STANDARD, BATCH, *BACKGROUND.values())"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program says in which the lanes exist."""
    copy = tmp_path_factory.mktemp("copy") / "flextier"
    shutil.copytree(PACKAGE / "lanes", copy / "lanes", ignore=lambda *_: {"__pycache__"})
    for part in PACKAGE.iterdir():
        if part.name not in ("lanes", "__pycache__"):
            (copy / part.name).symlink_to(part)
    for lane in (saver, background_day, slow_batch):
        shutil.copy(str(lane.__file__), copy / "lanes")
    registry = (copy / REGISTRY).read_text(encoding="utf-8")
    assert registry.count(LINES) == 1
    registry = registry.replace(LINES, f"{LINES[:-1]}, SAVER, BACKGROUND_DAY, SLOW_BATCH)").replace(
        "from flextier.lanes.batch import BATCH\n",
        "from flextier.lanes.background_day import BACKGROUND_DAY\n"
        "from flextier.lanes.batch import BATCH\n"
        "from flextier.lanes.saver import SAVER\n"
        "from flextier.lanes.slow_batch import SLOW_BATCH\n",
    )
    (copy / REGISTRY).write_text(registry, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(calls.__file__)],
        env={**os.environ, "PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_calls_are_routed_over_them(said: dict[str, Any]) -> None:
    """By name, as the first of two lanes, and where ``auto`` finds nothing cheaper."""
    assert said["attempts"] == [
        ["saver:served"],
        ["saver:transient", "standard:served"],
        ["saver:served"],
        ["background-24h:served"],
        ["slow-batch:served"],
    ]
    assert said["lanes"] == ["saver", "standard", "saver", "background-24h", "slow-batch"]


def test_they_have_prices(said: dict[str, Any]) -> None:
    """In reports, totals, and ``flextier prices``."""
    assert said["shares"] == [0.8, 1, 0.8, 0.45, 0.4]
    assert said["totals"] == {"saver": 2, "standard": 1, "background-24h": 1, "slow-batch": 1}
    assert said["served"] == {"saver": 2, "default": 1, "background-24h": 1, "batch": 1}
    assert "no saver rate of openai/o3 is listed: taken as 0.8 of standard" in said["prices"]
    assert "24h" not in said["prices"]  # o3 is not known to have windows


def test_reports_have_rows_and_colours_for_them(said: dict[str, Any]) -> None:
    """The windows of one family share a colour."""
    assert any(line.startswith("saver ") for line in said["rows"].splitlines())
    assert any(line.startswith("background-24h ") for line in said["rows"].splitlines())
    assert "--lane-saver: #102030;" in said["page"]
    assert "--lane-saver: #a0b0c0;" in said["page"]
    assert "var(--lane-background)" in said["page"]
    assert "var(--lane-other)" not in said["page"]


def test_auto_considers_and_explains_them(said: dict[str, Any]) -> None:
    """With their words, eligibility and the user's ``lane_support``."""
    (row,) = [line for line in said["explain"].splitlines() if " saver " in line]
    assert "80 %" in row
    assert "half a minute" in row
    assert said["explain_json"]["lanes"] == ["saver", "standard"]
    assert "not saver: saver needs the Responses API" in said["chat"]
    assert "o3 has no saver, by FlexPolicy.lane_support: o3=flex" in said["unsupported"]


def test_the_guide_shows_the_whole_file() -> None:
    """``docs/lanes.md`` and the file that is tested do not differ."""
    guide = Path(__file__).parents[2].joinpath("docs", "lanes.md").read_text(encoding="utf-8")
    source = Path(str(saver.__file__)).read_text(encoding="utf-8")
    assert f"```python\n{source.partition('import annotations')[2].lstrip()}```" in guide
    fields = {field.name for field in dataclasses.fields(Lane) if field.init}
    methods = {"fields", "for_auto", "ineligible", "lacks", "refuses", "unsupported"}
    named = set(re.findall(r"`(\w+)(?:\(\))?`", guide))
    assert fields | methods <= named, "docs/lanes.md names every field"
