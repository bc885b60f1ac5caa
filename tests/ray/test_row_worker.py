"""The class that Ray runs, called as Ray calls it; Ray itself is not needed for that."""

from __future__ import annotations

import asyncio
import os
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest

from flextier import AsyncFlexOpenAI
from flextier.bulk import BulkError
from flextier.errors import PolicyError
from flextier.ray import GatewayAddress, RowWorker
from flextier.sim import Fault, Simulator
from tests.serve.conftest import gateway

NUMBERS: list[dict[str, Any]] = [{"id": number} for number in range(3)]


def worker(target: Any, **arguments: Any) -> RowWorker:
    """One that calls this target."""
    return RowWorker(lambda: target, **arguments)


async def answered(made: RowWorker, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with what the worker adds."""
    table = await made(pyarrow.Table.from_pylist(rows))
    added: list[dict[str, Any]] = table.to_pylist()
    return added


def asking(sim: Simulator) -> Any:
    """A function that makes a call for a row, always the same."""
    client = AsyncFlexOpenAI(base_url=sim.base_url, api_key="sk-of-the-worker")

    async def ask(row: Any) -> str:
        messages: Any = [{"role": "user", "content": "How are you?"}]
        answer = await client.chat.completions.create(model="o4-mini", messages=messages)
        return f"{row['id']}: {answer.choices[0].message.content}"

    return ask


async def test_text_stays_text_and_anything_else_is_json() -> None:
    """So that all blocks of a dataset have one type, also those whose rows all failed."""
    values = ["é", None, {"a": [1]}]
    made = worker(lambda row: values[row["id"]])
    table = await made(pyarrow.Table.from_pylist(NUMBERS))
    assert table.column("output").to_pylist() == ["é", None, '{"a": [1]}']
    assert {table.schema.field(name).type for name in ("output", "error")} == {pyarrow.string()}


async def test_a_row_fails_for_itself() -> None:
    """Whatever it raises, a cancellation and an error that cannot be shown included."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise ValueError

    errors = [ValueError("no"), asyncio.CancelledError(), Unspeakable(), SystemExit(3), None]

    async def ask(row: Any) -> Any:
        if (error := errors[row["id"]]) is not None:
            raise error
        return {1: object()} if row.get("odd") else "yes"

    rows = [{"id": number, "odd": False} for number in range(5)] + [{"id": 4, "odd": True}]
    done = await answered(worker(ask), rows)
    assert [row["output"] for row in done] == [None, None, None, None, "yes", None]
    assert [row["error"] for row in done] == [
        "ValueError: no",
        "CancelledError: ",
        "Unspeakable",
        "SystemExit: 3",
        None,
        "TypeError: a object cannot be written as JSON",
    ]


async def test_rows_at_once() -> None:
    """Are bounded over all batches together."""
    running, most = 0, 0

    async def ask(_: Any) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return ""

    made = worker(ask, concurrency=2)
    await asyncio.gather(answered(made, NUMBERS), answered(made, NUMBERS))
    assert most == 2


async def test_cost(flextier_sim: Simulator) -> None:
    """The cost columns are those of `flextier run`, of a row that failed, too."""
    flextier_sim.script(Fault.refuse())
    ask = asking(flextier_sim)

    async def asks_and_fails(row: Any) -> str:
        answer: str = await ask(row)
        if row["id"] == 1:
            raise ValueError(answer)
        return answer

    made = worker(asks_and_fails, with_cost=True, policy={"backoff_initial": 0.01})
    first, second, _ = await answered(made, NUMBERS)
    assert first["lane"] == second["lane"] == "flex"
    assert Decimal(first["standard_cost"]) == 2 * Decimal(second["cost"]) > 0
    assert second["output"] is None


async def test_the_columns_are_checked() -> None:
    """Before anything is called, and the error names the argument."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"key": "name"}, "key: no column 'name'"),
        ({"input_column": "text"}, "input_column: no column 'text'"),
        ({"output_column": "id"}, "two columns 'id'"),
        ({"output_column": "error"}, "two columns 'error'"),
        ({"output_column": "cost", "with_cost": True}, "two columns 'cost'"),
    ]
    for arguments, message in wrong:
        with pytest.raises(BulkError, match=message):
            await answered(worker(lambda _: pytest.fail("called"), **arguments), NUMBERS)
    assert (await worker(repr)(pyarrow.table({"id": []}))).num_rows == 0


async def test_text_is_taken_from_a_column() -> None:
    """As `flextier run` does it for models."""

    class Model:
        async def acomplete(self, prompt: str) -> str:
            return prompt.upper()

    rows = [{"id": 1, "question": "why?", "word": "one"}]
    assert (await answered(worker(Model()), rows))[0]["output"] == "WHY?"
    assert (await answered(worker(Model(), input_column="word"), rows))[0]["output"] == "ONE"


def test_import_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is built where it is used; what is wrong with it ends the worker at its start."""
    (tmp_path / "my_target.py").write_text("def build():\n    return repr\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    RowWorker("my_target:build()")
    with pytest.raises(BulkError, match="my_target has no 'bild'"):
        RowWorker("my_target:bild()")
    with pytest.raises(BulkError, match="is a class"):
        RowWorker(lambda: dict)
    with pytest.raises(PolicyError, match="lane"):
        RowWorker("my_target:build()", policy={"lanes": ("slow",)})


# --- rows that are run again ----------------------------------------------------------------------


async def test_a_journal_of_the_workers(flextier_sim: Simulator, tmp_path: Path) -> None:
    """A row that another worker runs again gets its response; equal rows have their own."""
    journal = str(tmp_path / "journal.db")
    policy = {"journal": journal}
    for _ in range(2):
        made = worker(asking(flextier_sim), policy=policy, key="id", namespace="", with_cost=True)
        done = await answered(made, NUMBERS)
    assert [row["lane"] for row in done] == ["journal"] * 3
    assert len(flextier_sim.requests) == 3


async def test_a_gateway(flextier_sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the calls of all workers: of a row that is run again, the gateway knows the call."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_BASE", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "set")
    with gateway(flextier_sim) as served:
        monkeypatch.setenv("FLEXTIER_JOURNAL", "of-the-worker.db")  # the gateway's counts
        address = GatewayAddress(served.url, base_url=flextier_sim.base_url)
        for _ in range(2):
            made = worker(
                asking(flextier_sim), gateway=address, key="id", namespace="run", with_cost=True
            )
            done = await answered(made, NUMBERS)
        assert [row["lane"] for row in done] == ["flex"] * 3
        assert len(flextier_sim.requests) == 3
        other = worker(asking(flextier_sim), gateway=address, key="id", namespace="another run")
        await answered(other, NUMBERS)
        assert len(flextier_sim.requests) == 6
    assert os.environ["NO_PROXY"] == "example.org,127.0.0.1"
    assert os.environ["OPENAI_API_KEY"] == "set"


async def test_equal_calls_of_a_row(flextier_sim: Simulator) -> None:
    """Are calls of their own: a row may ask for several answers."""
    ask = asking(flextier_sim)

    async def asks_twice(row: Any) -> list[str]:
        return [await ask(row), await ask(row)]

    with gateway(flextier_sim) as served:
        address = GatewayAddress(served.url)
        made = worker(asks_twice, gateway=address, key="id", namespace="run")
        await answered(made, NUMBERS)
        await answered(made, NUMBERS)
    assert len(flextier_sim.requests) == 6


def test_a_gateway_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends the worker at its start."""
    monkeypatch.setattr("flextier.ray.cluster_gateway._STARTS_IN", 0.0)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(BulkError, match="does not answer"):
        worker(repr, gateway=GatewayAddress("http://127.0.0.1:9"))
