"""ChatOpenAIFlex: LangChain's ChatOpenAI on FlexOpenAI clients."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import lru_cache
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import openai
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from flextier._openai.requested_call import NO_STREAM_USAGE
from flextier._openai.wrap_client import non_default_arguments, should_route
from flextier._utils.extras import needs_extra
from flextier._utils.interrupt import Interrupt, interruptible
from flextier.calls.context import SCOPE
from flextier.calls.report import CallReport
from flextier.calls.run_tracking import need_run_tracking
from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI
from flextier.client.unknown_arguments import POLICY_ARGUMENTS, misplaced_argument
from flextier.errors import PolicyError
from flextier.langchain.api_choice import fits_responses, needs_responses, responses_arguments
from flextier.langchain.argument_names import check_names
from flextier.langchain.cache_key import NAMESPACE, parents_key
from flextier.langchain.callbacks import calls_of, run_listener, run_of_config
from flextier.langchain.errors import raise_with_report
from flextier.langchain.run_tracking import watch_runs
from flextier.policy import FlexPolicy, PolicyField
from flextier.transport.http_clients import SocketOption, async_http_client, sync_http_client
from flextier.variables import OFF, is_off

with needs_extra("langchain"):
    from langchain_core.globals import get_llm_cache
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.runnables import RunnableConfig
    from langchain_core.utils import get_pydantic_field_names
    from langchain_openai import ChatOpenAI
    from langchain_openai.chat_models._client_utils import (
        _AsyncHttpxClientWrapper,
        _resolve_socket_options,
        _SyncHttpxClientWrapper,
    )

# The parent's default clients, which are replaced: they break under a second event loop.
_PARENTS_HTTP_CLIENTS = (_SyncHttpxClientWrapper, _AsyncHttpxClientWrapper)

_CHUNK_TIMEOUT_VARIABLE = "LANGCHAIN_OPENAI_STREAM_CHUNK_TIMEOUT_S"


def _stream_chunk_timeout() -> Any:
    """None, unless the parent's environment variable is set."""
    if _CHUNK_TIMEOUT_VARIABLE not in os.environ:
        return None
    return ChatOpenAI.model_fields["stream_chunk_timeout"].get_default(call_default_factory=True)


class ChatOpenAIFlex(ChatOpenAI):
    """``ChatOpenAI`` whose calls go through the flex lane and always come back.

    Every argument of ``ChatOpenAI`` keeps its meaning. ``timeout`` bounds each attempt, and
    ``max_retries`` sets the field of the policy. With a ``service_tier`` other than ``"auto"`` and
    ``"flex"``, calls stay on that tier.

    Each answer carries its report in ``response_metadata["flextier"]``: lane, attempts, seconds
    waited, reason of a fallback. Retries reach callbacks as ``on_retry``.

    Example::

        from flextier.langchain import ChatOpenAIFlex

        llm = ChatOpenAIFlex(model="o3", policy={"deadline": 600})
        llm.invoke("Why is the sky blue?").response_metadata["flextier"]["lane"]
    """

    # A validation error must not print the arguments: the key is one of them.
    model_config = ConfigDict(hide_input_in_errors=True)

    policy: PolicyField = Field(default_factory=PolicyField)
    """How calls are routed; a :class:`flextier.FlexPolicy` or a dict of its fields. Default: from
    the ``FLEXTIER_*`` environment variables."""

    stream_chunk_timeout: float | None = Field(default_factory=_stream_chunk_timeout, exclude=True)
    """``ChatOpenAI``'s watchdog over async streams. Off by default (there: 120 s, too short for
    flex): the policy's timeouts bound the silence before and between a stream's events."""

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: Any) -> Any:
        """Reject misspelt names, which the parent would send to the API as ``model_kwargs``."""
        if isinstance(values, dict):
            check_names(cls.__name__, values, get_pydantic_field_names(cls))
        return values

    @model_validator(mode="after")
    def _route_through_flex(self) -> Self:
        self._adopt_clients()
        return self

    def _adopt_clients(self) -> None:
        """Replace the clients that the parent's validators made by routed ones."""
        self._adopt("client", openai.OpenAI, FlexOpenAI, self.http_client, _shared_sync)
        self._adopt(
            "async_client",
            openai.AsyncOpenAI,
            AsyncFlexOpenAI,
            self.http_async_client,
            _shared_async,
        )
        clients = (self.root_client, self.root_async_client)
        if need_run_tracking(self.policy, *(getattr(client, "policy", None) for client in clients)):
            watch_runs()

    def _adopt(self, name: str, plain: Any, flex: Any, http_client: Any, shared: Any) -> None:
        """Replace an SDK client, also if only its ``chat.completions`` was given."""
        root = getattr(self, f"root_{name}")
        if root is None:
            root = getattr(getattr(self, name), "_client", None)
        if should_route(root, plain, flex, f"root_{name}"):
            routed = self._routed(flex, root, http_client, shared)
            setattr(self, f"root_{name}", routed)
            setattr(self, name, routed.chat.completions)

    def _routed(self, flex: Any, root: Any, http_client: Any, shared: Any) -> Any:
        if isinstance(root, flex):
            return root.copy(policy=self.policy) if "policy" in self.model_fields_set else root
        settings: dict[str, Any] = {"timeout": self.request_timeout}
        if self.max_retries is not None:
            settings["max_retries"] = self.max_retries
        if self.openai_proxy or isinstance(root._client, _PARENTS_HTTP_CLIENTS):
            settings["http_client"] = _open_client(shared, self._http_settings())
        elif http_client is None:
            # The caller's client: its own arguments apply, unless the model has explicit ones.
            settings = {
                **non_default_arguments(root),
                **{k: v for k, v in settings.items() if v is not None},
            }
        return flex.adopt(root, policy=self.policy, **settings)

    def _http_settings(self) -> _HttpSettings:
        return _HttpSettings(
            self.openai_api_base,
            repr(self.request_timeout),
            tuple(_resolve_socket_options(self.http_socket_options)),
            self.openai_proxy,
        )

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """A copy, as pydantic makes it; with another ``policy``, on clients that follow it."""
        copied = super().model_copy(update=update, deep=deep)
        if update and "policy" in update:
            copied.policy = update["policy"]
        return copied

    if not TYPE_CHECKING:  # for checkers, it would allow to set any name

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, FlexPolicy.of(value) if name == "policy" else value)
            if name == "policy":
                self._adopt_clients()

    def _for_call(
        self, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[Self, dict[str, Any]]:
        """The model and the arguments of one call.

        A copy on the Responses API, if only that has the call's lanes, and all that the call asks
        for; else this model, on the API that the parent chooses.
        """
        if not POLICY_ARGUMENTS.isdisjoint(kwargs):
            raise misplaced_argument(type(self).__name__, kwargs)
        model = kwargs.get("model", self.model_name)
        if self.use_responses_api is not None or not self._needs_responses(model):
            return self, kwargs
        fields = {**self._default_params, **kwargs}
        if self._use_responses_api(fields) or not fits_responses(
            fields, lambda: self._get_request_payload(messages, stop=stop, **kwargs)
        ):
            return self, kwargs
        arguments = responses_arguments({**self.model_kwargs, **kwargs}, fields.get("extra_body"))
        return self.model_copy(update={"use_responses_api": True, "model_kwargs": {}}), arguments

    def _needs_responses(self, model: str) -> bool:
        """Whether only the Responses API has the lanes of a call made here."""
        if os.environ.get(OFF) and is_off():
            return False
        router = getattr(self.root_client, "_router", None)
        policy: FlexPolicy = self.policy if router is None else router.policy
        changes = {k: v for k, v in SCOPE.get().changes if k in ("lanes", "lane_support")}
        if changes:
            with suppress(PolicyError):  # the call itself raises it
                policy = policy.replace(**changes)
        return needs_responses(policy.lanes, policy.lane_support, model)

    def _stream_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a stream; with ``stream_usage=False`` its usage is not requested."""
        requested = arguments.get("stream_usage")
        if (self.stream_usage if requested is None else requested) is not False:
            return arguments
        headers = arguments.get("extra_headers") or self.model_kwargs.get("extra_headers") or {}
        return {**arguments, "extra_headers": {**headers, **NO_STREAM_USAGE}}

    # --- calls --------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        model, kwargs = self._for_call(messages, stop, kwargs)
        return super(ChatOpenAIFlex, model)._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        model, kwargs = self._for_call(messages, stop, kwargs)
        return await super(ChatOpenAIFlex, model)._agenerate(messages, stop, run_manager, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        reports: list[CallReport] = []
        model, kwargs = self._for_call(messages, stop, kwargs)
        kwargs = model._stream_arguments(kwargs)
        chunks = super(ChatOpenAIFlex, model)._stream(
            messages, stop=stop, run_manager=run_manager, **kwargs
        )
        last_chunk = _LastChunk()
        try:
            # The request is made for the first chunk: a listener set then gets the whole call.
            with calls_of(run_manager, reports.append), run_listener(run_manager):
                first = next(chunks, None)
            for chunk in _chain(first, chunks):
                if last_chunk.passes(chunk):
                    yield chunk
        except openai.OpenAIError as error:
            raise_with_report(error)
        last = last_chunk.with_report(reports)
        if last is not None:
            if run_manager is not None and last_chunk.is_new:
                run_manager.on_llm_new_token("", chunk=last)
            yield last

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        reports: list[CallReport] = []
        model, kwargs = self._for_call(messages, stop, kwargs)
        kwargs = model._stream_arguments(kwargs)
        chunks = super(ChatOpenAIFlex, model)._astream(
            messages, stop=stop, run_manager=run_manager, **kwargs
        )
        last_chunk = _LastChunk()
        try:
            with calls_of(run_manager, reports.append), run_listener(run_manager):
                first = await anext(chunks, None)
            async for chunk in _achain(first, chunks):
                if last_chunk.passes(chunk):
                    yield chunk
        except openai.OpenAIError as error:
            raise_with_report(error)
        last = last_chunk.with_report(reports)
        if last is not None:
            if run_manager is not None and last_chunk.is_new:
                await run_manager.on_llm_new_token("", chunk=last)
            yield last

    # --- retries to callbacks: LangChain passes no run manager to _stream ---------------------

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """As ``ChatOpenAI.stream``; retries reach the callbacks as ``on_retry``."""
        config, manager = run_of_config(self, config, is_async=False)
        chunks = super().stream(input, config, stop=stop, **kwargs)
        with calls_of(manager), run_listener(manager):
            first = next(chunks, None)
        yield from _chain(first, chunks)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """As ``ChatOpenAI.astream``; retries reach the callbacks as ``on_retry``."""
        config, manager = run_of_config(self, config, is_async=True)
        chunks = super().astream(input, config, stop=stop, **kwargs)
        with calls_of(manager), run_listener(manager):
            first = await anext(chunks, None)
        async for chunk in _achain(first, chunks):
            yield chunk

    # --- Ctrl-C: the parent's executor would wait for all calls that have begun -----------------

    if not TYPE_CHECKING:  # checkers have the parent's signatures

        def batch(self, *args: Any, **kwargs: Any) -> list[Any]:
            """As ``ChatOpenAI.batch``; Ctrl-C ends the calls that wait."""
            with interruptible(Interrupt()):
                return super().batch(*args, **kwargs)

        def batch_as_completed(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
            """As ``ChatOpenAI.batch_as_completed``; Ctrl-C ends the calls that wait."""
            results = super().batch_as_completed(*args, **kwargs)
            interrupt = Interrupt()
            while True:
                with interruptible(interrupt):
                    if (result := next(results, None)) is None:
                        return
                yield result

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        reports: list[CallReport] = []
        try:
            with calls_of(run_manager, reports.append), run_listener(run_manager):
                result = super()._generate_with_cache(messages, stop, run_manager, **kwargs)
        except openai.OpenAIError as error:
            raise_with_report(error)
        return _with_report(self, result, reports)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        reports: list[CallReport] = []
        try:
            with calls_of(run_manager, reports.append), run_listener(run_manager):
                result = await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        except openai.OpenAIError as error:
            raise_with_report(error)
        return _with_report(self, result, reports)

    # --- serialisation ------------------------------------------------------------------------

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The cache key: the parent's for the same arguments, whatever the policy."""
        key = super()._get_llm_string(stop, **kwargs)
        return parents_key(key, self.name) if self.is_lc_serializable() else key

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where LangChain's ``load`` finds this class: ``["flextier", "langchain"]``."""
        return list(NAMESPACE)

    @property
    def lc_attributes(self) -> dict[str, Any]:
        """The parent's, and the policy's explicit fields as plain JSON."""
        policy = self.policy.model_dump(mode="json", exclude_unset=True)
        return {**super().lc_attributes, "policy": policy}


for _method in (ChatOpenAIFlex._generate, ChatOpenAIFlex._agenerate):
    # LangChain inspects it in each call, which takes less time where it is kept.
    _method.__dict__["__signature__"] = signature(_method)


def _with_report(llm: ChatOpenAIFlex, result: ChatResult, reports: list[CallReport]) -> ChatResult:
    """The result with this call's report; without one if LangChain's cache answered."""
    report = {"flextier": reports[-1].to_dict()} if reports else {}
    if reports and not _is_cached(llm):
        for generation in result.generations:
            generation.message.response_metadata.update(report)
    else:
        result.generations = [_reported(one, report) for one in result.generations]
    return result


def _is_cached(llm: ChatOpenAIFlex) -> bool:
    """Whether LangChain's cache may hold the results of a model, too."""
    if llm.cache is None or llm.cache is True:
        return get_llm_cache() is not None
    return llm.cache is not False


def _reported(generation: ChatGeneration, report: dict[str, Any]) -> ChatGeneration:
    """A copy with this report alone: LangChain's cache holds generations, and those of streamed
    calls with their reports."""
    metadata = generation.message.response_metadata
    kept = {name: value for name, value in metadata.items() if name != "flextier"}
    message = generation.message.model_copy(update={"response_metadata": {**kept, **report}})
    return generation.model_copy(update={"message": message})


class _LastChunk:
    """The last chunk of a stream, which carries the report."""

    def __init__(self) -> None:
        self._last: ChatGenerationChunk | None = None
        self._content: type[Any] = str
        self.is_new = False
        """Whether the parent did not make the last chunk."""

    def passes(self, chunk: ChatGenerationChunk) -> bool:
        """Whether to yield a chunk at once; the one marked as the last is kept."""
        self._content = type(chunk.message.content)
        if getattr(chunk.message, "chunk_position", None) != "last":
            return True
        self._last = chunk
        return False

    def with_report(self, reports: list[CallReport]) -> ChatGenerationChunk | None:
        """The last chunk with the report: the parent's, or else an empty one."""
        if not reports:
            return self._last
        if self._last is None:
            self.is_new = True
            message = AIMessageChunk(content=self._content(), chunk_position="last")
            self._last = ChatGenerationChunk(message=message)
        self._last.message.response_metadata["flextier"] = reports[-1].to_dict()
        return self._last


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
        yield from rest


async def _achain(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    if first is not None:
        yield first
        async for item in rest:
            yield item


# --- HTTP clients, shared by all models with the same settings, as LangChain's own are -----------


class _HttpSettings(NamedTuple):
    # base_url and timeout are in LangChain's cache key, too.
    base_url: str | None
    timeout: str
    socket_options: tuple[SocketOption, ...]
    proxy: str | None


@lru_cache(maxsize=64)
def _shared_sync(settings: _HttpSettings) -> Any:
    return sync_http_client(socket_options=settings.socket_options, proxy=settings.proxy)


@lru_cache(maxsize=64)
def _shared_async(settings: _HttpSettings) -> Any:
    return async_http_client(socket_options=settings.socket_options, proxy=settings.proxy)


def _open_client(shared: Any, settings: _HttpSettings) -> Any:
    """The shared client; a new one if it was closed."""
    client = shared(settings)
    if client.is_closed:
        shared.cache_clear()
        client = shared(settings)
    return client
