"""Whether a call goes through its policy's gateway, or directly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai

from flextier.calls.call import Call
from flextier.errors import GatewayUnavailable
from flextier.gateway.bodies import AsyncBody, SyncBody
from flextier.gateway.call import GatewayCall
from flextier.gateway.connections import gateway_at
from flextier.routing.call import CallSetting
from flextier.routing.steps import Steps


def through_gateway(
    call: Call,
    exchange: Any,
    setting: CallSetting,
    new_wait: Callable[[], Any],
    direct: Callable[[], Steps[Any]],
) -> Steps[Any]:
    """The steps of a call under a policy with a gateway.

    Args:
        call: the call.
        exchange: the client's ``CallExchange`` of it.
        setting: what it is made with.
        new_wait: makes a wait that another thread or task can end.
        direct: returns the steps of the call without a gateway.

    Raises:
        GatewayUnavailable: the gateway cannot be reached, and ``gateway_fallback`` is not local.
    """
    policy = setting.policy
    assert policy.gateway is not None
    gateway, is_async = gateway_at(policy.gateway), isinstance(exchange.client, openai.AsyncOpenAI)
    link = gateway.async_link if is_async else gateway.sync_link
    one = GatewayCall(call, exchange, setting, gateway, link, new_wait)
    try:
        path = yield from gateway.path_of(setting.account.base_url, link, setting.clock, new_wait)
        if path is not None:
            setting.begins(call)  # the row in a ledger is the gateway's
            return (yield from one.steps(path, AsyncBody if is_async else SyncBody))
    except BaseException as error:
        if not (isinstance(error, GatewayUnavailable) and one.may_go_on_locally):
            setting.begins(call)
            one.finish(error)
            raise
        gateway.warn_fallback(error)
        if policy.deadline is not None:
            setting.policy = policy.model_copy(update={"deadline": max(one.left, 0.0)})
    return (yield from direct())
