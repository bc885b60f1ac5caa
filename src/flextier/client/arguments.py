"""The arguments of the clients, for type checkers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import openai
from typing_extensions import TypedDict

from flextier.policy import FlexPolicy, PolicyFields

if TYPE_CHECKING:
    from openai._base_client import URL  # type: ignore[attr-defined]  # httpx's, or httpx2's
    from openai.auth import WorkloadIdentity

    from flextier._utils.clock import Clock

    # Not in every SDK that is supported.
    from openai._data_residency import (  # type: ignore[import-not-found, unused-ignore] # isort: skip
        DataResidency,
    )
    from openai._provider import _Provider  # isort: skip
    from openai.auth import X509WorkloadIdentity  # type: ignore[attr-defined, unused-ignore] # isort: skip


class _SharedArguments(TypedDict, total=False):
    """What the newest tested SDK takes in the constructor and in ``copy``, and ``policy``."""

    policy: FlexPolicy | PolicyFields | None
    admin_api_key: str | None
    workload_identity: WorkloadIdentity | X509WorkloadIdentity | None
    organization: str | None
    project: str | None
    webhook_secret: str | None
    base_url: str | URL | openai.NotGiven | None
    data_residency: DataResidency | None
    websocket_base_url: str | URL | None
    timeout: float | openai.Timeout | openai.NotGiven | None
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None


class _New(_SharedArguments, total=False):
    provider: _Provider | None
    max_retries: int
    clock: Clock
    _strict_response_validation: bool
    _enforce_credentials: bool


class _Copied(_SharedArguments, total=False):
    provider: _Provider | openai.NotGiven | None
    max_retries: int | openai.NotGiven
    set_default_headers: Mapping[str, str] | None
    set_default_query: Mapping[str, object] | None
    _enforce_credentials: bool | None
    _extra_kwargs: Mapping[str, Any]


class _Sync(TypedDict, total=False):
    api_key: str | Callable[[], str] | None
    http_client: openai.DefaultHttpxClient | None


class _Async(TypedDict, total=False):
    api_key: str | Callable[[], Awaitable[str]] | None
    http_client: openai.DefaultAsyncHttpxClient | None


class ConstructorArguments(_New, _Sync, total=False):
    """The arguments of :class:`flextier.FlexOpenAI`."""


class CopyArguments(_Copied, _Sync, total=False):
    """The arguments of its ``copy`` and ``with_options``."""


class AsyncConstructorArguments(_New, _Async, total=False):
    """The arguments of :class:`flextier.AsyncFlexOpenAI`."""


class AsyncCopyArguments(_Copied, _Async, total=False):
    """The arguments of its ``copy`` and ``with_options``."""
