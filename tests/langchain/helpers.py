"""What the tests of the chat model share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessageChunk, BaseMessage
from tenacity import RetryCallState

from flextier.langchain import ChatOpenAIFlex

Make = Callable[..., ChatOpenAIFlex]


def report_of(message: BaseMessage) -> dict[str, Any]:
    """The report on a message."""
    report: dict[str, Any] = message.response_metadata["flextier"]
    return report


def outcomes(message: BaseMessage) -> list[str]:
    """The outcomes of the attempts behind a message."""
    return [attempt["outcome"] for attempt in report_of(message)["attempts"]]


def merged(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    """The whole message that a stream makes."""
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


class Listener(BaseCallbackHandler):
    """Notes the callbacks of a run."""

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.retries: list[Any] = []
        self.errors: list[BaseException | None] = []
        self.states: list[Any] = []

    def on_chat_model_start(self, *_: Any, run_id: Any, **__: Any) -> None:
        """Note the run."""
        self.started.append(run_id)

    def on_retry(self, retry_state: RetryCallState, *, run_id: Any, **_: Any) -> None:
        """Note the retry. Tenacity's state changes as the call goes on, so its error is noted."""
        assert isinstance(retry_state, RetryCallState)
        assert retry_state.outcome is not None
        self.retries.append(run_id)
        self.errors.append(retry_state.outcome.exception())
        self.states.append(retry_state)
