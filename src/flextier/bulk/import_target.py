"""MODULE:NAME: what the command runs, imported from where it is run."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from flextier.bulk.errors import BulkError


def load(spec: str) -> Any:
    """The object that ``MODULE:NAME`` names; with ``()`` at its end, what calling it returns.

    The current directory comes first where modules are looked for.

    Raises:
        BulkError: there is none, or it cannot be imported.
    """
    module_name, colon, name = spec.partition(":")
    is_factory = name.endswith("()")
    name = name.removesuffix("()")
    if not (colon and module_name and name):
        raise BulkError(f"RUNNABLE {spec!r}: give MODULE:NAME, as in my_chain:chain")
    found = _imported(spec, module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise BulkError(f"RUNNABLE {spec!r}: {module_name} has no {name!r}")
        found = getattr(found, part)
    return _called(spec, found) if is_factory else found


def _imported(spec: str, module_name: str) -> Any:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise BulkError(f"RUNNABLE {spec!r}: no module {error.name!r} from here") from error
        raise BulkError(f"RUNNABLE {spec!r}: {module_name} needs {error.name!r}") from error
    except Exception as error:
        raise BulkError(
            f"RUNNABLE {spec!r}: importing {module_name} raised {type(error).__name__}: {error}"
        ) from error


def _called(spec: str, factory: Any) -> Any:
    try:
        return factory()
    except Exception as error:
        raise BulkError(f"RUNNABLE {spec!r} raised {type(error).__name__}: {error}") from error
