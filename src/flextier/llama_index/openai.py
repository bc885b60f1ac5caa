"""OpenAIFlex: LlamaIndex's OpenAI on FlexOpenAI clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import Unpack

from flextier._openai.requested_call import NO_STREAM_USAGE
from flextier._utils.extras import needs_extra
from flextier.llama_index.base import FlexLLM, undecorated

if TYPE_CHECKING:
    from flextier.llama_index.arguments import OpenAIArguments
    from flextier.policy import PolicyField

with needs_extra("llama-index"):
    from llama_index.llms.openai import OpenAI


class OpenAIFlex(FlexLLM, OpenAI):  # type: ignore[misc]  # None of a field is ours
    """LlamaIndex's ``OpenAI`` whose calls go through the flex lane and always come back.

    Every argument of ``OpenAI`` keeps its meaning; ``timeout`` bounds each attempt, and
    ``max_retries`` sets the field of the policy. A ``service_tier`` in ``additional_kwargs``, or of
    one call, other than ``"auto"`` and ``"flex"`` is the caller's choice: calls stay on that tier.

    Each answer carries its report in ``response.additional_kwargs["flextier"]``: lane, attempts,
    seconds waited, reason of a fallback. Retries and fallbacks are events of LlamaIndex's
    instrumentation: :class:`FlexRetryEvent`, :class:`FlexFallbackEvent`.

    Example::

        from llama_index.core import Settings
        from flextier.llama_index import OpenAIFlex

        Settings.llm = OpenAIFlex(model="o3", policy={"deadline": 600})
    """

    stream_usage: bool | None = None
    """Whether chat streams end with a chunk that has their usage. None: they do not, but flextier
    requests it for the report. False: it is not requested, and the cost of a stream is unknown.
    ``stream_options`` in ``additional_kwargs`` overrides."""

    _max_tokens_field = "max_tokens"
    _class_name = "openai_flex_llm"

    if TYPE_CHECKING:  # the field is declared again for pydantic's plugin of mypy
        policy: PolicyField = Field(default_factory=PolicyField)
        """How calls are routed; a :class:`flextier.FlexPolicy` or a dict of its fields. Default:
        from the ``FLEXTIER_*`` environment variables."""

        def __init__(
            self,
            model: str = ...,
            temperature: float = ...,
            max_tokens: int | None = ...,
            **arguments: Unpack[OpenAIArguments],
        ) -> None: ...

    def _adapt_stream(self, fields: dict[str, Any]) -> None:
        if "stream_options" in fields:
            return
        if self.stream_usage:
            fields["stream_options"] = {"include_usage": True}
        elif self.stream_usage is False:
            fields["extra_headers"] = {**fields.get("extra_headers", {}), **NO_STREAM_USAGE}

    def _adapt_to_reasoning_model(self, fields: dict[str, Any], explicit: dict[str, Any]) -> None:
        super()._adapt_to_reasoning_model(fields, explicit)
        if "max_tokens" in fields:
            fields.setdefault("max_completion_tokens", fields.pop("max_tokens"))
        fields.pop("parallel_tool_calls", None)
        if self.reasoning_effort is not None:
            fields["reasoning_effort"] = self.reasoning_effort

    # The older Completions API has no lanes, and only the SDK's retries.
    _complete = undecorated(OpenAI._complete)
    _acomplete = undecorated(OpenAI._acomplete)
    _stream_complete = undecorated(OpenAI._stream_complete)
    _astream_complete = undecorated(OpenAI._astream_complete)
