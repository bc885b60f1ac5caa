"""Router: what the calls of a client share, and how a call begins."""

from __future__ import annotations

from typing import Any

import openai

from flextier._openai.compat import is_given
from flextier._openai.request_options import caller_reads_body, is_journaled, request_facts
from flextier._utils.clock import Clock
from flextier.calls.blocks import call_begins
from flextier.calls.budget import budgets_in_force, load_prices
from flextier.calls.context import current_scope
from flextier.calls.hooks import with_hooks
from flextier.capacity import LimiterRegistry
from flextier.capacity.account_key import AccountKey, account_key
from flextier.client.ledger_setting import start_process_ledger
from flextier.errors import ClientClosedError
from flextier.policy import FlexPolicy
from flextier.routing.call import Route
from flextier.routing.timeout_args import (
    ClientArguments,
    TimeoutArgument,
    policy_in_force,
    policy_of_call,
)
from flextier.variables import is_off


class Router:
    """What the calls of a client share: the policy, the clock, the lanes' state."""

    def __init__(
        self,
        policy: FlexPolicy,
        clock: Clock,
        capacity: LimiterRegistry,
        arguments: ClientArguments,
    ) -> None:
        self.given = policy
        """The policy without the client's ``timeout``."""
        self.policy = arguments.timeout.apply_to(policy)
        self._unchanged = policy_in_force(policy, arguments.timeout)
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
            BudgetExceeded: a budget in force is spent.
            JournalError: the journal cannot be used.
        """
        check_open(client)
        scope = current_scope()
        if not scope.simulated:
            call_begins(scope.blocks)
            start_process_ledger()
        timeout, in_force = self.arguments.timeout, self._unchanged
        if is_given(options.timeout):
            timeout = TimeoutArgument.from_argument(options.timeout, timeout)
        stock = is_off()
        if (
            stock
            or scope.changes
            or scope.until is not None
            or timeout is not self.arguments.timeout
        ):
            in_force = policy_of_call(self.given, timeout, scope, self.clock)
        policy = in_force.policy
        limits = budgets_in_force(policy.budget, scope)
        for spending, limit, knob in limits:
            spending.check(limit, knob)
        externally_timed = client._ends_attempts_in_time and not caller_reads_body(options)
        account = self._account(client)
        scope = with_hooks(scope, account.base_url, options)
        entry = facts = None
        if policy.journal is not None and is_journaled(options):
            from flextier.journal.call_entry import CallEntry  # most programs have no journal

            facts = request_facts(options)
            entry = CallEntry(account.base_url, facts, policy, self.clock)
            if stock and entry.pending_lane is not None:
                entry.stop_waiting()
        try:
            route = Route(
                options,
                policy,
                timeout,
                externally_timed,
                scope,
                self.clock,
                self.capacity,
                account,
                entry,
                facts,
                in_force.limits,
            )
        except BaseException:
            if entry is not None:
                entry.release()
            raise
        if limits:
            route.cost_callbacks = [spending.charge for spending, _, _ in limits]
        return route

    def _account(self, client: openai.OpenAI | openai.AsyncOpenAI) -> AccountKey:
        """The base URL and the account: the state of lanes is kept for each."""
        url = client.base_url
        if url is not self._url:
            self._url, self._url_text = url, str(url)
        # A provider may return another key each time, so it identifies the account itself.
        provider = getattr(client, "_api_key_provider", None)
        key = client.api_key if provider is None else f"provider {id(provider)}"
        return account_key(self._url_text, key, client.organization, client.project)


def check_open(client: Any) -> None:
    """Raise if the client was closed, possibly while the call waited.

    Raises:
        ClientClosedError: it was.
    """
    if client.is_closed():
        raise ClientClosedError(
            f"this {type(client).__name__} (or the http_client it was given) has been closed: "
            "create a new one, or keep its `with` block open while calls run"
        )
