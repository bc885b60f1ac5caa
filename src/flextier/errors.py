"""The errors flextier raises itself.

Everything else reaches the caller as the ``openai`` exception that the SDK would have raised. Once
a call has begun, its error carries ``.report``, the :class:`flextier.CallReport` of the call::

    ValueError
    └── PolicyError                      a setting is wrong: names the field and its variable
    openai.OpenAIError
    ├── Detached                         the program leaves; what it waited for goes on
    │   ├── BackgroundDetached           a background response, known to the journal
    │   └── BatchDetached                a batch, known to the journal
    ├── BudgetExceeded                   the calls before have spent the budget
    ├── ClientClosedError                the client was closed, before the call or while it waited
    ├── openai.RateLimitError
    │   └── FlexUnavailable              the lane refuses all calls now, and there is no other lane
    └── openai.APIConnectionError
        ├── BackgroundLost               a background response cannot be asked about any more
        ├── BackgroundUnfinished         a background response was cancelled, or left
        ├── BatchNotSent                 a batch's lines could not be written to the disk
        ├── BatchUnfinished              the batch ended before the call's turn came
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


class Detached(openai.OpenAIError):
    """The call was let go of, because the program is to end (``flextier.batch.detach``).

    What it waited for goes on. Asked again with the same journal, it gets the answer from there.
    """


class BackgroundDetached(Detached):
    """As :class:`Detached`, of a call that waited for a background response."""


class BatchDetached(Detached):
    """As :class:`Detached`, of a call that waited for a batch."""


class BackgroundUnfinished(openai.APIConnectionError):
    """A background response was cancelled: by somebody, or because the call had to go on."""

    def __init__(
        self, request: Any, message: str, *, response_id: str | None, possibly_billed: bool
    ) -> None:
        super().__init__(message=message, request=request)
        self.response_id = response_id
        self.possibly_billed = possibly_billed
        """Whether it had begun: what OpenAI bills of a cancelled response is not documented."""


class BackgroundLost(openai.APIConnectionError):
    """A background response was accepted, and cannot be asked about any more. Possibly billed."""

    def __init__(
        self, request: Any, message: str, *, response_id: str | None, denied: bool = False
    ) -> None:
        super().__init__(message=message, request=request)
        self.response_id = response_id
        self.denied = denied
        """Whether we may not look at it, by the server's word; else it is gone."""


class BatchNotSent(openai.APIConnectionError):
    """The lines of a batch could not be written to the disk (``TMPDIR``): nothing was sent."""


class BatchUnfinished(openai.APIConnectionError):
    """The batch ended, or had to be left, before this call's turn came. It was not billed."""

    def __init__(self, request: Any, message: str, *, batch_id: str | None, status: str) -> None:
        super().__init__(message=message, request=request)
        self.batch_id = batch_id
        """The batch's id; None: there was none yet."""
        self.status = status
        """Its last status (``"expired"``, ``"cancelled"``, ``"failed"``), ``"deadline"``, or
        ``"alone"``: too few calls came together."""


class BudgetExceeded(openai.OpenAIError):
    """The calls before have spent the budget: this one was not made, and nothing was sent."""

    def __init__(self, message: str, *, spent: Decimal, limit: Decimal) -> None:
        super().__init__(message)
        self.spent = spent
        """US$ spent when the call was to be made."""
        self.limit = limit
        """US$ of the budget."""


class ClientClosedError(openai.OpenAIError, RuntimeError):
    """The client, or the HTTP client under it, was closed: before this call, or while it waited for
    a background response, which was cancelled if that was possible."""


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
