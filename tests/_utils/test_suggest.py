"""Misspelt keyword arguments, wherever a public function hands them on."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from flextier._openai.http_library import http
from flextier.costs import Ledger
from flextier.rehearsal.trace import Trace, TraceFields
from flextier.sim import Weather
from flextier.sim.behavior.weather import OtherFields
from flextier.transport import sync_http_client
from flextier.transport.http_clients import HttpArguments


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (Trace().replace, "job", "jobs"),
        (lambda **kw: Weather.random(1, 60, 60, **kw), "slot", "slots"),
    ],
)
def test_the_right_name_is_suggested(call: Callable[..., Any], wrong: str, right: str) -> None:
    """In Python's own words for an unknown argument."""
    expected = f"unexpected keyword argument '{wrong}': did you mean '{right}'"
    with pytest.raises(TypeError, match=expected):
        call(**{wrong: 3})


def test_a_ledger_suggests_the_right_name(tmp_path: Path) -> None:
    """All methods that read calls do."""
    with Ledger(f"sqlite:///{tmp_path / 'calls.db'}") as ledger:
        for method in (ledger.records, ledger.totals, ledger.sums):
            wrong: dict[str, Any] = {"modle": "o3"}
            with pytest.raises(TypeError, match="argument 'modle': did you mean 'model'"):
                method(**wrong)


@pytest.mark.parametrize(
    ("arguments", "function", "others"),
    [
        (TraceFields, Trace, set()),
        (OtherFields, Weather, {"outages"}),
        (HttpArguments, http.Client, set()),
        (HttpArguments, http.AsyncClient, set()),
    ],
)
def test_checkers_see_what_is_handed_on(arguments: Any, function: Any, others: set[str]) -> None:
    """The names of the arguments of the function that gets them."""
    assert set(get_type_hints(arguments)) == set(signature(function).parameters) - others


def test_http_clients_refuse_unknown_arguments() -> None:
    """As httpx does."""
    wrong: dict[str, Any] = {"porxy": None}
    with pytest.raises(TypeError, match="unexpected keyword argument 'porxy'"):
        sync_http_client(**wrong)
