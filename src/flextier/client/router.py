"""Router: what a client knows that its calls need, and how one of them begins."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import openai

from flextier._openai.compat import is_given
from flextier._openai.request_options import caller_reads_body, is_journaled, request_facts
from flextier._utils.clock import Clock
from flextier.calls.budget import budgets_in_force, load_prices
from flextier.calls.context import current_scope
from flextier.calls.hooks import with_hooks
from flextier.capacity import Capacity
from flextier.errors import ClientClosedError
from flextier.policy import FlexPolicy
from flextier.routing.call import Route
from flextier.routing.timeout_args import ClientArguments, TimeoutArgument


class Router:
    """What a client knows that its calls need: the policy, the clock, the lanes' state."""

    def __init__(
        self, policy: FlexPolicy, clock: Clock, capacity: Capacity, arguments: ClientArguments
    ) -> None:
        self.policy = policy
        self.clock = clock
        self.capacity = capacity
        self.arguments = arguments
        self._url: Any = None
        self._url_text = ""
        if policy.budget is not None:
            load_prices()

    def route(self, client: Any, options: Any) -> Route:
        """Begin a call.

        Raises:
            ClientClosedError: the client was closed.
            PolicyError: an override in force does not fit the policy.
            BudgetExceeded: the calls before have spent a budget in force.
            JournalError: the journal cannot be used.
        """
        check_open(client)
        scope = current_scope()
        policy = self.policy.replace(**dict(scope.changes)) if scope.changes else self.policy
        limits = budgets_in_force(policy.budget, scope)
        for spending, limit, knob in limits:
            spending.check(limit, knob)
        timeouts = self.arguments.timeouts
        if is_given(options.timeout):
            timeouts = TimeoutArgument.of(options.timeout, timeouts)
            policy = timeouts.applied_to(policy)
        watched = client._watches_attempts and not caller_reads_body(options)
        where = self._where(client)
        scope = with_hooks(scope, where[0], options)
        memory = told = None
        if policy.journal is not None and is_journaled(options):
            from flextier.journal.call_entry import Memory  # few programs have a journal

            told = request_facts(options)
            memory = Memory(where[0], told, policy, self.clock)
        try:
            route = Route(
                options,
                policy,
                timeouts,
                watched,
                scope,
                self.clock,
                self.capacity,
                where,
                memory,
                told,
            )
        except BaseException:
            if memory is not None:
                memory.release()
            raise
        if limits:
            route.charged = [spending.charge for spending, _, _ in limits]
        return route

    def _where(self, client: openai.OpenAI | openai.AsyncOpenAI) -> tuple[str, str]:
        """Base URL and account: what lanes are remembered for."""
        url = client.base_url
        if url is not self._url:
            self._url, self._url_text = url, str(url)
        # A key that is asked for anew each time is no name; who is asked for it, is.
        provider = getattr(client, "_api_key_provider", None)
        key = client.api_key if provider is None else f"provider {id(provider)}"
        return _where(self._url_text, key, client.organization, client.project)


def check_open(client: Any) -> None:
    """Nothing can be sent by a client that was closed, maybe while the call waited.

    Raises:
        ClientClosedError: it was.
    """
    if client.is_closed():
        raise ClientClosedError(
            f"this {type(client).__name__} (or the http_client it was given) has been closed: "
            "make a new one, or keep its `with` block open while calls run"
        )


@lru_cache(maxsize=64)
def _where(
    base_url: str, api_key: str, organization: str | None, project: str | None
) -> tuple[str, str]:
    """The base URL, and a name for an account that gives nothing away."""
    words = "\0".join((api_key, organization or "", project or ""))
    return base_url, hashlib.sha256(words.encode()).hexdigest()[:12]
