"""Our errors as LangChain's: ``ChatOpenAI`` re-raises the SDK's errors as its own classes."""

from __future__ import annotations

import openai

from flextier._utils.extras import needs_extra
from flextier.calls.report import attach_report, report_of
from flextier.errors import FlexDeadlineExceeded

with needs_extra("langchain"):
    from langchain_openai.chat_models.base import OpenAITimeoutError


class ModelDeadlineExceeded(FlexDeadlineExceeded, OpenAITimeoutError):
    """:class:`flextier.FlexDeadlineExceeded`, also caught as LangChain's ``ModelTimeoutError``."""


class errors_with_report:
    """Keep the report and the deadline error when ``ChatOpenAI`` re-raises an error."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, openai.OpenAIError):
            return
        report = report_of(error)
        raised: openai.OpenAIError = error
        if isinstance(error.__cause__, FlexDeadlineExceeded):
            exceeded = error.__cause__
            raised = ModelDeadlineExceeded(exceeded.request, exceeded.message)
        if report is not None:
            attach_report(raised, report)
        if raised is not error:
            raise raised from error
