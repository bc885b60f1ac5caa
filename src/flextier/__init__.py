"""flextier: half-price LLM calls that always come back."""

# First: imported from further down, openai's hundreds of modules take a tenth longer (CPython 3.11
# maps and unmaps a piece of its stack for each, at some depths).
import openai  # noqa: F401  # isort: skip

from flextier._openai.single_chunk_stream import StreamUnverifiedWarning
from flextier._utils.clock import Clock
from flextier._version import __version__
from flextier.calls.budget import budget
from flextier.calls.context import override, track
from flextier.calls.continuation import continuation
from flextier.calls.report import Attempt, CallReport, report_of
from flextier.calls.wrap import wrap
from flextier.capacity import LaneState, capacity_snapshot
from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
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
    "override",
    "report_of",
    "track",
    "wrap",
]
