"""Parquet input and output: read in batches, written with a schema inferred beforehand.

Columns of the input keep their types. Other columns are ``bool``, ``int64``, ``double`` or
``string`` if all of their values are, and else ``string`` with JSON in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from flextier._utils.extras import needs_extra
from flextier.bulk.errors import BulkError, InputError
from flextier.bulk.row import Row, unique_columns
from flextier.bulk.serialize import to_json, to_plain

with needs_extra("parquet"):
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH = 500
"""Rows that are read and converted together."""
_GROUP_SIZE = 10_000


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
        self.columns = unique_columns(path, self.schema.names)

    def rows(self) -> Iterator[Row]:
        """The rows."""
        line = 0
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=_BATCH):
                    for values in batch.to_pylist():
                        line += 1
                        yield _row(line, values)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise InputError(f"input {self._path}, after row {line}: {error}") from error

    def count(self) -> int:
        """The number of rows, from the file's metadata."""
        return self._rows


def _row(line: int, values: dict[str, Any]) -> Row:
    try:
        text = to_json(to_plain(values))
    except (TypeError, ValueError) as error:
        shown = repr(values)
        return Row(line, None, shown.encode("utf-8", "replace"), text=shown, problem=str(error))
    return Row(line, values, text.encode(), text=text)


# --- writing ----------------------------------------------------------------------------------

Objects = Callable[[], Iterator[dict[str, Any]]]


def write(
    path: Path, objects: Objects, columns: Sequence[str], known: Mapping[str, Any] | None
) -> None:
    """Write JSON objects as a Parquet file; ``known`` has the Arrow types of some columns."""
    types = {name: (known or {}).get(name) for name in columns}
    inferred = _infer_types(objects(), [name for name, kind in types.items() if kind is None])
    fields: list[Any] = []
    converters: list[Callable[[Any], Any]] = []
    for name, kind in types.items():
        simple = inferred.get(name)
        if kind is not None:
            fields.append(pa.field(name, kind))
            converters.append(partial(_from_json, kind=kind))
        else:
            fields.append(pa.field(name, _SIMPLE_TYPES[simple or str]))
            converters.append(_as_text if simple is None else _as_utf8)
    schema = pa.schema(fields)
    rows = objects()
    with pq.ParquetWriter(path, schema) as writer:
        while group := list(islice(rows, _GROUP_SIZE)):
            arrays = [
                pa.array([convert(row.get(field.name)) for row in group], field.type)
                for field, convert in zip(fields, converters, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


_SIMPLE_TYPES: dict[type, Any] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}


def _infer_types(objects: Iterator[dict[str, Any]], names: list[str]) -> dict[str, type | None]:
    """The one simple type of each column's values; None: only JSON text holds them all."""
    types: dict[str, set[Any]] = {name: set() for name in names}
    for values in objects if names else ():
        for name in names:
            value = values.get(name)
            if value is not None:
                kind: Any = type(value)
                if kind is int and not -(2**53) <= value <= 2**53:  # not exact as a double
                    kind = _ONLY_INT64 if -(2**63) <= value < 2**63 else _TOO_LARGE
                types[name].add(kind)
    return {name: _common_type(found) for name, found in types.items()}


_ONLY_INT64, _TOO_LARGE = "int64", "large"
"""Kinds of integers: one that a ``double`` cannot hold exactly, and one that ``int64`` cannot."""


def _common_type(types: set[Any]) -> type | None:
    if types == {int, float}:
        return float
    if types in ({_ONLY_INT64}, {int, _ONLY_INT64}):
        return int
    if len(types) > 1:
        return None
    kind = next(iter(types), str)
    return kind if kind in _SIMPLE_TYPES else None


def _as_text(value: Any) -> Any:
    """Text as it is, other values as JSON."""
    if value is None or isinstance(value, str):
        return _as_utf8(value)
    return _as_utf8(json.dumps(value, ensure_ascii=False))


def _as_utf8(value: Any) -> Any:
    """The value; text with escapes for halves of surrogate pairs, as in CSV."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "backslashreplace").decode()


def _from_json(value: Any, kind: Any) -> Any:
    """A value of an Arrow type, from its JSON."""
    if value is None:
        return None
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name == "arrow.uuid":
            return UUID(value).bytes
        return _from_json(value, kind.storage_type)
    if types.is_map(kind):
        return [
            (_from_json(key, kind.key_type), _from_json(item, kind.item_type))
            for key, item in value
        ]
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return [_from_json(item, kind.value_type) for item in value]
    if types.is_struct(kind):
        return {field.name: _from_json(value.get(field.name), field.type) for field in kind}
    if types.is_dictionary(kind):
        return _from_json(value, kind.value_type)
    for is_kind, parse in _PARSERS:
        if is_kind(kind):
            return parse(value)
    return value


def _duration(text: str) -> timedelta:
    days, _, clock = text.rpartition(", ")
    hours, minutes, rest = clock.split(":")
    count = int(days.split()[0]) if days else 0
    return timedelta(count, hours=int(hours), minutes=int(minutes), seconds=float(rest))


_PARSERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (pa.types.is_timestamp, datetime.fromisoformat),
    (pa.types.is_date, date.fromisoformat),
    (pa.types.is_time, time.fromisoformat),
    (pa.types.is_duration, _duration),
    (pa.types.is_decimal, Decimal),
    (pa.types.is_binary, base64.b64decode),
    (pa.types.is_large_binary, base64.b64decode),
    (pa.types.is_fixed_size_binary, base64.b64decode),
    (pa.types.is_binary_view, base64.b64decode),
)
