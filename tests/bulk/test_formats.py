"""Every format in, every format out."""

from __future__ import annotations

import csv
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flextier.bulk import BulkError, InputError, run
from tests.bulk.helpers import read_csv, read_jsonl, upper, write_jsonl

ROWS = [{"id": str(number), "text": f"row {number}, “quoted”\nand broken"} for number in range(5)]


def write(path: Path) -> Path:
    """The rows, in the format of the name."""
    if path.suffix == ".jsonl":
        return write_jsonl(path, ROWS)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["id", "text"])
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output."""
    if path.suffix == ".jsonl":
        return read_jsonl(path)
    return read_csv(path) if path.suffix == ".csv" else pq.read_table(path).to_pylist()


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("wanted", ["jsonl", "csv", "parquet"])
def test_any_to_any(ending: str, wanted: str, tmp_path: Path) -> None:
    """The input's columns and the answer, in the input's order."""
    output = tmp_path / f"out.{wanted}"
    result = run(upper, write(tmp_path / f"in.{ending}"), output)
    assert (result.rows, result.done, result.failed, result.pending) == (5, 5, 0, 0)
    assert read(output) == [{**row, "output": row["text"].upper()} for row in ROWS]
    assert result.output == output
    assert result.errors is None
    assert not (tmp_path / f"out.{wanted}.errors.jsonl").exists()


async def thing(row: dict[str, Any]) -> Any:
    """Another kind of answer each time."""
    return [{"a": "é"}, 1, True, None, "text"][int(row["id"])]


def test_objects_in_csv_are_json(tmp_path: Path) -> None:
    """What is no text is JSON, and nothing is empty."""
    run(thing, write(tmp_path / "in.csv"), tmp_path / "out.csv")
    outputs = [row["output"] for row in read_csv(tmp_path / "out.csv")]
    assert outputs == ['{"a": "é"}', "1", "true", "", "text"]


def test_mixed_answers_in_parquet_are_json_texts(tmp_path: Path) -> None:
    """Answers of several types are strings; texts stay as they are."""
    run(thing, write(tmp_path / "in.parquet"), tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("output").type == pa.string()
    assert table["output"].to_pylist() == ['{"a": "é"}', "1", "true", None, "text"]


async def length(row: dict[str, Any]) -> Any:
    """A whole number, or one that is not."""
    return 0.5 if row.get("n") == 2 else len(row)


def test_numbers_in_parquet_are_numbers(tmp_path: Path) -> None:
    """Of whole numbers and others together, a column of doubles."""
    source = write_jsonl(tmp_path / "in.jsonl", [{"n": 1}, {"n": 2, "more": [1]}])
    run(length, source, tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.names == ["n", "more", "output"]
    assert [str(kind) for kind in table.schema.types] == ["int64", "string", "double"]
    assert table.to_pylist()[1] == {"n": 2, "more": "[1]", "output": 0.5}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    """Days, times, decimals, bytes, lists and structs come out as they went in."""
    row = {
        "day": date(2026, 11, 20),
        "at": datetime(2026, 11, 20, 6, 30, 0, 5),
        "price": Decimal("1.50"),
        "raw": b"\x00\xff",
        "tags": ["a", None],
        "place": {"x": 1, "on": date(2026, 1, 1)},
        "nothing": None,
    }
    table = pa.Table.from_pylist([row])
    pq.write_table(table, tmp_path / "in.parquet")

    async def kinds(row: dict[str, Any]) -> str:
        return type(row["day"]).__name__ + type(row["price"]).__name__

    run(kinds, tmp_path / "in.parquet", tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert written.schema.types[:-1] == table.schema.types
    assert written.to_pylist() == [{**row, "output": "dateDecimal"}]


def test_corrupt_json_lines(tmp_path: Path) -> None:
    """Each is a row of the errors file with its line; empty lines are none; the rest is done."""
    lines = ['{"text": "a"}', "", "[1]", '{"text": NaN}', '{"text": "b"}', '{"text": "cu']
    source = write_jsonl(tmp_path / "in.jsonl", lines)
    source.write_bytes(source.read_bytes() + b'{"text": "\xff"}')  # and no end of line
    result = run(upper, source, tmp_path / "out.jsonl")
    assert (result.rows, result.done, result.failed) == (6, 2, 4)
    assert [row["output"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["A", "B"]
    assert result.errors is not None
    errors = read_jsonl(result.errors)
    assert [row["line"] for row in errors] == [3, 4, 6, 7]
    assert "not an object" in errors[0]["error"]["message"]
    assert errors[2]["row"] == '{"text": "cu'
    assert "utf-8" in errors[3]["error"]["message"]


def test_corrupt_csv(tmp_path: Path) -> None:
    """A record that is cut, one with too much, one that is not UTF-8, a quote never closed."""
    source = tmp_path / "in.csv"
    source.write_bytes(b'id,text\n1,a\n2\n3,b,c\n4,\xff\n\n5,"two\nlines"\n6,"cut')
    result = run(upper, source, tmp_path / "out.csv")
    assert (result.rows, result.done, result.failed) == (6, 2, 4)
    assert [row["output"] for row in read_csv(tmp_path / "out.csv")] == ["A", "TWO\nLINES"]
    assert result.errors is not None
    errors = read_jsonl(result.errors)
    assert [row["line"] for row in errors] == [3, 4, 5, 9]
    assert errors[0]["error"]["message"] == "1 fields, but 2 columns"


def test_parquet_that_breaks_off(tmp_path: Path) -> None:
    """What was read before is done and kept; the run says how far it came."""
    source = tmp_path / "in.parquet"
    rows = [{"text": f"row {number} " + "x" * 50} for number in range(2000)]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, source, row_group_size=500, compression="none", use_dictionary=False)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40_000] = b"\xff" * 40_000
    source.write_bytes(content)
    with pytest.raises(InputError, match="after row"):
        run(upper, source, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    assert (tmp_path / "out.jsonl.run" / "rows.db").stat().st_size > 50_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.txt", "a", "name it .jsonl, .csv or .parquet"),
        ("in.csv", "", "is empty"),
        ("in.csv", "a,a\n1,2\n", "two columns are called 'a'"),
        ("in.parquet", "no", "not Parquet"),
        ("missing.jsonl", None, "no such file"),
    ],
)
def test_inputs_that_cannot_be(name: str, content: str | None, words: str, tmp_path: Path) -> None:
    """The message names the file, and nothing is left behind."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(BulkError, match=words):
        run(upper, tmp_path / name, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl.run").exists()


def test_no_rows(tmp_path: Path) -> None:
    """An empty input makes an empty output."""
    result = run(upper, write_jsonl(tmp_path / "in.jsonl", []), tmp_path / "out.csv")
    assert (result.rows, result.exit_status) == (0, 0)
    assert (tmp_path / "out.csv").read_text() == "output\n"


def test_the_row_stays_as_it_stood(tmp_path: Path) -> None:
    """JSON of the input is not rewritten: large numbers and escapes come out as they went in."""
    line = '{"n": 1.10, "big": 123456789012345678901234567890, "s": "\\u00e9\\/", "e": {}  }'
    source = write_jsonl(tmp_path / "in.jsonl", [line, "{}"])
    run(length, source, tmp_path / "out.jsonl", output_column="fields")
    first, second = (tmp_path / "out.jsonl").read_text().splitlines()
    assert first == line[:-1].rstrip() + ', "fields": 4}'
    assert json.loads(second) == {"fields": 0}
