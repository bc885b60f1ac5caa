"""FlexOpenAI and AsyncFlexOpenAI: the SDK's clients, with model calls routed through the lanes.

Every call of the SDK passes through ``request()`` (``routed_request.py``). There, chat completions
and responses are routed; all other calls pass unchanged.
"""

from __future__ import annotations

import openai
from typing_extensions import Self, Unpack

from flextier.background.waiters import await_stopped, stop_waiters, wait_stopped
from flextier.client.arguments import (
    AsyncConstructorArguments,
    AsyncCopyArguments,
    ConstructorArguments,
    CopyArguments,
)
from flextier.client.routed_request import AsyncRequests, SyncRequests
from flextier.transport.http_clients import async_http_client, sync_http_client


class FlexOpenAI(SyncRequests, openai.OpenAI):
    """``openai.OpenAI`` whose model calls take the cheapest lane that answers in time.

    Args:
        policy: the settings, or a dict of them; None: :class:`FlexPolicy` from the environment.
        timeout: as for ``openai.OpenAI``; bounds an attempt on flex and on standard, also where
            the policy sets a longer ``flex_timeout`` or ``standard_timeout``, and how long the call
            waits for flex (see ``FlexPolicy.patience``).
        max_retries: as for ``openai.OpenAI``; sets the policy's ``max_retries``.
        http_client: as for ``openai.OpenAI``. The default one keeps connections alive through
            minutes of silence, and ends attempts in time even when a body trickles in.
        clock: time, sleep and random numbers, for tests and rehearsals.
        **arguments: every other argument of ``openai.OpenAI``.

    Raises:
        PolicyError: a setting is wrong, or ``max_retries`` contradicts ``policy``.
        TypeError: there is no such argument, or the installed SDK does not have it yet.
    """

    def __init__(self, **arguments: Unpack[ConstructorArguments]) -> None:
        super().__init__(**arguments)

    def copy(self, **arguments: Unpack[CopyArguments]) -> Self:
        """A client with other options, as the SDK's ``copy``, plus ``policy``.

        Its arguments apply to the copy alone, and override those of this client without conflict.
        """
        return self._copied(**arguments)

    with_options = copy

    _default_http_client = staticmethod(sync_http_client)

    def close(self) -> None:
        """As ``openai.OpenAI.close``; before, background responses of waiting calls are cancelled,
        or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            wait_stopped(pending)
        super().close()


class AsyncFlexOpenAI(AsyncRequests, openai.AsyncOpenAI):
    """The async version of :class:`FlexOpenAI`, with the same arguments.

    It can be used under several event loops, one after another or at once.
    """

    def __init__(self, **arguments: Unpack[AsyncConstructorArguments]) -> None:
        super().__init__(**arguments)

    def copy(self, **arguments: Unpack[AsyncCopyArguments]) -> Self:
        """A client with other options, as the SDK's ``copy``, plus ``policy``.

        Its arguments apply to the copy alone, and override those of this client without conflict.
        """
        return self._copied(**arguments)

    with_options = copy

    _default_http_client = staticmethod(async_http_client)

    async def close(self) -> None:
        """As ``openai.AsyncOpenAI.close``; before, background responses that calls wait for are
        cancelled, or returned where they have finished."""
        if (pending := stop_waiters(self._client)) is not None:
            await await_stopped(pending)
        await super().close()
