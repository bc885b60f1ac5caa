"""The lines of batches in the log."""

from __future__ import annotations

from flextier._openai.public_names import Batch
from flextier._utils.formatting import count, plain
from flextier.batch.pending_calls import GroupKey
from flextier.calls.gathered_lines import INFO, LINES, LOG


def log_batch(group: GroupKey, what: str, batch: Batch, more: str = "") -> None:
    """Write an event of a batch to the log, such as ``"polled"``."""
    if not LOG.isEnabledFor(INFO):
        return
    model, counts = plain(group.model, 80), batch.request_counts
    done = (
        f", {counts.completed:,} of {count(counts.total, 'line')} done"
        if counts and counts.total
        else ""
    )
    line = f"batch {batch.id} {'is' if what == 'polled' else f'{what}:'} {batch.status}{done}{more}"
    where = (group.base_url, model)
    LINES.event(where, group.clock.now(), (f"batch {what}", f"batches {what}"), line)
