"""The errors flextier raises itself.

Everything else reaches the caller as the ``openai`` exception that the SDK would have raised. Once
a call has begun, its error carries ``.report``, the :class:`flextier.CallReport` of the call::

    ValueError
    └── PolicyError                      a setting is wrong: names the field and its variable
    openai.OpenAIError
    ├── BudgetExceeded                   the calls before have spent the budget
    ├── ClientClosedError                the client was closed before the call (also RuntimeError)
    ├── openai.RateLimitError
    │   └── FlexUnavailable              the lane refuses all calls now, and there is no other lane
    └── openai.APIConnectionError
        ├── MalformedAnswerError         the answer was not the JSON it should be
        ├── StreamInterruptedError       a stream ended before the answer was whole
        └── openai.APITimeoutError
            └── FlexDeadlineExceeded     no lane answered by the deadline
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai


class PolicyError(ValueError):
    """A setting that cannot be used. The message names the field and its variable."""


class BudgetExceeded(openai.OpenAIError):
    """The calls before have spent the budget: this one was not made, and nothing was sent."""

    def __init__(self, message: str, *, spent: Decimal, limit: Decimal) -> None:
        super().__init__(message)
        self.spent = spent
        """US$ spent when the call was to be made."""
        self.limit = limit
        """US$ of the budget."""


class ClientClosedError(openai.OpenAIError, RuntimeError):
    """The client, or the HTTP client under it, was closed before this call."""


class MalformedAnswerError(openai.APIConnectionError):
    """The server answered 200 with a body that is cut or not JSON."""


class StreamInterruptedError(openai.APIConnectionError):
    """A stream ended without its finish reason (chat) or ``response.completed`` (Responses)."""


class FlexUnavailable(openai.RateLimitError):
    """The only lane left is known to refuse, and did until patience was spent: nothing was sent.

    A call that was refused itself raises the server's own ``openai.RateLimitError`` instead.
    """


class FlexDeadlineExceeded(openai.APITimeoutError):
    """No lane answered within ``FlexPolicy.deadline``."""

    def __init__(self, request: Any, message: str | None = None) -> None:
        super().__init__(request)
        if message:
            self.message = message
            self.args = (message,)
