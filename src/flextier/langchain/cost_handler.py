"""What LangChain's model calls cost: a callback handler, and a block that listens."""

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
from flextier.calls.report import CallReport, report_of
from flextier.costs.records import CallRecord, OnRecord, RecentIds, record_of
from flextier.costs.totals import CostTotals
from flextier.langchain.callbacks import listen_with
from flextier.langchain.records import (
    FRAMEWORK,
    FinishedRun,
    StartedRun,
    message_of,
    read,
    read_failed,
    record_of_plain,
)
from flextier.langchain.usage import ReportedUsage
from flextier.pricing.price_book import load_price_list

with needs_extra("langchain"):
    from langchain_core.callbacks import BaseCallbackHandler

# Runs that are begun and not ended: LangChain reports no end of a cancelled one.
_MOST_OPEN = 100_000
_NAMESPACE = ("flextier", "langchain")  # that of ChatOpenAIFlex.get_lc_namespace
_PLAIN = (str, int, float, bool)
# Names of messages: LangChain's, with the id of the run, and that of OpenAI's response.
_UNIQUE = ("lc_run-", "resp_")
# Tags that LangChain and LangGraph add by themselves, to every step.
_STEP_TAGS = ("seq:step:", "graph:step:", "map:key:", "langsmith:")


@dataclass(slots=True)
class _ModelRun:
    """A model run that has begun."""

    asked: StartedRun = field(default_factory=lambda: StartedRun(at=time.time()))
    began: float = field(default_factory=time.monotonic)
    parent_run_id: UUID | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reports: bool = False
    """Whether its calls have reports: it is a run of ``ChatOpenAIFlex``."""
    settled: bool = False
    """Whether its calls are counted already, by their reports."""
    left: bool = False
    """Whether it has ended before its call, whose report is still to come."""

    def about(self, run_id: UUID) -> dict[str, Any]:
        """The fields of a record that describe the run."""
        metadata = {
            name: value for name, value in self.metadata.items() if isinstance(value, _PLAIN)
        }
        return {
            "run_id": str(run_id),
            "parent_run_id": None if self.parent_run_id is None else str(self.parent_run_id),
            "tags": tuple(tag for tag in self.tags if not tag.startswith(_STEP_TAGS)),
            "metadata": metadata,
        }


class FlexCostCallbackHandler(BaseCallbackHandler):
    """Counts what model calls cost: ``ChatOpenAIFlex``'s, and those of any model with usage.

    For sync and async runs, chains, agents, batches and streams, and safe to share between threads
    and event loops. Each model call counts once, wherever and however often the handler is
    attached; an answer from LangChain's cache is no call. Calls of ``ChatOpenAIFlex`` bring their
    attempts, waits and fallbacks along, failed and cancelled ones too; of other models, the answer
    counts. What has no known price is counted as unpriced, with the reason.

    Records have the run's tags, without those that LangChain adds to its steps, and such metadata
    as is a string, a number or a boolean.

    Args:
        on_record: called with each record once it is counted, for example a ledger's ``add``. It is
            called where the run is, in async runs on the event loop: it must not wait. What it
            raises, LangChain logs. None: no callback.
        keep_records: how many of the last records to keep in :attr:`records`. None: all of them.

    Example::

        costs = FlexCostCallbackHandler()
        chain.invoke({"topic": "ink"}, {"callbacks": [costs], "tags": ["essay"]})
        print(costs.totals)
        costs.totals.by_tag["essay"].saved
    """

    # An async run would hand each event to a thread, which takes longer than counting does.
    run_inline = True

    def __init__(self, *, on_record: OnRecord | None = None, keep_records: int | None = 0) -> None:
        super().__init__()
        load_price_list()
        self.totals = CostTotals()
        """What the calls came to so far."""
        self._on_record = on_record
        self._kept: deque[CallRecord] = deque(maxlen=keep_records)
        self._runs: OrderedDict[UUID, _ModelRun] = OrderedDict()
        self._counted = RecentIds()
        # Reentrant: the garbage collector may close a stream, which ends a call, at any point.
        self._lock = RLock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.totals!r}>"

    @property
    def records(self) -> list[CallRecord]:
        """The last records, as many as are kept; the latest last."""
        with self._lock:
            return list(self._kept)

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
        """Take note of a run that begins."""
        params = kwargs.get("invocation_params") or {}
        known = metadata or {}
        model = params.get("model") or params.get("model_name") or known.get("ls_model_name")
        asked = StartedRun(model, known.get("ls_provider"), params.get("service_tier"), time.time())
        namespace = (serialized or {}).get("id") or ()
        reports = tuple(namespace[:2]) == _NAMESPACE
        run = _ModelRun(asked, time.monotonic(), parent_run_id, tags or (), known, reports)
        with self._lock:
            self._open(run_id, run)

    def on_llm_start(
        self, serialized: dict[str, Any] | None, prompts: list[str], *, run_id: UUID, **kwargs: Any
    ) -> None:
        """Take note of a run that begins."""
        self.on_chat_model_start(serialized, prompts, run_id=run_id, **kwargs)

    def on_flextier_report(self, report: CallReport, *, run_id: UUID) -> None:
        """Count a call of ``ChatOpenAIFlex``, reported at its end."""
        with self._lock:
            run = self._runs.get(run_id) or _ModelRun()
            run.settled = True
            if run.left:
                del self._runs[run_id]
        self._count_report(report, run, run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Count a call that was answered."""
        run = self._ended(run_id, **kwargs)
        if run is None:
            return
        message = message_of(response)
        report_fields = None if message is None else message.response_metadata.get("flextier")
        if message is not None and _is_cached(message, run_id):
            return
        if report_fields is not None:
            self._count_reported(report_fields, read(response), run, run_id)
        elif message is None or not self._is_known(message):
            self._count_plain(read(response), run, run_id)

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
        elif run.reports and not isinstance(error, Exception):
            # A reader has left the stream: an async one is closed, and reported, only after this.
            run.left = True
            with self._lock:
                self._open(run_id, run)
        elif not run.reports:
            self._count_plain(read_failed(response), run, run_id, type(error).__name__)

    # --- counting -----------------------------------------------------------------------------

    def _open(self, run_id: UUID, run: _ModelRun) -> None:
        self._runs[run_id] = run
        if len(self._runs) > _MOST_OPEN:
            self._runs.popitem(last=False)

    def _ended(
        self,
        run_id: UUID,
        *,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        **_: Any,
    ) -> _ModelRun | None:
        """The run that has ended; None if there is nothing left to count."""
        with self._lock:
            run = self._runs.pop(run_id, None)
        if run is None:  # its start was not reported
            return _ModelRun(parent_run_id=parent_run_id, tags=tags or ())
        return None if run.settled else run

    def _count_reported(
        self, report_fields: Any, answer: FinishedRun, run: _ModelRun, run_id: UUID
    ) -> None:
        """Count a call by the report on its message, if it was not counted by the report itself."""
        try:
            report = CallReport.from_dict(report_fields)
            record = record_of(report, framework=FRAMEWORK, **run.about(run_id))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            why = f"the report on the message cannot be read: {type(error).__name__}: {error}"
            self._count_plain(FinishedRun(ReportedUsage(unpriced=why), answer.model), run, run_id)
        else:
            if self._counted.is_new(report.id):
                self._count(record)

    def _count_report(self, report: CallReport, run: _ModelRun, run_id: UUID) -> None:
        if self._counted.is_new(report.id):
            self._count(record_of(report, framework=FRAMEWORK, **run.about(run_id)))

    def _count_plain(
        self, answer: FinishedRun, run: _ModelRun, run_id: UUID, error: str | None = None
    ) -> None:
        record = record_of_plain(
            answer,
            run.asked,
            call_id=run_id.hex,
            elapsed=time.monotonic() - run.began,
            error=error,
            **run.about(run_id),
        )
        self._count(record)

    def _count(self, record: CallRecord) -> None:
        self.totals.add(record)
        if self._kept.maxlen != 0:
            with self._lock:
                self._kept.append(record)
        if self._on_record is not None:
            self._on_record(record)

    def _is_known(self, message: Any) -> bool:
        """Whether another run had the message before: that of a chat model inside a chat model."""
        name = message.id or ""
        return name.startswith(_UNIQUE) and not self._counted.is_new(name)


def _is_cached(message: Any, run_id: UUID) -> bool:
    """Whether a message came from LangChain's cache.

    The cache marks what it returns with a cost of nothing; the answer that it was filled with has
    the mark as well, if the same question was asked again before its run ended.
    """
    marks = getattr(message, "usage_metadata", None)
    marked = isinstance(marks, dict) and marks.get("total_cost") == 0
    return marked and str(run_id) not in (message.id or "")


@contextmanager
def get_flex_cost_callback(
    *, on_record: OnRecord | None = None, keep_records: int | None = 0
) -> Iterator[FlexCostCallbackHandler]:
    """A :class:`FlexCostCallbackHandler` for every run begun inside, without being passed.

    Tasks started inside are covered, and so are threads that carry the context along (LangChain's
    ``batch`` does). Blocks inside blocks all count.

    Args:
        on_record: as of :class:`FlexCostCallbackHandler`.
        keep_records: as of :class:`FlexCostCallbackHandler`.

    Example::

        with get_flex_cost_callback() as costs:
            chain.invoke({"topic": "ink"})
        print(costs.totals)
    """
    handler = FlexCostCallbackHandler(on_record=on_record, keep_records=keep_records)
    with listen_with(handler):
        yield handler
