"""The errors that are of the SDK's types; ``flextier.errors`` has them and their tree."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import openai


class Detached(openai.OpenAIError):
    """The call was detached because the program ends (``flextier.batch.detach``).

    The server continues it. Made again with the same journal, the call gets that response.
    """


class BackgroundDetached(Detached):
    """A :class:`Detached` call that waited for a background response."""


class BatchDetached(Detached):
    """A :class:`Detached` call that waited for a batch."""


class BackgroundUnfinished(openai.APIConnectionError):
    """A background response was cancelled, by its caller or because its time was up."""

    def __init__(
        self, request: Any, message: str, *, response_id: str | None, possibly_billed: bool
    ) -> None:
        super().__init__(message=message, request=request)
        self.response_id = response_id
        self.possibly_billed = possibly_billed
        """Whether it had begun: whether OpenAI bills a cancelled response is not documented."""


class BackgroundLost(openai.APIConnectionError):
    """A background response was accepted, and cannot be polled any more. Possibly billed."""

    def __init__(
        self, request: Any, message: str, *, response_id: str | None, denied: bool = False
    ) -> None:
        super().__init__(message=message, request=request)
        self.response_id = response_id
        self.denied = denied
        """Whether the server denied access to it; else it no longer exists."""


class BatchNotSent(openai.APIConnectionError):
    """A batch could not be written to disk (``TMPDIR``, or the journal): nothing was sent."""


class BatchUnfinished(openai.APIConnectionError):
    """The batch ended, or was abandoned, without a response for this call. It was not billed."""

    def __init__(self, request: Any, message: str, *, batch_id: str | None, status: str) -> None:
        super().__init__(message=message, request=request)
        self.batch_id = batch_id
        """The batch's id; None: it was not created yet."""
        self.status = status
        """Its last status (``"expired"``, ``"cancelled"``, ``"failed"``), ``"deadline"``, or
        ``"alone"``: too few calls for a batch."""


class BudgetExceeded(openai.OpenAIError):
    """Earlier calls have spent the budget: this call was not made, and nothing was sent."""

    def __init__(self, message: str, *, spent: Decimal, limit: Decimal) -> None:
        super().__init__(message)
        self.spent = spent
        """US$ spent before the call."""
        self.limit = limit
        """US$ of the budget."""


class ClientClosedError(openai.OpenAIError, RuntimeError):
    """The client, or its HTTP client, was closed: before this call, or while it waited for a
    background response, which was cancelled if possible."""


class GatewayUnavailable(openai.APIConnectionError):
    """The gateway (``FLEXTIER_GATEWAY``) cannot be reached, or cannot take the call."""


class MalformedAnswerError(openai.APIConnectionError):
    """The server returned 200 with a body that is truncated or not JSON."""


class StreamInterruptedError(openai.APIConnectionError):
    """A stream ended without its finish reason (chat) or ``response.completed`` (Responses)."""


class FlexUnavailable(openai.RateLimitError):
    """The last lane refused all calls until patience was spent: nothing was sent.

    A call that was itself refused raises the server's own ``openai.RateLimitError`` instead.
    """


class FlexDeadlineExceeded(openai.APITimeoutError):
    """No lane answered within ``FlexPolicy.deadline``."""

    def __init__(self, request: Any, message: str | None = None) -> None:
        super().__init__(request)
        if message:
            self.message = message
            self.args = (message,)


for _error in list(vars().values()):
    if isinstance(_error, type) and _error.__module__ == __name__:
        _error.__module__ = "flextier.errors"  # as tracebacks name them
