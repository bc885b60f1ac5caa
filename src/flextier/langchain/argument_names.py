"""Which unknown names of constructor arguments are misspelt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from inspect import signature
from typing import Any

from flextier._utils.suggest import did_you_mean
from flextier.client.unknown_arguments import unknown_argument
from flextier.policy import FlexPolicy

_NEAR = 0.8


def check_names(model: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Check the names of a chat model's arguments.

    ``ChatOpenAI`` adds names that it does not know to ``model_kwargs``, with a warning, and sends
    them to the API. So it is here, but for fields of the policy, and names that are nearly one of
    the fields and no parameter of the API.

    Raises:
        TypeError: such a name is given.
    """
    for name in given.keys() - set(known):
        if name in FlexPolicy.model_fields or (
            name not in _api_parameters() and did_you_mean(name, known, _NEAR)
        ):
            raise unknown_argument(model, given, name, known)


@lru_cache(maxsize=1)
def _api_parameters() -> frozenset[str]:
    from openai.resources.chat import Completions
    from openai.resources.responses import Responses

    create = (Completions.create, Responses.create)
    return frozenset(name for method in create for name in signature(method).parameters)
