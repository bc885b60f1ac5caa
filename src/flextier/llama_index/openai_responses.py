"""OpenAIResponsesFlex: LlamaIndex's OpenAIResponses on FlexOpenAI clients."""

from __future__ import annotations

from typing import Any

from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
from flextier.llama_index._requires import needs_llama_index
from flextier.llama_index.base import FlexLLM
from flextier.llama_index.events import CallObserver

with needs_llama_index():
    from llama_index.llms.openai import OpenAIResponses


class OpenAIResponsesFlex(FlexLLM, OpenAIResponses):  # type: ignore[misc]  # None of a field is ours
    """LlamaIndex's ``OpenAIResponses`` whose calls go through the flex lane and always come back.

    As :class:`OpenAIFlex`, over the Responses API.

    Example::

        from flextier.llama_index import OpenAIResponsesFlex

        llm = OpenAIResponsesFlex(model="o3", policy={"deadline": 600})
        llm.complete("Why is the sky blue?").additional_kwargs["flextier"]["lane"]
    """

    _limit_field = "max_output_tokens"

    def _begin(self) -> None:
        if self._client is None:
            self._client = self._new(FlexOpenAI)
        if self._aclient is None:
            self._aclient = self._new(AsyncFlexOpenAI)

    @classmethod
    def class_name(cls) -> str:
        """``"openai_responses_flex_llm"``."""
        return "openai_responses_flex_llm"

    def structured_predict(
        self,
        output_cls: Any,
        prompt: Any,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Any:
        """As ``OpenAIResponses.structured_predict``, on the constructor's ``service_tier``."""
        predict = _within_the_span(super().structured_predict)
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
        predict = _within_the_span(super().astructured_predict)
        with CallObserver().listening():
            return await predict(output_cls, prompt, self._with_tier(llm_kwargs), **prompt_args)

    def _with_tier(self, llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """LlamaIndex leaves ``additional_kwargs`` out here: its other fields stay out."""
        if "service_tier" not in self.additional_kwargs:
            return llm_kwargs or {}
        return {"service_tier": self.additional_kwargs["service_tier"], **(llm_kwargs or {})}

    def _make_right(self, fields: dict[str, Any], explicit: dict[str, Any]) -> None:
        super()._make_right(fields, explicit)
        if "top_p" not in explicit and fields.get("top_p") == 1.0:
            del fields["top_p"]
        if self.reasoning_options is not None:
            fields.setdefault("reasoning", self.reasoning_options)


def _within_the_span(method: Any) -> Any:
    """A method without LlamaIndex's span around it: the overriding one has it already."""
    return getattr(method, "__wrapped__", method)
