"""The gateway's log: a line of JSON for each call, without a word of its prompt or its answer."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

from flextier.serve.running_call import RunningCall

LOG = logging.getLogger("flextier.serve")


class JsonFormatter(logging.Formatter):
    """Records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__  # its message may have parts of a prompt
        return json.dumps(line | getattr(record, "fields", {}))


def log_to_stderr() -> None:
    """Write the log, and the warnings of all packages, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.getLogger().addHandler(handler)
    LOG.setLevel(logging.INFO)
    logging.captureWarnings(True)


def event(name: str, **fields: Any) -> None:
    """Log an event with fields."""
    LOG.info(name, extra={"fields": fields})


def call_ended(call: RunningCall, upstream: str, path: str, model: str) -> None:
    """Log a call that has ended."""
    if not LOG.isEnabledFor(logging.INFO):
        return
    report, head = call.report, call.answer.head
    fields: dict[str, Any] = {
        "id": call.id,
        "token": call.owner or None,
        "upstream": upstream or None,
        "path": path,
        "model": model,
        "stream": call.stream,
        "status": None if head is None else head.status,
    }
    if report is not None:
        cost = report.cost.total
        fields |= {
            "lane": report.lane,
            "fallback": report.fallback,
            "attempts": [attempt.outcome for attempt in report.attempts],
            "waited": round(report.waited, 3),
            "elapsed": round(report.elapsed, 3),
            "cost": None if cost is None else f"{cost:f}",
            "error": report.error,
        }
    event("call", **fields)
