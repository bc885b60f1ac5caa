"""Submit now, collect later: the program ends, the calls go on, and nothing is paid twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier.bulk import BulkError, BulkResult, run
from flextier.bulk.progress import summary
from flextier.sim import BackgroundWeather, BatchWeather, Simulator, Weather
from tests.bulk.helpers import COMMAND, read_jsonl, write_jsonl

WORK = """
from flextier import AsyncFlexOpenAI, FlexPolicy

policy = FlexPolicy(batch_window=0.2, batch_poll_interval=0.2, background_poll_interval=0.2)
client = AsyncFlexOpenAI(policy=policy)

async def ask(row):
    answer = await client.responses.create(model="gpt-6.2-sol", input=row["text"])
    return answer.output_text
"""
DAY = 86_000.0


class Night:
    """A simulator whose clock a test sets: batches take hours, which pass at once."""

    def __init__(self) -> None:
        self.now = 0.0
        batch = BatchWeather(validating=60, seconds=(20_000, 40_000))
        background = BackgroundWeather(queued=10_000, seconds=10_000)
        self.sim = Simulator(
            Weather(batch=batch, background=background),
            clock=lambda: self.now,
            record_paid=True,
        )

    def passes(self) -> None:
        """It is the next day."""
        self.now += DAY


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    """A simulator, and a directory with 40 rows and something to run over them."""
    (tmp_path / "night_work.py").write_text(WORK)
    write_jsonl(tmp_path / "in.jsonl", ({"text": f"Row {n} is here."} for n in range(40)))
    made = Night()
    with made.sim:
        yield made


def started(night: Night, place: Path, *options: str) -> Any:
    """A process that runs the rows."""
    return subprocess.Popen(
        [*COMMAND, "run", "night_work:ask", "in.jsonl", "out.jsonl", "--json", *options],
        cwd=place,
        env={**os.environ, "OPENAI_BASE_URL": night.sim.base_url, "OPENAI_API_KEY": "x"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(*arguments: Any) -> tuple[int, dict[str, Any]]:
    """Its exit status and result."""
    process = started(*arguments)
    out, err = process.communicate()
    assert out, err
    return process.returncode, json.loads(out.splitlines()[-1])


@pytest.mark.parametrize(
    "lanes", ["batch", pytest.param("background", marks=pytest.mark.exhaustive)]
)
def test_the_next_day(lanes: str, night: Night, tmp_path: Path) -> None:
    """Submit ends at once; collect says what is not done; the next day every row is there."""
    status, result = ran(night, tmp_path, "--lanes", lanes, "--submit")
    assert (status, result["done"], result["submitted"], result["pending"]) == (0, 0, 40, 40)
    assert result["stopped"] == "submitted"
    assert (result["totals"]["failed_calls"], result["receipt"]["possibly_billed_attempts"]) == (
        0,
        0,
    )
    status, result = ran(night, tmp_path, "--lanes", lanes, "--collect")
    assert (status, result["submitted"], result["stopped"]) == (3, 40, "collected")
    night.passes()
    status, result = ran(night, tmp_path, "--lanes", lanes, "--collect")
    assert (status, result["done"], result["stopped"]) == (0, 40, None)
    assert [row["text"] for row in read_jsonl(tmp_path / "out.jsonl")] == [
        f"Row {n} is here." for n in range(40)
    ]
    paid = night.sim.paid()
    assert (paid["lines"], paid["twice"]) == (40, [])
    ((lane, part),) = result["receipt"]["lanes"].items()
    assert (lane, part["calls"]) == ("batch" if lanes == "batch" else "background-2h", 40)
    assert Decimal(part["paid"]) > 0  # by the rows that fetched their answers


def test_a_chain_over_two_nights(night: Night, tmp_path: Path) -> None:
    """Collect sends nothing new; the same again submits the next calls of each row."""
    policy = FlexPolicy(batch_window=0.2, batch_poll_interval=0.2)
    client = AsyncFlexOpenAI(base_url=night.sim.base_url, api_key="x", policy=policy)

    async def ask(text: str) -> str:
        return (await client.responses.create(model="gpt-6.2-sol", input=text)).output_text

    async def judge(row: dict[str, Any]) -> str:
        return await ask(f"Judge this. {await ask(row['text'])}")

    def once(**mode: Any) -> BulkResult:
        return run(judge, tmp_path / "in.jsonl", tmp_path / "out.jsonl", lanes="batch", **mode)

    assert once(submit=True).exit_status == 0
    night.passes()
    result = once(collect=True)
    assert (result.exit_status, result.done, result.submitted, result.pending) == (3, 0, 0, 40)
    assert "40 rows have calls that are not submitted: --submit submits them" in summary(result)
    assert result.receipt.is_complete is False
    assert night.sim.stats()["batches"]["created"] == 1
    result = once(submit=True)
    assert (result.exit_status, result.submitted) == (0, 40)
    assert "40 rows are submitted, and not done yet: --collect fetches them" in summary(result)
    night.passes()
    result = once(submit=True)
    assert (result.exit_status, result.done) == (0, 40)
    paid = night.sim.paid()
    assert (paid["lines"], paid["twice"]) == (80, [])
    assert result.receipt.totals.by_lane["batch"].calls == 80


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("lanes", ["batch", "background"])
def test_kills(lanes: str, seed: int, night: Night, tmp_path: Path) -> None:
    """Killed while it submits and while it collects: every row is there once, paid once."""
    random = Random(f"{lanes} {seed}")
    options = ("--lanes", lanes)
    for mode in ("--submit", "--collect"):
        for _ in range(3):
            process = started(night, tmp_path, *options, mode)
            time.sleep(random.uniform(0.3, 3.0))
            process.send_signal(signal.SIGKILL)
            process.communicate()
        while ran(night, tmp_path, *options, "--submit")[0]:
            pass
        night.passes()
    status, result = ran(night, tmp_path, *options, "--collect")
    assert (status, result["done"]) == (0, 40)
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 40
    paid = night.sim.paid()
    assert paid["lines"] == 40
    assert paid["twice"] == []


def test_another_target_on_the_next_day(night: Night, tmp_path: Path) -> None:
    """It is an error as long as calls are submitted: its rows would seem not to be."""
    policy = FlexPolicy(batch_window=0.2, batch_poll_interval=0.2)
    client = AsyncFlexOpenAI(base_url=night.sim.base_url, api_key="x", policy=policy)

    async def ask(row: dict[str, Any]) -> str:
        answer = await client.responses.create(model="gpt-6.2-sol", input=row["text"])
        return answer.output_text

    async def other(row: dict[str, Any]) -> str:
        return "Never called."

    def once(target: Any, **more: Any) -> BulkResult:
        return run(target, tmp_path / "in.jsonl", tmp_path / "out.jsonl", lanes="batch", **more)

    assert once(ask, submit=True).submitted == 40
    with pytest.raises(BulkError, match="belongs to another run, with runnable="):
        once(other, collect=True)
    with pytest.raises(BulkError, match="belongs to another run, with key=None"):
        once(ask, collect=True, key="text")
    night.passes()
    assert once(ask, collect=True).done == 40


def test_what_is_wrong(tmp_path: Path) -> None:
    """Flex alone cannot be submitted; both at once say too much."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "x"}])
    with pytest.raises(BulkError, match=r"--submit\) needs a lane"):
        run(print, source, tmp_path / "out.jsonl", submit=True, lanes="flex,standard")
    with pytest.raises(BulkError, match="leave collect"):
        run(print, source, tmp_path / "out.jsonl", submit=True, collect=True)
