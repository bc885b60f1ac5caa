"""Parquet in and out: read by the batch, written with a schema that is known before the first row.

Columns of the input keep their types. What a run adds, or JSON brings, is ``bool``, ``int64``,
``double`` or ``string`` if all of its values are that, and else ``string`` with JSON in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from flextier._utils.extras import needs_extra
from flextier.bulk.errors import BulkError, InputError
from flextier.bulk.row import Row
from flextier.bulk.serialize import dumped, plain

with needs_extra("bulk"):
    import pyarrow as pa
    import pyarrow.parquet as pq

_AT_ONCE = 500
"""Rows that are read, and made Python values, together."""
_ROWS_A_GROUP = 10_000


class ParquetSource:
    """The rows of a Parquet file; a row's line is its number, from 1."""

    columns: tuple[str, ...] | None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with pq.ParquetFile(path) as file:
                self.schema = file.schema_arrow
                self._rows = int(file.metadata.num_rows)
        except (OSError, pa.ArrowException) as error:
            raise BulkError(f"input {path}: not Parquet: {error}") from error
        self.columns = tuple(self.schema.names)
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise BulkError(f"input {path}: two columns are called {name!r}")

    def rows(self) -> Iterator[Row]:
        """One row a row."""
        line = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=_AT_ONCE):
                    for values in batch.to_pylist():
                        line += 1
                        yield _row(line, values)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"input {self._path}, after row {line}: {error}") from error

    def count(self) -> int:
        """As the file itself says."""
        return self._rows


def _row(line: int, values: dict[str, Any]) -> Row:
    try:
        text = dumped(plain(values))
    except (TypeError, ValueError) as error:
        shown = repr(values)
        return Row(line, None, shown.encode("utf-8", "replace"), text=shown, problem=str(error))
    return Row(line, values, text.encode(), text=text)


# --- writing ----------------------------------------------------------------------------------

Objects = Callable[[], Iterator[dict[str, Any]]]


def write(
    path: Path, objects: Objects, columns: Sequence[str], known: Mapping[str, Any] | None
) -> None:
    """Write JSON objects as a Parquet file.

    Args:
        path: the file.
        objects: gives them, from the first, whenever it is called.
        columns: their columns, in order.
        known: the types of some columns. None: of none.
    """
    types = {name: (known or {}).get(name) for name in columns}
    found = _found_types(objects(), [name for name, kind in types.items() if kind is None])
    fields, cells = [], []
    for name, kind in types.items():
        simple = found.get(name)
        made = kind or (pa.string() if simple is None else _PRIMITIVES[simple])
        fields.append(pa.field(name, made))
        cells.append(_typed(kind) if kind is not None else _as_text if simple is None else _plainly)
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema) as writer:
        for group in _grouped(objects(), _ROWS_A_GROUP):
            arrays = [
                pa.array([cell(row.get(field.name)) for row in group], field.type)
                for field, cell in zip(fields, cells, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


_Cell = Callable[[Any], Any]
_PRIMITIVES: dict[type, Any] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


def _found_types(objects: Iterator[dict[str, Any]], names: list[str]) -> dict[str, type | None]:
    """The one simple type of each column's values; None: JSON is needed to keep them apart."""
    seen: dict[str, set[Any]] = {name: set() for name in names}
    for values in objects if names else ():
        for name in names:
            value = values.get(name)
            if value is not None:
                kind = type(value)
                if kind is int and not -(2**53) <= value <= 2**53:  # no double holds it exactly
                    kind = _Large if -(2**63) <= value < 2**63 else _Huge
                seen[name].add(kind)
    return {name: _one(types) for name, types in seen.items()}


class _Large:
    """An ``int64`` that is no double."""


class _Huge:
    """An integer that is no ``int64``."""


def _one(types: set[Any]) -> type | None:
    if types == {int, float}:
        return float
    if types in ({_Large}, {int, _Large}):
        return int
    if len(types) > 1:
        return None
    kind = next(iter(types), str)
    return kind if kind in _PRIMITIVES else None


def _plainly(value: Any) -> Any:
    return _utf8(value) if isinstance(value, str) else value


def _as_text(value: Any) -> Any:
    if value is None:
        return None
    return _utf8(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _utf8(text: str) -> str:
    """The text, with escapes for halves of surrogate pairs, as in CSV."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _typed(kind: Any) -> _Cell:
    """What makes a value of a column's type of its JSON again."""

    def cell(value: Any) -> Any:
        return None if value is None else _of_type(value, kind)

    return cell


def _of_type(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return UUID(value).bytes
        return _of_type(value, kind.storage_type)
    if types.is_map(kind):
        return [(_of_type(key, kind.key_type), _of_type(one, kind.item_type)) for key, one in value]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_of_type(one, kind.value_type) for one in value]
    if types.is_struct(kind):
        return {field.name: _of_type(value.get(field.name), field.type) for field in kind}
    if types.is_dictionary(kind):
        return _of_type(value, kind.value_type)
    for is_kind, make in _MADE:
        if is_kind(kind):
            return make(value)
    return value


_MADE: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (pa.types.is_timestamp, datetime.fromisoformat),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_time, time.fromisoformat),
    (pa.types.is_duration, lambda written: _duration(written)),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_binary, base64.b64decode),
    (pa.types.is_large_binary, base64.b64decode),
    (pa.types.is_fixed_size_binary, base64.b64decode),
    (pa.types.is_binary_view, base64.b64decode),
)


def _duration(written: str) -> timedelta:
    days, _, clock = written.rpartition(", ")
    hours, minutes, rest = clock.split(":")
    count = int(days.split()[0]) if days else 0
    return timedelta(count, hours=int(hours), minutes=int(minutes), seconds=float(rest))


def _grouped(objects: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for values in objects:
        group.append(values)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
