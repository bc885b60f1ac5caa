"""Children: Python processes that find ``startup/sitecustomize.py`` first on ``PYTHONPATH``."""

from __future__ import annotations

import os
from pathlib import Path

STARTUP = str(Path(__file__).parent / "startup")


def cover_children(*, covered: bool) -> None:
    """Whether Python processes that this one starts from now on have flextier installed."""
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    rest = [folder for folder in folders if folder not in ("", STARTUP)]
    if covered or rest:
        os.environ["PYTHONPATH"] = os.pathsep.join([STARTUP, *rest] if covered else rest)
    else:
        os.environ.pop("PYTHONPATH", None)
