"""The class that Ray Data runs as an actor: it calls a target with the rows of batches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count
from typing import Any

from flextier.bulk.errors import BulkError
from flextier.bulk.options import COST_COLUMNS, DEFAULT_CONCURRENCY
from flextier.bulk.row import Row, SelectInput, input_selector, listed
from flextier.bulk.runnables import WorkerThreads, load, target_of
from flextier.bulk.serialize import cost_columns, to_json, to_plain
from flextier.calls.context import listen, scoped
from flextier.policy import FlexPolicy
from flextier.ray.cluster_gateway import GatewayAddress

_MAX_THREADS = 1000
Build = str | Callable[[], Any]


@dataclass(frozen=True)
class Columns:
    """The columns that a worker reads and adds."""

    key: str | None = None
    input: str | None = None
    output: str = "output"
    error: str = "error"
    with_cost: bool = False

    @property
    def added(self) -> tuple[str, ...]:
        """Those that the rows have afterwards, in order."""
        return (self.output, self.error, *(COST_COLUMNS if self.with_cost else ()))

    def check(self, columns: list[str]) -> None:
        """Check that a dataset has what is read, and nothing that is added.

        Raises:
            BulkError: it does not; the message names the argument.
        """
        for argument, name in (("key", self.key), ("input_column", self.input)):
            if name is not None and name not in columns:
                raise BulkError(f"{argument}: no column {name!r}; {listed(columns)}")
        for name in self.added:
            if name in columns or self.added.count(name) > 1:
                raise BulkError(
                    f"there would be two columns {name!r}: choose another output_column or "
                    "error_column, or rename the dataset's"
                )


class RowWorker:
    """Calls a target with each row of the batches it gets: for ``map_batches`` of Ray Data.

    :func:`flextier.ray.run` uses it; use it yourself where you need other arguments of
    ``map_batches``. It is an async actor, takes tables of Arrow (``batch_format="pyarrow"``) and
    returns them with more columns.

    Args:
        target: ``"MODULE:NAME"``, ``"MODULE:NAME()"``, or a function without arguments that
            returns the target; it is called here, in the worker.
        policy: fields of ``FlexPolicy`` for the calls, over those of their clients.
        key, input_column, output_column, error_column, with_cost: as for
            :func:`flextier.ray.run`.
        concurrency: rows in flight at once in this worker.
        gateway: where the calls go; None: each worker has a limiter of its own.
        namespace: with ``key``, what names the calls of a row, the same when it is run again; None:
            each call is a new one.

    Raises:
        BulkError: the target cannot be built, or the gateway does not answer.
    """

    def __init__(
        self,
        target: Build,
        *,
        policy: Mapping[str, Any] | None = None,
        key: str | None = None,
        input_column: str | None = None,
        output_column: str = "output",
        error_column: str = "error",
        with_cost: bool = False,
        concurrency: int = DEFAULT_CONCURRENCY,
        gateway: GatewayAddress | None = None,
        namespace: str | None = None,
    ) -> None:
        self._columns = Columns(key, input_column, output_column, error_column, with_cost)
        self._namespace = namespace
        self._changes: dict[str, Any] = dict(policy or {})
        if gateway is not None:
            gateway.prepare_process()
            self._changes |= {"gateway": gateway.url, "journal": None, "budget": None}
        FlexPolicy.check(self._changes)
        threads = WorkerThreads(min(concurrency, _MAX_THREADS))
        built = load(target) if isinstance(target, str) else target()
        self._target = target_of(built, threads)
        self._slots = asyncio.Semaphore(concurrency)

    async def __call__(self, batch: Any) -> Any:
        """The rows of a table with their responses."""
        import pyarrow

        columns = self._columns
        columns.check(batch.column_names)
        rows = [Row(number, values, b"") for number, values in enumerate(batch.to_pylist(), 1)]
        select = input_selector(
            columns.input, needs_text=self._target.needs_text, first=rows[0] if rows else None
        )
        answered = await asyncio.gather(
            *(self._answer(row, select) for row in rows), return_exceptions=True
        )
        added = [one if isinstance(one, dict) else self._failed(one) for one in answered]
        for name in columns.added:
            values = pyarrow.array([one.get(name) for one in added], pyarrow.string())
            batch = batch.append_column(name, values)
        return batch

    async def _answer(self, row: Row, select: SelectInput) -> dict[str, str | None]:
        """The added columns of a row; it fails for itself only."""
        columns, key = self._columns, None
        if columns.key is not None and row.values is not None:
            key = json.dumps(row.values[columns.key], sort_keys=True, default=str)
        async with self._slots:
            with scoped(**self._scope(key)), listen(row.reports.append):
                try:
                    plain = to_plain(await self._target.invoke(select(row)))
                    text = plain if plain is None or isinstance(plain, str) else to_json(plain)
                    added = {columns.output: text}
                except (Exception, SystemExit) as error:  # noqa: BLE001 - the others go on
                    added = self._failed(error)
        return added | (cost_columns(row.reports) if columns.with_cost else {})

    def _failed(self, error: BaseException) -> dict[str, str | None]:
        try:
            text = f"{type(error).__name__}: {error}"
            text.encode()  # as Arrow does
        except Exception:  # noqa: BLE001 - its own __str__ may fail, too
            text = type(error).__name__
        return {self._columns.error: text}

    def _scope(self, key: str | None) -> dict[str, Any]:
        """The scope of the calls of a row."""
        changes, namespace = self._changes, self._namespace
        if namespace is None or key is None:
            return {"changes": tuple(sorted(changes.items()))}
        if changes.get("gateway") is None:  # the journal is the workers' own
            changes = {"journal_duplicates": "once", **changes}
            changes["journal_namespace"] = f"{namespace}/{key}"
        return {
            "changes": tuple(sorted(changes.items())),
            "name_call": _namer(f"{namespace}\0{key}\0".encode()),
        }


def _namer(row: bytes) -> Callable[[bytes], str]:
    """Names the calls of a row by their bodies; equal ones are numbered."""
    numbers: dict[bytes, count[int]] = {}

    def name(body: bytes) -> str:
        digest = blake2b(row + body, digest_size=16).digest()
        return f"{digest.hex()}-{next(numbers.setdefault(digest, count(1)))}"

    return name
