"""The environment variables: documented, read by that name, and warned about where misspelt."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from flextier import FlexOpenAI, FlexPolicy, PolicyError
from flextier.variables import OTHERS, names, warn_misspelt
from tests.client.callers import KEY

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/settings.md").read_text()
FIELD_ROW = re.compile(r"^\| `(\w+)` \| `(FLEXTIER_\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)
OTHER_ROW = re.compile(r"^\| `(FLEXTIER_\w+)` \| (.+) \|$", re.MULTILINE)


@pytest.fixture(autouse=True)
def _warn_again() -> Iterator[None]:
    warn_misspelt.cache_clear()
    yield
    warn_misspelt.cache_clear()


# --- the documented ones ------------------------------------------------------------------------


def test_every_field_and_variable_is_documented() -> None:
    """The table of docs/settings.md has each, with its default."""
    rows = FIELD_ROW.findall(PAGE)
    assert {field for field, _, _ in rows} == set(FlexPolicy.model_fields)
    for field, variable, default in rows:
        assert variable == f"FLEXTIER_{field.upper()}"
        assert default.strip("`") in _shown(FlexPolicy.model_fields[field].default)


def _shown(default: object) -> tuple[str, ...]:
    match default:
        case None:
            return ("none", "1.5 times the window")
        case bool():
            return (str(default).lower(),)
        case int():
            return (str(default),)
        case float() | Decimal():
            return (f"{default:g}",)
        case ():
            return ("none",)
        case tuple():
            return (",".join(default),)
        case "":
            return ("empty",)
        case _:
            return (str(default),)


def test_the_other_variables_are_documented() -> None:
    """With the meaning that the registry states."""
    assert dict(OTHER_ROW.findall(PAGE)) == OTHERS


def test_source_and_docs_name_no_other_variable() -> None:
    """Each name in them is in the registry."""
    files = [*ROOT.glob("src/**/*.py"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.py")]
    found = {
        name
        for file in (*files, ROOT / "README.md")
        if file.name not in ("variables.py", "policy.py")
        for name in re.findall(r"FLEXTIER_[A-Z_]*[A-Z]\b", file.read_text())
    }
    of_kubernetes = {"FLEXTIER_SERVICE_HOST", "FLEXTIER_PORT"}
    assert found - set(names()) == of_kubernetes


# --- misspelt ones ------------------------------------------------------------------------------


def warnings_of_a_client() -> list[str]:
    """What making a client warns about, at the line that makes it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FlexOpenAI(api_key=KEY).close()
    assert {warning.filename for warning in caught} <= {__file__}
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("FLEXTIER_DEADLIN", "FLEXTIER_DEADLINE"),
        ("FLEXTIER_PATIENSE", "FLEXTIER_PATIENCE"),
        ("FLEXTIER_TIMEOUT", "FLEXTIER_FLEX_TIMEOUT"),
        ("FLEXTIER_LEDGERS", "FLEXTIER_LEDGER"),
        ("flextier_lane", "FLEXTIER_LANES"),
    ],
)
def test_a_misspelt_variable(name: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is warned about once, at the first client, with the name that was meant."""
    monkeypatch.setenv(name, "5")
    [warned] = warnings_of_a_client()
    assert warned == (
        f"{name.upper()} is no variable of flextier and has no effect: did you mean {meant!r}?"
    )
    assert warnings_of_a_client() == []


def test_a_variable_that_is_near_to_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warning says where all names are."""
    monkeypatch.setenv("FLEXTIER_QQQQQQ", "5")
    assert "see docs/settings.md" in warnings_of_a_client()[0]


def test_a_renamed_variable_is_an_error_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says the new name; nothing else is said."""
    monkeypatch.setenv("FLEXTIER_BATCH_LEAST", "5")
    with pytest.raises(PolicyError, match="FLEXTIER_BATCH_MIN_CALLS"):
        FlexOpenAI(api_key=KEY)


@pytest.mark.parametrize(
    "name",
    [
        "FLEXTIER_SERVICE_HOST",
        "FLEXTIER_SERVICE_PORT",
        "FLEXTIER_SERVICE_PORT_HTTP",
        "FLEXTIER_PORT",
        "FLEXTIER_PORT_8080_TCP",
        "FLEXTIER_PORT_8080_TCP_ADDR",
        "FLEXTIER_GATEWAY_SERVICE_HOST",
        "FLEXTIER_GATEWAY_SERVICE_PORT_HTTP",
        "FLEXTIER_GATEWAY_PORT",
        "FLEXTIER_GATEWAY_PORT_80_TCP_PROTO",
    ],
)
def test_what_kubernetes_sets(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a Service that is called like us are none of ours."""
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert warnings_of_a_client() == []
    assert name not in names()


def test_importing_warns_of_nothing() -> None:
    """Only the first client does."""
    code = "import flextier; flextier.FlexPolicy(); print('done')"
    environment = {"FLEXTIER_DEADLIN": "5", "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (process.stdout, process.stderr) == ("done\n", "")
