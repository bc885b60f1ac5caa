"""The errors flextier raises itself.

Everything else reaches the caller as the ``openai`` exception that the SDK would have raised. Once
a call has begun, its error carries ``.report``, the :class:`flextier.CallReport` of the call::

    ValueError
    └── PolicyError                      a setting is wrong: names the field and its variable
    openai.OpenAIError
    ├── Detached                         the program ends; the server continues its call
    │   ├── BackgroundDetached           a background response that the journal knows
    │   └── BatchDetached                a batch that the journal knows
    ├── BudgetExceeded                   earlier calls have spent the budget
    ├── ClientClosedError                the client was closed, before the call or while it waited
    ├── openai.RateLimitError
    │   └── FlexUnavailable              the last lane refuses all calls now
    └── openai.APIConnectionError
        ├── BackgroundLost               a background response cannot be polled any more
        ├── BackgroundUnfinished         a background response was cancelled or abandoned
        ├── BatchNotSent                 a batch's lines could not be written to disk
        ├── BatchUnfinished              the batch ended without a response for the call
        ├── GatewayUnavailable           the gateway cannot be reached
        ├── MalformedAnswerError         the response was not the expected JSON
        ├── StreamInterruptedError       a stream ended before the response was complete
        └── openai.APITimeoutError
            └── FlexDeadlineExceeded     no lane answered by the deadline
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flextier._utils.lazy import load_on_first_use
from flextier.errors.policy_error import PolicyError

if TYPE_CHECKING:
    from flextier._openai.errors import (
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
        GatewayUnavailable,
        MalformedAnswerError,
        StreamInterruptedError,
    )

__all__ = [
    "BackgroundDetached",
    "BackgroundLost",
    "BackgroundUnfinished",
    "BatchDetached",
    "BatchNotSent",
    "BatchUnfinished",
    "BudgetExceeded",
    "ClientClosedError",
    "Detached",
    "FlexDeadlineExceeded",
    "FlexUnavailable",
    "GatewayUnavailable",
    "MalformedAnswerError",
    "PolicyError",
    "StreamInterruptedError",
]

# Loaded on first use: routing and what is below it do without the SDK.
if not TYPE_CHECKING:
    __getattr__, __dir__ = load_on_first_use(
        __name__, __all__, {"_openai.errors": " ".join(__all__)}
    )
