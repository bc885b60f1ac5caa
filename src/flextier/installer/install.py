"""install(), uninstall() and installed_clients()."""

from __future__ import annotations

from typing import Any

from flextier.installer.children import cover_children
from flextier.installer.replacement import REPLACEMENT
from flextier.policy import FlexPolicy, PolicyFields


def install(*, policy: FlexPolicy | PolicyFields | None = None, children: bool = True) -> None:
    """From now on, ``openai.OpenAI(...)`` and ``openai.AsyncOpenAI(...)`` build flextier's clients.

    That is, wherever in the process they are built: in libraries, by names that were imported
    before, through subclasses, and for the module-level functions (``openai.responses.create``).
    Both names stay the SDK's classes. Clients that were built before stay as they are, and so do
    the classes for Azure and Bedrock. Calling it again replaces the policy.

    Args:
        policy: of the clients, or a dict of its fields; None: from the environment. A client's own
            ``timeout`` and ``max_retries`` count as those of :class:`FlexOpenAI`.
        children: also in Python processes that this one starts: ``PYTHONPATH`` gets a folder with a
            ``sitecustomize.py``. Their policies come from the environment.

    Raises:
        PolicyError: the policy is wrong.

    Example::

        flextier.install(policy={"deadline": "10m"})
        model = init_chat_model("openai:gpt-5-mini")  # LangChain builds the clients
    """
    REPLACEMENT.start(None if policy is None else FlexPolicy.of(policy))
    cover_children(covered=children)


def uninstall() -> None:
    """``openai.OpenAI`` and ``openai.AsyncOpenAI`` build the SDK's clients again.

    Clients that were built meanwhile stay flextier's. Processes that are started from now on are
    not covered, also under ``flextier exec``.
    """
    REPLACEMENT.stop()
    cover_children(covered=False)


def installed_clients() -> list[Any]:
    """The clients that were built in place of the SDK's, without those that are gone, in no order.

    Copies (``client.with_options(...)``) are not listed.
    """
    return REPLACEMENT.clients()
