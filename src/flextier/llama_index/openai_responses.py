"""OpenAIResponsesFlex: LlamaIndex's OpenAIResponses on FlexOpenAI clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import Unpack

from flextier._utils.extras import needs_extra
from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
from flextier.llama_index.base import FlexLLM, undecorated
from flextier.llama_index.events import CallObserver

if TYPE_CHECKING:
    from flextier.llama_index.arguments import OpenAIResponsesArguments
    from flextier.policy import PolicyField

with needs_extra("llama-index"):
    from llama_index.llms.openai import OpenAIResponses


class OpenAIResponsesFlex(FlexLLM, OpenAIResponses):  # type: ignore[misc]  # None of a field is ours
    """LlamaIndex's ``OpenAIResponses`` whose calls go through the flex lane and always come back.

    As :class:`OpenAIFlex`, over the Responses API.

    Example::

        from flextier.llama_index import OpenAIResponsesFlex

        llm = OpenAIResponsesFlex(model="o3", policy={"deadline": 600})
        llm.complete("Why is the sky blue?").additional_kwargs["flextier"]["lane"]
    """

    _max_tokens_field = "max_output_tokens"
    _class_name = "openai_responses_flex_llm"

    if TYPE_CHECKING:  # the field is declared again for pydantic's plugin of mypy
        policy: PolicyField = Field(default_factory=PolicyField)
        """How calls are routed; a :class:`flextier.FlexPolicy` or a dict of its fields. Default:
        from the ``FLEXTIER_*`` environment variables."""

        def __init__(
            self,
            model: str = ...,
            temperature: float = ...,
            max_output_tokens: int | None = ...,
            **arguments: Unpack[OpenAIResponsesArguments],
        ) -> None: ...

    def _create_clients(self) -> None:
        if self._client is None:
            self._client = self._new_client(FlexOpenAI)
        if self._aclient is None:
            self._aclient = self._new_client(AsyncFlexOpenAI)

    # Without LlamaIndex's span: the overriding method has one already.

    def structured_predict(
        self,
        output_cls: Any,
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """As ``OpenAIResponses.structured_predict``, on the constructor's ``service_tier``."""
        predict = undecorated(super().structured_predict)
        with CallObserver().listening():
            return predict(output_cls, prompt, self._with_tier(llm_kwargs), **prompt_args)

    async def astructured_predict(
        self,
        output_cls: Any,
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """As ``OpenAIResponses.astructured_predict``, on the constructor's ``service_tier``."""
        predict = undecorated(super().astructured_predict)
        with CallObserver().listening():
            return await predict(output_cls, prompt, self._with_tier(llm_kwargs), **prompt_args)

    def _with_tier(self, llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """The arguments with the constructor's tier, which LlamaIndex ignores here."""
        if "service_tier" not in self.additional_kwargs:
            return llm_kwargs or {}
        return {"service_tier": self.additional_kwargs["service_tier"], **(llm_kwargs or {})}

    def _adapt_to_reasoning_model(self, fields: dict[str, Any], explicit: dict[str, Any]) -> None:
        super()._adapt_to_reasoning_model(fields, explicit)
        if "top_p" not in explicit and fields.get("top_p") == 1.0:
            del fields["top_p"]
        if self.reasoning_options is not None:
            fields.setdefault("reasoning", self.reasoning_options)
