"""SDK clients that a framework holds: which are replaced by ours, and their own arguments."""

from __future__ import annotations

import warnings
from typing import Any

import openai

from flextier._utils.safe_warn import callers_level

FRAMEWORK_DEFAULTS = {"llama_index": (60.0, 3), "haystack": (30.0, 5)}
"""The ``timeout`` and ``max_retries`` of the clients that frameworks build themselves where their
user gives neither. LlamaIndex: ``OpenAI.__init__``; Haystack: ``OpenAIChatGenerator.__init__``."""


def should_route(client: Any, plain: type, flex: type, argument: str) -> bool:
    """Whether to route the calls of a client: the SDK's plain one, or ours, but not Azure's.

    None and foreign objects are not routed. A warning calls the client ``argument``.
    """
    if not isinstance(client, plain):
        return False
    if type(client) is plain or isinstance(client, flex):
        return True
    warnings.warn(
        f"{argument} is a {type(client).__name__}, whose calls flextier does not route: no flex, "
        f"no report. Pass a plain {plain.__name__} or a {flex.__name__}",
        stacklevel=callers_level(),
    )
    return False


def non_default_arguments(client: Any) -> dict[str, Any]:
    """The ``timeout`` and ``max_retries`` of an SDK client, if they are no one's fixed defaults."""
    if (client.timeout, client.max_retries) in FRAMEWORK_DEFAULTS.values():
        return {}
    arguments = {}
    if client.timeout != openai.DEFAULT_TIMEOUT:
        arguments["timeout"] = client.timeout
    if client.max_retries != openai.DEFAULT_MAX_RETRIES:
        arguments["max_retries"] = client.max_retries
    return arguments
