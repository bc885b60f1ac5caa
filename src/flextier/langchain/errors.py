"""Our errors as LangChain's: ``ChatOpenAI`` re-raises the SDK's errors as its own classes."""

from __future__ import annotations

from typing import NoReturn

import openai

from flextier._utils.extras import needs_extra
from flextier.calls.report import attach_report, report_of
from flextier.errors import FlexDeadlineExceeded

with needs_extra("langchain"):
    from langchain_openai.chat_models.base import OpenAITimeoutError


class ModelDeadlineExceeded(FlexDeadlineExceeded, OpenAITimeoutError):
    """:class:`flextier.FlexDeadlineExceeded`, also caught as LangChain's ``ModelTimeoutError``."""


def raise_with_report(error: openai.OpenAIError) -> NoReturn:
    """Raise an error that ``ChatOpenAI`` has re-raised, with the report and the deadline error."""
    report = report_of(error)
    raised: openai.OpenAIError = error
    if isinstance(error.__cause__, FlexDeadlineExceeded):
        exceeded = error.__cause__
        raised = ModelDeadlineExceeded(exceeded.request, exceeded.message)
    if report is not None:
        attach_report(raised, report)
    if raised is not error:
        raise raised from error
    raise error
