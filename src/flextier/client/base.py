"""What the two clients share: their arguments, their router, their copies."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import openai
from typing_extensions import Self

from flextier._openai.lean import with_plain_bodies
from flextier._openai.private_names import is_given, not_given
from flextier._openai.request_with_tier import HttpRequests
from flextier._utils.clock import SYSTEM_CLOCK, Clock
from flextier.capacity import CAPACITY
from flextier.client.router import Router
from flextier.client.unknown_arguments import check_names
from flextier.policy import FlexPolicy, PolicyFields
from flextier.routing.timeout_args import ClientArguments, TimeoutArgument, with_retries
from flextier.variables import warn_misspelt


class RoutedClient:
    """The part that both clients share, a mixin before the SDK's class."""

    _router: Router
    _default_http_client: Any

    def __init__(
        self,
        *,
        policy: FlexPolicy | PolicyFields | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        http_client: Any = None,
        clock: Clock = SYSTEM_CLOCK,
        _router: Router | None = None,
        **kwargs: Any,
    ) -> None:
        sdk: Any = super()
        check_names(type(self).__name__, sdk.__init__, kwargs)
        self._router = _router or _new_router(policy, timeout, max_retries, http_client, clock)
        self._http_requests = HttpRequests()
        if is_given(max_retries):
            kwargs["max_retries"] = max_retries
        sdk.__init__(
            timeout=timeout, http_client=http_client or self._default_http_client(), **kwargs
        )

    if not TYPE_CHECKING:  # for checkers these are the SDK's

        @cached_property
        def chat(self) -> Any:
            chat = super().chat
            with_plain_bodies(chat.completions)
            return chat

        @cached_property
        def responses(self) -> Any:
            return with_plain_bodies(super().responses)

    @property
    def policy(self) -> FlexPolicy:
        """The policy of this client, with its own ``timeout`` and ``max_retries``."""
        return self._router.policy

    def _copied(
        self,
        *,
        policy: FlexPolicy | PolicyFields | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        _extra_kwargs: Any = None,
        **kwargs: Any,
    ) -> Self:
        sdk: Any = super()
        check_names(f"{type(self).__name__}.copy", sdk.copy, kwargs)
        given = TimeoutArgument.from_argument(timeout) if is_given(timeout) else TimeoutArgument()
        retries = max_retries if is_given(max_retries) else None
        base = self._router.given
        if policy is not None:
            # A new policy drops the old fields, but not the client's own arguments.
            base = self._router.arguments.as_default_of(FlexPolicy.of(policy))
        arguments = self._router.arguments.updated(given, retries)
        router = Router(
            with_retries(base, None, retries),
            self._router.clock,
            self._router.capacity,
            arguments,
        )
        copied: Self = sdk.copy(
            timeout=timeout,
            max_retries=max_retries,
            _extra_kwargs={**(_extra_kwargs or {}), "_router": router},
            **kwargs,
        )
        return copied

    def __deepcopy__(self, memo: Any) -> Self:
        """A client with the same settings and HTTP client: connections cannot be copied."""
        return self._copied()

    @classmethod
    def adopt(
        cls,
        client: Any,
        *,
        policy: FlexPolicy | PolicyFields | None = None,
        timeout: Any = not_given,
        max_retries: Any = not_given,
        http_client: Any = None,
    ) -> Self:
        """A client of this class with the settings of ``client``, a plain one of the SDK.

        Raises:
            PolicyError: ``max_retries`` contradicts ``policy``.
        """
        router = _new_router(policy, timeout, max_retries, http_client, SYSTEM_CLOCK)
        shell: Any = cls.__new__(cls)
        shell.__dict__.update(client.__dict__)
        shell._router = router
        # The SDK's own copy, so that nothing bound to the old client comes along.
        adopted: Self = shell.copy(http_client=http_client)
        return adopted


def _new_router(
    policy: FlexPolicy | PolicyFields | None,
    timeout: Any,
    max_retries: Any,
    http_client: Any,
    clock: Clock,
) -> Router:
    retries = max_retries if is_given(max_retries) else None
    arguments = ClientArguments(_timeout_argument(timeout, http_client), retries)
    given = None if policy is None else FlexPolicy.of(policy)
    own = with_retries(given or FlexPolicy(), given, retries)
    warn_misspelt()
    return Router(own, clock, CAPACITY, arguments)


def _timeout_argument(timeout: Any, http_client: Any) -> TimeoutArgument:
    """The client's timeout, else that of its HTTP client if not a default, as in the SDK.

    None is what LangChain passes for "not given", with an HTTP client without one.
    """
    if is_given(timeout) and timeout is not None:
        return TimeoutArgument.from_argument(timeout)
    own = getattr(http_client, "timeout", None)
    defaults = [openai.Timeout(5.0), openai.DEFAULT_TIMEOUT]
    if timeout is None:
        defaults.append(openai.Timeout(None))
    if isinstance(own, openai.Timeout) and own not in defaults:
        return TimeoutArgument.from_argument(own)
    return TimeoutArgument()
