"""What calls cost without a framework: the calls inside a block, counted and handed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flextier._utils.safe_warn import notify
from flextier.calls.context import Reach, reporting
from flextier.calls.report import CallReport
from flextier.costs.records import OnRecord, record_of
from flextier.costs.totals import CostTotals
from flextier.pricing.price_book import load_price_list


@contextmanager
def record_calls(
    *sinks: OnRecord,
    tags: Iterable[str] = (),
    metadata: Mapping[str, Any] | None = None,
    scope: Reach = "context",
) -> Iterator[CostTotals]:
    """Count what the calls inside cost, failed ones included; the totals are yielded, and live.

    For the SDK's clients and all that is built on them. Tasks and threads are covered as with
    :func:`flextier.track`; a streamed call counts when its stream ends or is closed. Calls through
    LangChain or LlamaIndex count here, too: use their handlers or this, or a sink that takes a
    call once, as a ledger does.

    Args:
        *sinks: each is called with every record, for example a ledger's ``add``. If one raises,
            the call goes on: a warning says so.
        tags: for all of the records.
        metadata: for all of the records.
        scope: ``"process"``: all calls of the process that begin meanwhile, in every thread and
            event loop. For those of child processes, too, set ``FLEXTIER_LEDGER``.

    Example::

        with record_calls() as totals:
            client.chat.completions.create(model="o3", messages=[...])
        print(totals)
    """
    load_price_list()
    totals = CostTotals()
    labels = tuple(tags)

    def on_report(report: CallReport) -> None:
        record = record_of(report, tags=labels, metadata=metadata)
        totals.add(record)
        for sink in sinks:
            notify(sink, record)

    with reporting("record_calls", scope, on_report, labels):
        yield totals
