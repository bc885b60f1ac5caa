"""Names of a package that are imported on first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def load_on_first_use(
    package: str, public: list[str], modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package that imports names on first use.

    Checkers must not see them (``if not TYPE_CHECKING``): any misspelt name would then pass.
    ``modules`` has, for each module of flextier, the names to import from it, separated by spaces.
    """
    home = {name: module for module, names in modules.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"flextier.{home[name]}"), name)

    return load, lambda: public
