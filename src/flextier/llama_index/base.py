"""The base of both LLMs: routed clients, settings and reports; LlamaIndex's retries are off."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

import openai
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_serializer, model_serializer
from typing_extensions import Self

from flextier._openai.private_names import not_given
from flextier._openai.wrap_client import non_default_arguments, should_route
from flextier._utils.extras import needs_extra
from flextier._utils.safe_warn import callers_level
from flextier._utils.suggest import did_you_mean
from flextier.calls.run_tracking import need_run_tracking
from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
from flextier.client.unknown_arguments import POLICY_ARGUMENTS, misplaced_argument, unknown_argument
from flextier.llama_index.events import CallObserver
from flextier.llama_index.model_info import FALLBACK_CONTEXT_WINDOW, model_info
from flextier.llama_index.report_metadata import astreamed, streamed
from flextier.llama_index.run_tracking import watch_runs
from flextier.policy import FlexPolicy, PolicyField
from flextier.routing.timeout_args import TimeoutArgument, with_retries

with needs_extra("llama-index"):
    from llama_index.core.base.llms.types import (
        ChatMessage,
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        LLMMetadata,
    )
    from llama_index.core.constants import DEFAULT_TEMPERATURE
    from llama_index.llms.openai.utils import ALL_AVAILABLE_MODELS

# How calls are routed does not change responses, so these fields are in no cache key.
_ROUTING_FIELDS = frozenset({"policy", "timeout", "max_retries", "stream_usage"})

_SAVED: ContextVar[Any] = ContextVar("flextier_saved_llm", default=None)

# Keeps LlamaIndex's constructor from creating a client: ours are set after it.
_PLACEHOLDER: Any = object()


class FlexLLM(BaseModel):
    """A mixin before an LLM class of LlamaIndex: the arguments that flextier adds or changes.

    Raises:
        PolicyError: ``max_retries`` contradicts ``policy``, or a value is wrong.
        ValueError: the context size of the model is unknown; the message names the argument.
        TypeError: there is no such argument.
    """

    # A validation error must not print the arguments: the key is one of them.
    model_config = ConfigDict(hide_input_in_errors=True)

    policy: PolicyField = Field(default_factory=PolicyField)
    """How calls are routed; a :class:`flextier.FlexPolicy` or a dict of its fields. Default: from
    the ``FLEXTIER_*`` environment variables."""

    timeout: float | None = Field(default=None, ge=0)
    """Seconds that one attempt may take on flex and on standard, even if the policy's
    ``flex_timeout`` or ``standard_timeout`` is longer. None (LlamaIndex: 60): those apply."""

    max_retries: int | None = Field(default=None, ge=0)
    """Sets the policy's ``max_retries``. None (LlamaIndex: 3): the policy's applies."""

    context_window: int | None = Field(default=None, gt=0)
    """Tokens of the model's context. None: from LlamaIndex's tables, which may lack the model."""

    api_key: str | None = Field(default=None, exclude=True, repr=False)

    _max_tokens_field: ClassVar[str]
    """The name of LlamaIndex's field for the maximum number of output tokens."""

    _class_name: ClassVar[str]

    _client: Any = PrivateAttr()
    _aclient: Any = PrivateAttr()

    if TYPE_CHECKING:  # LlamaIndex's
        model: str = ""
        additional_kwargs: dict[str, Any] = {}

        def _get_credential_kwargs(self, is_async: bool = False) -> dict[str, Any]: ...

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        llm: Any = super()
        given = {
            "timeout": None,
            "max_retries": None,
            **self._keyword_arguments(llm.__init__, args, kwargs),
        }
        sync = given.pop("openai_client", None)
        asynchronous = given.pop("async_openai_client", None)
        if given.get("policy") is None:
            given.pop("policy", None)
        else:
            given["policy"] = FlexPolicy.of(given["policy"])
        llm.__init__(**given, openai_client=_PLACEHOLDER, async_openai_client=_PLACEHOLDER)
        self._check_arguments()
        self._client = self._routed(sync, openai.OpenAI, FlexOpenAI, "openai_client")
        self._aclient = self._routed(
            asynchronous, openai.AsyncOpenAI, AsyncFlexOpenAI, "async_openai_client"
        )
        self._watch_runs()
        self._create_clients()

    def _keyword_arguments(
        self, init: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """All arguments by name, positional ones included. LlamaIndex ignores unknown names."""
        signature = inspect.signature(init)
        known = {*signature.parameters, *type(self).model_fields, "max_new_tokens"}
        for name in kwargs.keys() - known:
            hint = "; parameters of the API go into additional_kwargs"
            raise unknown_argument(type(self).__name__, kwargs, name, known, hint)
        if not args:
            return kwargs
        bound = signature.bind(*args, **kwargs).arguments
        return {**bound, **bound.pop("kwargs", {})}

    @classmethod
    def class_name(cls) -> str:
        """``"openai_flex_llm"``, ``"openai_responses_flex_llm"``."""
        return cls._class_name

    def _watch_runs(self) -> None:
        clients = (self._client, self._aclient)
        if need_run_tracking(self.policy, *(getattr(client, "policy", None) for client in clients)):
            watch_runs()

    def _create_clients(self) -> None:
        """Create clients that were not given, if the LLM does not do so at the first call."""

    def _check_arguments(self) -> None:
        """Check that the arguments fit together, before the first call uses them."""
        if self.timeout is not None:
            TimeoutArgument.from_argument(self.timeout).apply_to(self.policy)
        with_retries(self.policy, self.policy, self.max_retries)
        model, window = self.model, self._window()
        if self.context_window is None and model_info(model).context_window is None:
            warnings.warn(
                f"the context size of {model!r} is not in LlamaIndex's table: prompts are packed "
                f"for {window} tokens. Give context_window= to say better",
                stacklevel=callers_level(),
            )

    # --- clients ------------------------------------------------------------------------------

    def _get_client(self) -> Any:
        return self._kept_client("_client", FlexOpenAI)

    def _get_aclient(self) -> Any:
        return self._kept_client("_aclient", AsyncFlexOpenAI)

    def _kept_client(self, name: str, flex: Any) -> Any:
        llm: Any = self
        if not llm.reuse_client:
            return self._new_client(flex)
        if getattr(self, name) is None:
            setattr(self, name, self._new_client(flex))
        return getattr(self, name)

    def _new_client(self, flex: Any) -> Any:
        """A new client of class ``flex`` with LlamaIndex's credentials."""
        credentials = self._get_credential_kwargs(is_async=flex is AsyncFlexOpenAI)
        # A copy with another policy may contradict the settings: the policy takes precedence.
        return flex(**{**credentials, **self._settings()}).copy(policy=self.policy)

    def _settings(self) -> dict[str, Any]:
        return {
            "timeout": not_given if self.timeout is None else self.timeout,
            "max_retries": not_given if self.max_retries is None else self.max_retries,
        }

    def _routed(self, client: Any, plain: Any, flex: Any, argument: str) -> Any:
        """The caller's client, routed; the LLM's explicit arguments override the client's."""
        if not should_route(client, plain, flex, argument):
            return client
        if isinstance(client, flex):
            return client.copy(policy=self.policy) if "policy" in self.model_fields_set else client
        given = {name: value for name, value in self._settings().items() if value is not not_given}
        return flex.adopt(client, policy=self.policy, **{**non_default_arguments(client), **given})

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """A copy, as pydantic makes it; with another ``policy``, on clients that follow it."""
        # Pydantic's own deep copy with an update does not call __deepcopy__.
        original = self.__deepcopy__() if deep else self
        copied = super(FlexLLM, original).model_copy(update=update)
        if update and "policy" in update:
            copied.policy = update["policy"]
        return copied

    if not TYPE_CHECKING:  # for checkers, it would allow to set any name

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, FlexPolicy.of(value) if name == "policy" else value)
            if name == "policy":
                self._follow_policy()

    def _follow_policy(self) -> None:
        """Replace the clients by ones with the policy that was set."""
        for name, flex in (("_client", FlexOpenAI), ("_aclient", AsyncFlexOpenAI)):
            client = getattr(self, name)
            if isinstance(client, flex):
                setattr(self, name, client.copy(policy=self.policy))
        self._watch_runs()

    def __deepcopy__(self, memo: Any = None) -> Self:
        """A deep copy on the same clients: their connections cannot be copied."""
        memo = {} if memo is None else memo
        for value in (self.__pydantic_private__ or {}).values():
            if hasattr(value, "close") or hasattr(value, "aclose"):
                memo[id(value)] = value
        return super().__deepcopy__(memo)

    # --- calls: LlamaIndex's own, without its retries, with the report ------------------------

    def _chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        observer = CallObserver()
        with observer.listening():
            try:
                response: ChatResponse = self._own("_chat")(self, messages, **kwargs)
            except AttributeError as error:
                # LlamaIndex reads the usage, which a failed response does not have.
                raise observer.failed_response_error() or error from error
        return observer.with_report(response)

    async def _achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        observer = CallObserver()
        with observer.listening():
            response: ChatResponse = await self._own("_achat")(self, messages, **kwargs)
        return observer.with_report(response)

    def _stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return streamed(self._own("_stream_chat")(self, messages, **kwargs), CallObserver())

    async def _astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        chunks = await self._own("_astream_chat")(self, messages, **kwargs)
        return astreamed(chunks, CallObserver())

    @classmethod
    def _own(cls, name: str) -> Any:
        """LlamaIndex's method by that name, without its retries."""
        return undecorated(getattr(super(), name))

    def _get_model_kwargs(self, **kwargs: Any) -> dict[str, Any]:
        """The fields of a request: LlamaIndex's, corrected for models that it does not list.

        The call's ``service_tier`` overrides the constructor's. A call's ``additional_kwargs`` are
        treated like its other fields.
        """
        llm: Any = super()
        if not POLICY_ARGUMENTS.isdisjoint(kwargs):
            raise misplaced_argument(type(self).__name__, kwargs)
        if "additional_kwargs" in kwargs:
            kwargs = {**kwargs.pop("additional_kwargs"), **kwargs}
        fields: dict[str, Any] = llm._get_model_kwargs(**kwargs)
        if "service_tier" in kwargs:
            fields["service_tier"] = kwargs["service_tier"]
        if fields.get("stream"):
            self._adapt_stream(fields)
        facts = model_info(self.model)
        if facts.is_reasoning and not facts.listed:
            self._adapt_to_reasoning_model(fields, {**self.additional_kwargs, **kwargs})
        return fields

    def _adapt_stream(self, fields: dict[str, Any]) -> None:
        """Change the fields of a request for a stream."""

    def _adapt_to_reasoning_model(self, fields: dict[str, Any], explicit: dict[str, Any]) -> None:
        """Change the fields of a request to those that reasoning models accept."""
        if "temperature" not in explicit and fields.get("temperature") == DEFAULT_TEMPERATURE:
            del fields["temperature"]

    # --- the model ----------------------------------------------------------------------------

    @property
    def metadata(self) -> LLMMetadata:
        """Context size and features of the model, also for models that LlamaIndex does not list.

        Raises:
            ValueError: the context size of the model is unknown.
        """
        llm: Any = super()
        facts = model_info(self.model)
        if facts.listed:
            known: LLMMetadata = llm.metadata
            if self.context_window is None:
                return known
            return known.model_copy(update={"context_window": self.context_window})
        return LLMMetadata(
            context_window=self._window(),
            num_output=getattr(self, self._max_tokens_field) or -1,
            is_chat_model=facts.is_chat,
            is_function_calling_model=facts.supports_tools,
            model_name=self.model,
        )

    def _window(self) -> int:
        facts = model_info(self.model)
        if self.context_window is not None:
            return self.context_window
        if facts.context_window is not None:
            return facts.context_window
        if facts.is_reasoning:
            return FALLBACK_CONTEXT_WINDOW
        hint = did_you_mean(self.model, ALL_AVAILABLE_MODELS, 0.75)
        raise ValueError(
            f"give {type(self).__name__}(context_window=<tokens>): the context size of "
            f"{self.model!r} is unknown to LlamaIndex{hint}"
        )

    # --- serialisation ------------------------------------------------------------------------

    @field_serializer("policy")
    def _serialize_policy(self, policy: FlexPolicy) -> dict[str, Any]:
        return policy.model_dump(mode="json", exclude_unset=True)

    def model_dump(self, **kwargs: Any) -> dict[str, Any]:
        """The fields without secrets, as pydantic's ``model_dump``."""
        with self._saving():
            return super().model_dump(**kwargs)

    def model_dump_json(self, **kwargs: Any) -> str:
        """The fields without secrets, as pydantic's ``model_dump_json``."""
        with self._saving():
            return super().model_dump_json(**kwargs)

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Mark this LLM as the object that is saved, and not a part of it."""
        token = _SAVED.set(self)
        try:
            yield
        finally:
            _SAVED.reset(token)

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: Any, info: Any) -> dict[str, Any]:
        """The fields without secrets: no API key, and nothing whose name is that of a secret.

        As a part of another object, such as a transformation, whose cache key is made from it: also
        without the fields of routing, and without a context window that was not given.
        """
        fields: dict[str, Any] = _without_secrets(handler(self))
        if _SAVED.get() is not self:
            fields = {name: value for name, value in fields.items() if name not in _ROUTING_FIELDS}
            if self.context_window is None:
                fields.pop("context_window", None)
        return {**fields, "class_name": self.class_name()}

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, _without_secrets(value)


def undecorated(method: Any) -> Any:
    """A method of LlamaIndex's without its decorator, which retries it or makes a span."""
    return getattr(method, "__wrapped__", method)


_SECRET_NAME = re.compile(
    r"(^|[-_])((api|subscription)[-_]?key|auth|authorization|token|secret|password|cookie)$", re.I
)


def _without_secrets(value: Any) -> Any:
    """The value without entries of dicts in it whose name is that of a secret."""
    if isinstance(value, dict):
        return {
            name: _without_secrets(item)
            for name, item in value.items()
            if not (isinstance(name, str) and _SECRET_NAME.search(name))
        }
    if isinstance(value, (list, tuple)):
        return [_without_secrets(item) for item in value]
    return value
