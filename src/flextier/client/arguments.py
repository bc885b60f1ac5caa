"""The arguments of the clients for type checkers, and the errors for other names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

import openai
from typing_extensions import TypedDict

from flextier._utils.suggest import did_you_mean, unexpected_argument
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


class _Arguments(TypedDict, total=False):
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


class _New(_Arguments, total=False):
    provider: _Provider | None
    max_retries: int
    clock: Clock
    _strict_response_validation: bool
    _enforce_credentials: bool


class _Copied(_Arguments, total=False):
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


class ClientArguments(_New, _Sync, total=False):
    """The arguments of :class:`flextier.FlexOpenAI`."""


class CopyArguments(_Copied, _Sync, total=False):
    """The arguments of its ``copy`` and ``with_options``."""


class AsyncClientArguments(_New, _Async, total=False):
    """The arguments of :class:`flextier.AsyncFlexOpenAI`."""


class AsyncCopyArguments(_Copied, _Async, total=False):
    """The arguments of its ``copy`` and ``with_options``."""


_NEWEST_SDK = frozenset({*ClientArguments.__annotations__, *CopyArguments.__annotations__})


def check_names(function: str, sdk: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check that the SDK's function has the given arguments.

    Raises:
        TypeError: it has not; the message says what to write instead, or the SDK's version.
    """
    known = _parameters(getattr(sdk, "__func__", sdk))
    for name in given:
        if known and name not in known:
            if name in _NEWEST_SDK:
                raise TypeError(f"{function}({name}=): openai {openai.__version__} has no {name}")
            raise unknown_argument(function, given, name, {*known, "policy"})


@lru_cache(maxsize=64)
def _parameters(function: Any) -> frozenset[str]:
    """The names of its parameters; empty if it takes any."""
    parameters = signature(function).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return frozenset()
    return frozenset(parameters) - {"self"}


def unknown_argument(
    function: str, given: Mapping[str, Any], name: str, known: Collection[str], otherwise: str = ""
) -> TypeError:
    """The error for an argument that a function does not have, with what was meant."""
    fields = FlexPolicy.model_fields
    if name in fields:
        hint = f': it is a field of the policy: policy={{"{name}": {given[name]!r}}}'
    else:
        hint = did_you_mean(name, {*known, *fields}) or otherwise
    return unexpected_argument(function, name, hint)
