"""The cost of LangChain's model calls: a callback handler, and a block that installs one."""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any
from uuid import UUID

from flextier._utils.extras import needs_extra
from flextier.calls.context import block
from flextier.calls.report import CallReport, report_of
from flextier.costs.records import CallRecord, OnRecord, RecentIds, record_of
from flextier.costs.totals import CostTotals
from flextier.langchain.callbacks import add_handler
from flextier.langchain.records import (
    FRAMEWORK,
    FinishedRun,
    StartedRun,
    failed_run,
    finished_run,
    first_message,
    record_of_run,
)
from flextier.langchain.usage import ReportedUsage
from flextier.pricing.price_book import load_price_list

with needs_extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler

# LangChain does not report the end of a cancelled run.
_MAX_OPEN = 100_000
_NAMESPACE = ("flextier", "langchain")  # that of ChatOpenAIFlex.get_lc_namespace
_METADATA_TYPES = (str, int, float, bool)
# Ids of messages that are unique: LangChain's, with the run's id, and OpenAI's, of a response.
_UNIQUE_IDS = ("lc_run-", "resp_")
# Tags that LangChain and LangGraph add to every step.
_STEP_TAGS = ("seq:step:", "graph:step:", "map:key:", "langsmith:")


@dataclass(slots=True)
class _ModelRun:
    """A model run that has begun; what most runs do not need of it is read when it is needed."""

    parent_run_id: UUID | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    """Its arguments, as LangChain names them."""
    class_id: Sequence[str] = ()
    """The namespace and the name of its model's class."""
    at: float = field(default_factory=time.time)
    start_time: float = field(default_factory=time.monotonic)
    is_counted: bool = False
    """Whether its calls have been counted, by their reports."""
    awaits_report: bool = False
    """Whether it has ended before its call, whose report is still to come."""

    @property
    def has_reports(self) -> bool:
        """Whether its calls have reports, as those of ``ChatOpenAIFlex`` do."""
        return tuple(self.class_id[:2]) == _NAMESPACE

    @property
    def started(self) -> StartedRun:
        """The facts of a call that flextier did not make."""
        params, metadata = self.params, self.metadata
        model = params.get("model") or params.get("model_name") or metadata.get("ls_model_name")
        return StartedRun(model, metadata.get("ls_provider"), params.get("service_tier"), self.at)

    def record_fields(self, run_id: UUID) -> dict[str, Any]:
        """The fields of a record that describe the run."""
        metadata = {
            name: value
            for name, value in self.metadata.items()
            if isinstance(value, _METADATA_TYPES)
        }
        return {
            "run_id": str(run_id),
            "parent_run_id": None if self.parent_run_id is None else str(self.parent_run_id),
            "tags": self.own_tags,
            "metadata": metadata,
        }

    @property
    def own_tags(self) -> tuple[str, ...]:
        """The tags that no step has added."""
        return tuple(tag for tag in self.tags if not tag.startswith(_STEP_TAGS))


class FlexCostCallbackHandler(BaseCallbackHandler):
    """Counts the cost of model calls: of ``ChatOpenAIFlex``, and of any model that reports usage.

    It works for sync and async runs, chains, agents, batches and streams, and can be shared between
    threads and event loops. Each model call counts once, wherever and however often the handler is
    attached; a response from LangChain's cache is no call. Records of ``ChatOpenAIFlex`` have
    attempts, waits and fallbacks, also those of failed and cancelled calls; records of other models
    have what their response reports. A call without a known price is unpriced, with the reason.

    Records have the run's tags, without those that LangChain adds to its steps, and its metadata
    that is a string, a number or a boolean.

    Args:
        on_record: called with each record after it is counted, for example a ledger's ``add``. It
            runs in the run's thread, or on its event loop, so it must not wait. LangChain logs the
            errors that it raises. None: no callback.
        keep_records: how many of the latest records to keep in :attr:`records`. None: all of them.

    Example::

        costs = FlexCostCallbackHandler()
        chain.invoke({"topic": "ink"}, {"callbacks": [costs], "tags": ["essay"]})
        print(costs.totals)
        costs.totals.by_tag["essay"].saved
    """

    # Otherwise an async run passes each event to a thread, which takes longer than counting.
    run_inline = True

    def __init__(self, *, on_record: OnRecord | None = None, keep_records: int | None = 0) -> None:
        super().__init__()
        load_price_list()
        self.totals = CostTotals()
        """The totals of all calls so far."""
        self._on_record = on_record
        self._records: deque[CallRecord] = deque(maxlen=keep_records)
        self._open_runs: OrderedDict[UUID, _ModelRun] = OrderedDict()
        self._counted = RecentIds()
        # Reentrant: the garbage collector may close a stream, and so end a call, at any point.
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.totals!r}>"

    @property
    def records(self) -> list[CallRecord]:
        """The latest records, as many as are kept, in order."""
        with self._lock:
            return list(self._records)

    # --- LangChain's callbacks -----------------------------------------------------------------

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the start of a run."""
        params, class_id = kwargs.get("invocation_params"), (serialized or {}).get("id")
        run = _ModelRun(parent_run_id, tags or (), metadata or {}, params or {}, class_id or ())
        with self._lock:
            self._remember(run_id, run)

    def on_llm_start(
        self, serialized: dict[str, Any] | None, prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Note the start of a run."""
        self.on_chat_model_start(serialized, prompts, run_id=run_id, **kwargs)

    def on_flextier_report(self, report: CallReport, *, run_id: UUID) -> None:
        """Count a call of ``ChatOpenAIFlex`` by its report."""
        with self._lock:
            run = self._open_runs.get(run_id) or _ModelRun()
            run.is_counted = True
            if run.awaits_report:
                del self._open_runs[run_id]
        self._count_report(report, run, run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Count a call that was answered."""
        run = self._ended(run_id, **kwargs)
        if run is None:
            return
        message = first_message(response)
        report_fields = None if message is None else message.response_metadata.get("flextier")
        if message is not None and _is_cached(message, run_id):
            return
        if report_fields is not None:
            self._count_message_report(report_fields, finished_run(response), run, run_id)
        elif message is None or not self._is_repeated(message):
            self._count_without_report(finished_run(response), run, run_id)

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, response: Any = None, **kwargs: Any
    ) -> None:
        """Count a call that failed."""
        run = self._ended(run_id, **kwargs)
        if run is None:
            return
        report = report_of(error)
        if isinstance(report, CallReport):
            self._count_report(report, run, run_id)
        elif run.has_reports and not isinstance(error, Exception):
            # The caller abandoned the stream: an async one is closed, and reported, after this.
            run.awaits_report = True
            with self._lock:
                self._remember(run_id, run)
        elif not run.has_reports:
            self._count_without_report(failed_run(response), run, run_id, type(error).__name__)

    # --- counting -----------------------------------------------------------------------------

    def _remember(self, run_id: UUID, run: _ModelRun) -> None:
        self._open_runs[run_id] = run
        if len(self._open_runs) > _MAX_OPEN:
            self._open_runs.popitem(last=False)

    def _ended(
        self,
        run_id: UUID,
        *,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **_: Any,
    ) -> _ModelRun | None:
        """The run that has ended; None if it is already counted."""
        with self._lock:
            run = self._open_runs.pop(run_id, None)
        if run is None:  # its start was not reported
            return _ModelRun(parent_run_id=parent_run_id, tags=tags or ())
        return None if run.is_counted else run

    def _count_message_report(
        self, report_fields: Any, finished: FinishedRun, run: _ModelRun, run_id: UUID
    ) -> None:
        """Count a call by the report on its message, unless it is already counted."""
        try:
            report = CallReport.from_dict(report_fields)
            record = record_of(report, framework=FRAMEWORK, **run.record_fields(run_id))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"the report on the message cannot be read: {type(error).__name__}: {error}"
            self._count_without_report(
                FinishedRun(ReportedUsage(unpriced=reason), finished.model), run, run_id
            )
        else:
            if self._counted.is_new(report.id):
                self._count(record)

    def _count_report(self, report: CallReport, run: _ModelRun, run_id: UUID) -> None:
        if not self._counted.is_new(report.id):
            return
        if self._records.maxlen == 0 and self._on_record is None:
            self.totals.add_report(report, run.own_tags)
        else:
            self._count(record_of(report, framework=FRAMEWORK, **run.record_fields(run_id)))

    def _count_without_report(
        self, finished: FinishedRun, run: _ModelRun, run_id: UUID, error: str | None = None
    ) -> None:
        record = record_of_run(
            finished,
            run.started,
            call_id=run_id.hex,
            elapsed=time.monotonic() - run.start_time,
            error=error,
            **run.record_fields(run_id),
        )
        self._count(record)

    def _count(self, record: CallRecord) -> None:
        self.totals.add(record)
        if self._records.maxlen != 0:
            with self._lock:
                self._records.append(record)
        if self._on_record is not None:
            self._on_record(record)

    def _is_repeated(self, message: Any) -> bool:
        """Whether another run has had the message: that of a chat model inside a chat model."""
        message_id = message.id or ""
        return message_id.startswith(_UNIQUE_IDS) and not self._counted.is_new(message_id)


def _is_cached(message: Any, run_id: UUID) -> bool:
    """Whether a message comes from LangChain's cache.

    The cache sets a total cost of 0 on the messages that it returns. It also does so on the
    original, if the same question was asked again before the original's run ended.
    """
    usage = getattr(message, "usage_metadata", None)
    is_cached = isinstance(usage, dict) and usage.get("total_cost") == 0
    return is_cached and str(run_id) not in (message.id or "")


@contextmanager
def get_flex_cost_callback(
    *, on_record: OnRecord | None = None, keep_records: int | None = 0
) -> Iterator[FlexCostCallbackHandler]:
    """A :class:`FlexCostCallbackHandler` for every run that begins inside the block.

    It covers tasks started inside, and threads that copy the context, as LangChain's ``batch``
    does. The handlers of nested blocks all count.

    Args:
        on_record: as for :class:`FlexCostCallbackHandler`.
        keep_records: as for :class:`FlexCostCallbackHandler`.

    Example::

        with get_flex_cost_callback() as costs:
            chain.invoke({"topic": "ink"})
        print(costs.totals)
    """
    handler = FlexCostCallbackHandler(on_record=on_record, keep_records=keep_records)
    with block("get_flex_cost_callback") as opened, add_handler(handler):
        yield handler
        opened.has_seen_call |= handler.totals.calls > 0  # by a model of another class, too
