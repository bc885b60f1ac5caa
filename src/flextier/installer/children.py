"""Children: Python processes that find ``startup/sitecustomize.py`` first on ``PYTHONPATH``."""

from __future__ import annotations

import os
from pathlib import Path

STARTUP = str(Path(__file__).parent / "startup")


def cover_children(*, covered: bool) -> None:
    """Whether Python processes that this one starts from now on have flextier installed."""
    value = os.environ.get("PYTHONPATH")
    # An empty part is the current directory, an empty value is none.
    rest = [folder for folder in value.split(os.pathsep) if folder != STARTUP] if value else []
    if covered or rest:
        os.environ["PYTHONPATH"] = os.pathsep.join([STARTUP, *rest] if covered else rest)
    else:
        os.environ.pop("PYTHONPATH", None)
