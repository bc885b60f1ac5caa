"""The import paths that are promised, and the names that packages load when they are first used."""

from __future__ import annotations

import inspect
import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import flextier
from tests import api_reference

PUBLIC = api_reference.documented()
"""The names in ``docs/api.md``, by package."""


def test_the_api_reference_is_up_to_date() -> None:
    """What a docstring or a signature says now; `make api` writes it."""
    assert api_reference.PAGE.read_text(encoding="utf-8") == api_reference.page()


@pytest.mark.parametrize("path", PUBLIC)
def test_a_package_exports_its_public_names(path: str) -> None:
    """`__all__` is the documented list, and each name resolves, those that are loaded later too."""
    if path == "flextier.llama_index" and find_spec("llama_index") is None:
        pytest.skip("LlamaIndex is not installed")
    package = import_module(path)
    assert sorted(getattr(package, "__all__", PUBLIC[path])) == sorted(PUBLIC[path])
    assert all(getattr(package, name) for name in PUBLIC[path])
    with pytest.raises(AttributeError, match="nothing"):
        package.nothing  # noqa: B018 - the access is what is tested


@pytest.mark.parametrize("path", [path for path in PUBLIC if path != "flextier.llama_index"])
def test_public_names_have_words(path: str) -> None:
    """Each has a docstring of its own."""
    for name in PUBLIC[path]:
        found = getattr(import_module(path), name)
        if inspect.isclass(found) or inspect.isfunction(found):
            doc = (vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__) or ""
            assert doc.strip(), name
            assert not doc.startswith(f"{name}("), name  # a dataclass's own


@pytest.mark.parametrize("path", ["batch", "costs", "rehearsal", "sim"])
def test_a_submodule_does_not_hide_a_name_that_is_loaded_later(path: str) -> None:
    """An imported submodule is bound in its package, where a function of its name would be."""
    package = f"flextier.{path}"
    assert [name for name in PUBLIC[package] if find_spec(f"{package}.{name}")] == []


def test_each_package_says_what_is_in_it() -> None:
    """Every `__init__` begins with a docstring, which needs no extra to be read."""
    packages = [module for module in pkgutil.iter_modules(flextier.__path__) if module.ispkg]
    assert len(packages) > 20
    for package in packages:
        spec = find_spec(f"flextier.{package.name}")
        assert Path(str(spec and spec.origin)).read_text(encoding="utf-8").startswith('"""')
