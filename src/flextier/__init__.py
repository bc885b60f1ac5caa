"""flextier: half-price LLM calls that always come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use
from flextier._version import __version__

if TYPE_CHECKING:
    from flextier._openai.single_chunk_stream import StreamUnverifiedWarning
    from flextier._utils.clock import Clock
    from flextier.bulk.quoting import quote
    from flextier.calls.context import override, track
    from flextier.calls.continuation import continuation
    from flextier.calls.report import Attempt, CallReport, report_of
    from flextier.calls.wrap import wrap
    from flextier.capacity.snapshot import LaneState, capacity_snapshot
    from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
    from flextier.costs.budget import budget
    from flextier.errors import (
        BackgroundDetached,
        BackgroundLost,
        BackgroundUnfinished,
        BatchDetached,
        BatchNotSent,
        BatchUnfinished,
        BudgetExceeded,
        ClientClosedError,
        Detached,
        FlexDeadlineExceeded,
        FlexUnavailable,
        MalformedAnswerError,
        PolicyError,
        StreamInterruptedError,
    )
    from flextier.installer.install import install, installed_clients, uninstall
    from flextier.policy import FlexPolicy

__all__ = [
    "AsyncFlexOpenAI",
    "Attempt",
    "BackgroundDetached",
    "BackgroundLost",
    "BackgroundUnfinished",
    "BatchDetached",
    "BatchNotSent",
    "BatchUnfinished",
    "BudgetExceeded",
    "CallReport",
    "ClientClosedError",
    "Clock",
    "Detached",
    "FlexDeadlineExceeded",
    "FlexOpenAI",
    "FlexPolicy",
    "FlexUnavailable",
    "LaneState",
    "MalformedAnswerError",
    "PolicyError",
    "StreamInterruptedError",
    "StreamUnverifiedWarning",
    "__version__",
    "budget",
    "capacity_snapshot",
    "continuation",
    "install",
    "installed_clients",
    "override",
    "quote",
    "report_of",
    "track",
    "uninstall",
    "wrap",
]

if not TYPE_CHECKING:
    # Loaded on first use, and the SDK with them: commands that make no call start without it.
    _load, __dir__ = load_on_first_use(
        __name__,
        __all__,
        {
            "_openai.single_chunk_stream": "StreamUnverifiedWarning",
            "_utils.clock": "Clock",
            "bulk.quoting": "quote",
            "calls.context": "override track",
            "calls.continuation": "continuation",
            "calls.report": "Attempt CallReport report_of",
            "calls.wrap": "wrap",
            "capacity.snapshot": "LaneState capacity_snapshot",
            "client.clients": "AsyncFlexOpenAI FlexOpenAI",
            "costs.budget": "budget",
            "errors": "BackgroundDetached BackgroundLost BackgroundUnfinished BatchDetached "
            "BatchNotSent BatchUnfinished BudgetExceeded ClientClosedError Detached "
            "FlexDeadlineExceeded FlexUnavailable MalformedAnswerError PolicyError "
            "StreamInterruptedError",
            "installer.install": "install installed_clients uninstall",
            "policy": "FlexPolicy",
        },
    )

    def __getattr__(name: str) -> object:
        if name in __all__:
            # First: imported from further down, openai's hundreds of modules take a tenth longer
            # (CPython 3.11 maps and unmaps a piece of its stack for each, at some depths).
            import openai  # noqa: F401
        return _load(name)
