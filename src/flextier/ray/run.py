"""run(): a dataset of Ray Data in, the same dataset with responses out."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from flextier.bulk.errors import BulkError
from flextier.bulk.options import DEFAULT_CONCURRENCY
from flextier.policy import FlexPolicy, PolicyFields
from flextier.ray.cluster_gateway import GatewayAddress, cluster_gateway
from flextier.ray.needs_ray import ray_data
from flextier.ray.row_worker import Build, Columns, RowWorker
from flextier.variables import GATEWAY_TOKEN, setting

if TYPE_CHECKING:
    from ray.data import Dataset

_TASKS = 4
"""Blocks that a worker has at once: the next one's rows begin while the last ones of one run."""


def run(
    dataset: Dataset,
    target: Build,
    *,
    policy: FlexPolicy | PolicyFields | None = None,
    key: str | None = None,
    input_column: str | None = None,
    output_column: str = "output",
    error_column: str = "error",
    with_cost: bool = False,
    gateway: str | Literal[False] | None = None,
    workers: int | tuple[int, int] = 1,
    concurrency: int = DEFAULT_CONCURRENCY,
    num_cpus: float = 0.5,
) -> Dataset:
    """The dataset with a target's response for each row; it runs when the dataset is consumed.

    A row that fails has its error in a column; it ends neither the job nor another row. All calls
    of the cluster go through one gateway, so that more workers do not cause more refusals.

    Args:
        dataset: of Ray Data.
        target: what :func:`flextier.bulk.run` takes, built in each worker: ``"MODULE:NAME"``,
            ``"MODULE:NAME()"``, or a function without arguments that returns it.
        policy: fields that override those of the calls' policies, such as ``lanes``. ``journal``
            and ``budget`` are those of the gateway that is started. None: none.
        key: the column that identifies a row; values must be unique. With it, a row that is run
            again after a crash gets the responses that were paid for: those of the last ten minutes
            while the gateway lives, and with a ``journal`` all of them. None: the ``id_column`` of
            the dataset's ``CheckpointConfig``, if it has one.
        input_column: as for :func:`flextier.bulk.run`.
        output_column: for the responses: text, and what is not text as JSON.
        error_column: for the errors of rows without a response.
        with_cost: whether to add the columns lane, cost and standard_cost (US$, as digits).
        gateway: URL of a gateway that runs; its token is in ``FLEXTIER_GATEWAY_TOKEN``. None: that
            of the policy or ``FLEXTIER_GATEWAY``, else the cluster's, which is started on this
            node with the ``OPENAI_API_KEY`` of this process. False: each worker has a limiter of
            its own.
        workers: actors, or the least and the most of them.
        concurrency: rows in flight at once in each worker.
        num_cpus: CPUs that Ray reserves for each worker.

    Raises:
        BulkError: an argument does not fit the dataset, or the gateway cannot be started.
        ImportError: Ray Data is not installed.
        PolicyError: the policy is wrong.

    Example::

        rows = ray.data.read_parquet("reviews/")
        rows = flextier.ray.run(rows, "my_chain:chain", key="id", input_column="review", workers=4)
        rows.write_parquet("moods/")
    """
    ray = ray_data()
    own = FlexPolicy() if policy is None else FlexPolicy.of(policy)
    if key is None and (checkpoint := getattr(dataset.context, "checkpoint_config", None)):
        key = checkpoint.id_column
    columns = Columns(key, input_column, output_column, error_column, with_cost)
    if (names := dataset.columns(fetch_if_missing=False)) is not None:
        columns.check(names)
    _check_target(target)
    if own.journal is not None and key is None:
        raise BulkError("policy: a journal needs key, the column that identifies a row")
    fields: Any = {name: getattr(own, name) for name in own.explicit if name != "gateway"}
    journal = None if own.journal is None else os.path.abspath(own.journal)
    if gateway is False:
        address = None
        fields |= {"gateway": None, "journal": journal}
    elif (url := gateway or own.gateway) is not None:
        url = str(FlexPolicy(**{**fields, "gateway": url}).gateway)
        address = GatewayAddress(url, setting(GATEWAY_TOKEN))
    else:
        address = cluster_gateway(journal, own.budget)
    is_stable = journal is not None or own.journal_namespace
    sizes = (workers, workers) if isinstance(workers, int) else workers
    made: Dataset = dataset.map_batches(
        RowWorker,
        fn_constructor_args=(target,),
        fn_constructor_kwargs={
            "policy": fields,
            "key": key,
            "input_column": input_column,
            "output_column": output_column,
            "error_column": error_column,
            "with_cost": with_cost,
            "concurrency": concurrency,
            "gateway": address,
            "namespace": own.journal_namespace if is_stable else uuid4().hex,
        },
        # Small blocks are joined until there are rows for all slots.
        batch_size=concurrency,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(
            min_size=sizes[0], max_size=sizes[1], max_concurrent_calls_per_actor=_TASKS
        ),
        num_cpus=num_cpus,
        udf_modifying_row_count=False,
    )
    return made


def _check_target(target: Any) -> None:
    if isinstance(target, str):
        if ":" not in target:
            raise BulkError(f"target {target!r}: give MODULE:NAME, as in my_chain:chain")
        return
    if callable(target):
        try:
            inspect.signature(target).bind()
        except TypeError as error:
            raise BulkError(
                f"target: {error}. Give MODULE:NAME, or a function without arguments that returns "
                "the target, which is called in each worker"
            ) from None
        return
    raise BulkError(
        f"target: a {type(target).__name__} cannot be sent to the workers: give MODULE:NAME, or a "
        "function without arguments that returns it"
    )
