"""The clients' arguments: those of the SDK, and errors for names that are none of them."""

from __future__ import annotations

from inspect import signature
from typing import Any

import openai
import pytest

from flextier import AsyncFlexOpenAI, FlexOpenAI, FlexPolicy
from flextier._openai.http_library import MAJOR
from flextier.client.arguments import (
    AsyncConstructorArguments,
    AsyncCopyArguments,
    ConstructorArguments,
    CopyArguments,
)
from flextier.client.unknown_arguments import check_names

CLIENTS = (FlexOpenAI, AsyncFlexOpenAI)


@pytest.mark.parametrize(
    ("method", "arguments", "ours"),
    [
        (openai.OpenAI.__init__, ConstructorArguments, {"policy", "clock"}),
        (openai.AsyncOpenAI.__init__, AsyncConstructorArguments, {"policy", "clock"}),
        (openai.OpenAI.copy, CopyArguments, {"policy"}),
        (openai.AsyncOpenAI.copy, AsyncCopyArguments, {"policy"}),
    ],
)
def test_checkers_see_the_arguments_of_the_newest_sdk(
    method: Any, arguments: Any, ours: set[str]
) -> None:
    """Each argument of the installed SDK, and no other of the newest."""
    sdk = set(signature(method).parameters) - {"self"}
    assert sdk <= arguments.__annotations__.keys() - ours
    if MAJOR >= 3:
        assert sdk == arguments.__annotations__.keys() - ours


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("polcy", "polcy': did you mean 'policy'"),
        ("max_retrys", "max_retrys': did you mean 'max_retries'"),
        ("deadline", 'field of the policy: policy={"deadline": 1}'),
        ("dedline", "dedline': did you mean 'deadline'"),
        ("wholly_unknown_name", "argument 'wholly_unknown_name'"),
    ],
)
def test_a_misspelt_argument_is_an_error(client: Any, name: str, hint: str) -> None:
    """In the constructor and in copies, with the name that was meant."""
    with pytest.raises(TypeError) as error:
        client(api_key="sk-key", **{name: 1})
    assert str(error.value).startswith(f"{client.__name__}() got an unexpected keyword argument")
    assert hint in str(error.value)
    for method in ("copy", "with_options"):
        with pytest.raises(TypeError) as error:
            getattr(client(api_key="sk-key"), method)(**{name: 1})
        assert hint in str(error.value)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_argument_of_the_installed_sdk_is_taken(client: Any) -> None:
    """The private ones, too."""
    made = client(
        api_key="sk-key", organization="o", _strict_response_validation=True, policy={"patience": 5}
    )
    assert made.organization == "o"
    assert made.policy == FlexPolicy(patience=5)
    assert made.copy(project="p").project == "p"
    assert made.with_options(set_default_headers={"x": "y"}).default_headers["x"] == "y"


def test_an_argument_of_a_later_sdk_names_the_installed_version() -> None:
    """Checkers know it from the newest SDK, but the installed one does not have it."""

    def installed(*, api_key: str) -> None:
        pass

    with pytest.raises(TypeError) as error:
        check_names("FlexOpenAI", installed, {"data_residency": "eu"})
    assert str(error.value) == (
        f"FlexOpenAI(data_residency=): openai {openai.__version__} has no data_residency"
    )


def test_a_base_class_that_takes_any_argument_gets_them() -> None:
    """A class between ours and the SDK's can have arguments of its own."""

    class Named:
        def __init__(self, *, nickname: str = "", **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.nickname = nickname

    class Client(FlexOpenAI, Named, openai.OpenAI):
        pass

    arguments: dict[str, Any] = {"api_key": "sk-key", "nickname": "nightly"}
    assert Client(**arguments).nickname == "nightly"
