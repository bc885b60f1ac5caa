"""The errors for arguments that a client, or a framework's class, does not have."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from inspect import Parameter, signature
from typing import Any

import openai

from flextier._utils.suggest import did_you_mean, unexpected_argument
from flextier.client.arguments import ConstructorArguments, CopyArguments
from flextier.policy import FlexPolicy


def check_names(function: str, sdk: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Check that the SDK's function has the given arguments.

    Raises:
        TypeError: it has not; the message says what to write instead, or the SDK's version.
    """
    known = _parameters(getattr(sdk, "__func__", sdk))
    for name in given:
        if known and name not in known:
            if name in (*ConstructorArguments.__annotations__, *CopyArguments.__annotations__):
                raise TypeError(f"{function}({name}=): openai {openai.__version__} has no {name}")
            raise unknown_argument(function, given, name, {*known, "policy"})


@lru_cache(maxsize=64)
def _parameters(function: Any) -> frozenset[str]:
    """The names of its parameters; empty if it takes any."""
    parameters = signature(function).parameters
    if any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values()):
        return frozenset()
    return frozenset(parameters) - {"self"}


def unknown_argument(
    function: str, given: Mapping[str, Any], name: str, known: Collection[str], otherwise: str = ""
) -> TypeError:
    """The error for an argument that a function does not have, with what was meant."""
    fields = FlexPolicy.model_fields
    if name in fields:
        hint = f': it is a field of the policy: policy={{"{name}": {given[name]!r}}}'
    else:
        hint = did_you_mean(name, {*known, *fields}) or otherwise
    return unexpected_argument(function, name, hint)


POLICY_ARGUMENTS = frozenset({"policy", *FlexPolicy.model_fields})
"""Arguments that a model has and one call of it has not."""


def misplaced_argument(model: str, given: Collection[str]) -> TypeError:
    """The error for a call with one of :data:`POLICY_ARGUMENTS`."""
    name = min(POLICY_ARGUMENTS.intersection(given))
    knob = "deadline" if name == "policy" else name
    return TypeError(
        f"a call of {model} has no argument {name!r}: put `with flextier.override({knob}=...):` "
        f'around it, or give {model}(policy={{"{knob}": ...}})'
    )
