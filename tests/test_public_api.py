"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from typing import get_type_hints

import pytest

import flextier
from tests import api_reference

PUBLIC = api_reference.documented()["flextier"]
HEAVY = (
    "fastapi",
    "genai_prices",
    "langchain",
    "langchain_core",
    "langchain_openai",
    "langgraph",
    "langsmith",
    "llama_index",
    "llama_index_instrumentation",
    "opentelemetry",
    "pytest",
    "ray",
    "rich",
    "sqlalchemy",
    "starlette",
    "tiktoken",
    "trio",
    "uvicorn",
)


def test_the_public_names() -> None:
    """They are in alphabetical order, in the source and in ``docs/api.md``."""
    assert flextier.__all__ == PUBLIC
    assert sorted(PUBLIC) == PUBLIC


def test_nothing_else_is_listed() -> None:
    """What completion shows are the public names."""
    assert dir(flextier) == PUBLIC


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_public_members_are_documented(name: str) -> None:
    """So are the public methods and properties that flextier itself defines."""
    found = getattr(flextier, name)
    members = vars(found).items() if inspect.isclass(found) else ()
    bare = [
        member
        for member, value in members
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
        and not inspect.getdoc(value)
        and member != "model_post_init"
    ]
    assert bare == []


@pytest.mark.parametrize("name", [name for name in PUBLIC if name != "__version__"])
def test_annotations_can_be_resolved(name: str) -> None:
    """Tools that read them at run time find every name, in constructors and methods, too."""
    found = getattr(flextier, name)
    own = vars(found).values() if inspect.isclass(found) else (found,)
    for function in filter(inspect.isfunction, own):
        assert get_type_hints(function).keys() <= {
            *inspect.signature(function).parameters,
            "return",
        }


def test_the_version_is_one() -> None:
    """Number, dot, number, dot, number, and maybe more."""
    assert re.match(r"\d+\.\d+\.\d+", flextier.__version__)


def test_star_import() -> None:
    """``from flextier import *`` brings exactly the public names."""
    names: dict[str, object] = {}
    exec("from flextier import *", names)
    assert sorted(set(names) - {"__builtins__"}) == PUBLIC


def loaded_by(statement: str) -> set[str]:
    """The modules that an import brings, in a process of its own."""
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


CLIENTS = "from flextier import FlexOpenAI"


def test_import_alone_loads_no_sdk() -> None:
    """Commands such as ``flextier --version`` start without it."""
    loaded = loaded_by("import flextier.cli.main")
    assert loaded.isdisjoint({"openai", "pydantic", "httpx", "flextier.client"})


def test_clients_are_light() -> None:
    """They bring no framework, no database, no server that the SDK does not bring (httpx
    itself imports rich where there is one)."""
    packages = {name.partition(".")[0] for name in loaded_by(CLIENTS) - loaded_by("import openai")}
    assert "flextier" in packages
    assert packages.isdisjoint(HEAVY)


def test_clients_load_no_other_part() -> None:
    """The parts that need an extra, or that only some use, stay on disk."""
    ours = [name.split(".") for name in loaded_by(CLIENTS) if name.startswith("flextier.")]
    parts = {name[1] for name in ours}
    assert "client" in parts
    assert parts.isdisjoint({"bulk", "cli", "langchain", "llama_index", "otel", "report", "sim"})
