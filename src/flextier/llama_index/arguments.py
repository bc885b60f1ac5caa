"""The arguments of the LLMs for type checkers: LlamaIndex's, and those that flextier adds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import openai
from typing_extensions import TypedDict

from flextier.policy import FlexPolicy, PolicyFields

if TYPE_CHECKING:
    from llama_index.core.base.llms.types import ChatMessage
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.prompts import BasePromptTemplate
    from llama_index.core.types import BaseOutputParser, PydanticProgramMode


class _Arguments(TypedDict, total=False):
    """Arguments of both classes."""

    policy: FlexPolicy | PolicyFields | None
    timeout: float | None
    max_retries: int | None
    context_window: int | None
    additional_kwargs: dict[str, Any] | None
    api_key: str | None
    api_base: str | None
    api_version: str | None
    default_headers: dict[str, str] | None
    http_client: openai.DefaultHttpxClient | None
    async_http_client: openai.DefaultAsyncHttpxClient | None
    openai_client: openai.OpenAI | None
    async_openai_client: openai.AsyncOpenAI | None
    strict: bool
    callback_manager: CallbackManager | None
    system_prompt: str | None
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None
    completion_to_prompt: Callable[[str], str] | None
    query_wrapper_prompt: BasePromptTemplate | None
    output_parser: BaseOutputParser | None
    pydantic_program_mode: PydanticProgramMode
    rate_limiter: Any


class OpenAIArguments(_Arguments, total=False):
    """The arguments of :class:`flextier.llama_index.OpenAIFlex`, but for the first three."""

    stream_usage: bool | None
    reuse_client: bool
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None
    modalities: list[str] | None
    audio_config: dict[str, Any] | None
    logprobs: bool | None
    top_logprobs: int


class OpenAIResponsesArguments(_Arguments, total=False):
    """Those of :class:`flextier.llama_index.OpenAIResponsesFlex`, but for the first three."""

    reasoning_options: dict[str, Any] | None
    include: list[str] | None
    instructions: str | None
    track_previous_responses: bool
    store: bool
    built_in_tools: list[dict[str, Any]] | None
    truncation: str
    user: str | None
    previous_response_id: str | None
    call_metadata: dict[str, Any] | None
    top_p: float
