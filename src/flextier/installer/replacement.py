"""What ``openai.OpenAI`` and ``openai.AsyncOpenAI`` build, while flextier is installed.

The classes stay the SDK's: names that were imported before are covered, and ``isinstance``,
signatures and subclasses are as before. Only their ``__init__`` is replaced; it gives the new
instance a class of ours before anything is set.
"""

from __future__ import annotations

import math
from functools import cache, wraps
from types import new_class
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import openai

from flextier.calls.gathered_lines import LOG

if TYPE_CHECKING:
    from flextier.policy import FlexPolicy

_SAYING_NOTHING = {
    "timeout": openai.DEFAULT_TIMEOUT,
    "max_retries": openai.DEFAULT_MAX_RETRIES,
}
"""Arguments with the SDK's default, which its module-level client passes, too."""

_UNLIMITED: dict[str, Any] = {"timeout": None, "max_retries": 1_000_000}
"""What ``math.inf`` means, which the SDK takes and a policy does not."""

_LEFT_ALONE = tuple(
    getattr(openai, name)
    for name in ("AzureOpenAI", "AsyncAzureOpenAI", "BedrockOpenAI", "AsyncBedrockOpenAI")
    if hasattr(openai, name)
)


class Replacement:
    """Whether clients are replaced, under which policy, and those that were."""

    def __init__(self) -> None:
        self._clients: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._is_on = False
        self._policy: FlexPolicy | None = None
        self._inits: dict[Any, tuple[Any, Any]] = {}
        """Of each class of the SDK, its own ``__init__`` and ours."""

    def start(self, policy: FlexPolicy | None = None) -> None:
        """Replace clients that are built from now on."""
        self._policy = policy
        for sdk in (openai.OpenAI, openai.AsyncOpenAI):
            if sdk not in self._inits:
                self._replace_init(sdk)
        if not self._is_on:
            self._is_on = True
            LOG.info("openai.OpenAI and openai.AsyncOpenAI build flextier's clients from now on")

    def stop(self) -> None:
        """Leave clients that are built from now on as they are."""
        self._is_on = False
        for sdk, (stock, ours) in list(self._inits.items()):
            if sdk.__init__ is ours:  # else another library has wrapped it: it stays, and is off
                sdk.__init__ = stock
                del self._inits[sdk]

    def clients(self) -> list[Any]:
        """The clients that were replaced and are still in use."""
        # valuerefs() is a list at once, also while other threads build clients.
        return [client for ref in self._clients.valuerefs() if (client := ref()) is not None]

    def _replace_init(self, sdk: Any) -> None:
        stock = sdk.__init__

        @wraps(stock)
        def init(client: Any, *args: Any, **arguments: Any) -> None:
            ours = self._class_for(client, sdk) if self._is_on else None
            if ours is None:
                stock(client, *args, **arguments)
            else:
                ours.__init__(client, *args, **self._arguments(arguments))
                self._clients[id(client)] = client
                LOG.debug("built a client in place of the SDK's: %s", type(client).__name__)

        sdk.__init__ = init
        self._inits[sdk] = stock, init

    def _class_for(self, client: Any, sdk: Any) -> Any:
        """Ours, which the client now has; None: the client stays as it is."""
        from flextier.client.clients import AsyncFlexOpenAI, FlexOpenAI

        ours = AsyncFlexOpenAI if issubclass(sdk, openai.AsyncOpenAI) else FlexOpenAI
        given: Any = type(client)
        if issubclass(given, (ours, *_LEFT_ALONE)):
            return None
        try:
            client.__class__ = _with_base(given, sdk, ours)
        except TypeError as error:
            LOG.warning("%s stays as it is, its calls take no lanes: %s", given.__name__, error)
            return None
        return ours

    def _arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        own = {
            name: _UNLIMITED.get(name, value) if value == math.inf else value
            for name, value in given.items()
            if _SAYING_NOTHING.get(name, ...) != value
        }
        if (policy := self._policy) is not None:
            if isinstance(retries := own.get("max_retries"), int):
                policy = policy.replace(max_retries=retries)
            own.setdefault("policy", policy)
        return own


@cache
def _with_base(given: type, sdk: type, ours: type) -> type:
    """A class that instances of ``given``, the SDK's class or a subclass, may have in its place.

    Raises:
        TypeError: the subclass does not permit another base.
    """
    named, first = given, given
    if given is sdk:
        # CPython requires that the memory layout comes from the first base: not from ours.
        named, first = ours, new_class("_Layout", (sdk,))
    names = {"__module__": named.__module__, "__qualname__": named.__qualname__}
    return new_class(named.__name__, (first, ours), {}, lambda space: space.update(names))


REPLACEMENT = Replacement()
"""That of this process."""
