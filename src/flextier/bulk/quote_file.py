"""``OUTPUT.run/quote.json``: the last quote of a run, for its receipt."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from flextier._utils.atomic_file import atomic_write
from flextier.bulk.errors import StorageError
from flextier.bulk.options import RunOptions
from flextier.pricing.span import Span
from flextier.quotes.quote import Quote

_NAME = "quote.json"


def save_quote(run_options: RunOptions, label: str, quote: Quote, spent: Decimal) -> None:
    """Keep the quote of a run's remaining rows, after ``spent`` US$ for the others."""
    path = run_options.state_dir / _NAME
    kept = {"run": _run(run_options, label), "spent": f"{spent:f}", "quote": quote.to_dict()}
    try:
        with atomic_write(path) as file:
            file.write(json.dumps(kept).encode())
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error


def saved_quote(run_options: RunOptions, label: str) -> Span[Decimal] | None:
    """What was quoted for all starts of a run together; None: nothing was."""
    if run_options.quoted is not None:
        return run_options.quoted.cost
    try:
        kept = json.loads((run_options.state_dir / _NAME).read_bytes())
        if kept["run"] != _run(run_options, label):
            return None
        spent, cost = Decimal(kept["spent"]), kept["quote"]["cost"]
        amounts = (cost[name] for name in ("low", "expected", "high"))
        return Span(*(None if x is None else Decimal(x) + spent for x in amounts))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError):
        return None  # none is kept, or the file is damaged: a receipt does without it


def _run(run_options: RunOptions, label: str) -> dict[str, Any]:
    return {"runnable": label, **run_options.settings}
