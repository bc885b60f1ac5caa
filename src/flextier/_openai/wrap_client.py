"""SDK clients that a framework holds: which become ours, and what they were told."""

from __future__ import annotations

import warnings
from typing import Any

import openai


def is_to_be_routed(
    client: Any, plain: type, flex: type, argument: str, *, stacklevel: int = 2
) -> bool:
    """Whether a client is the SDK's plain one, or ours. Others, such as Azure's, go other ways.

    Args:
        client: what the framework holds; None and foreign objects are left alone.
        plain: the SDK's class.
        flex: our class.
        argument: the framework's name for the client, for the warning.
        stacklevel: where the warning points to, as for ``warnings.warn``.
    """
    if not isinstance(client, plain):
        return False
    if type(client) is plain or isinstance(client, flex):
        return True
    warnings.warn(
        f"{argument} is a {type(client).__name__}, whose calls flextier leaves alone: no flex, no "
        f"report. Give a plain {plain.__name__} or a {flex.__name__}",
        stacklevel=stacklevel,
    )
    return False


def told(client: Any) -> dict[str, Any]:
    """The timeout and retries of an SDK client, where they are not the SDK's defaults."""
    told = {}
    if client.timeout != openai.DEFAULT_TIMEOUT:
        told["timeout"] = client.timeout
    if client.max_retries != openai.DEFAULT_MAX_RETRIES:
        told["max_retries"] = client.max_retries
    return told
