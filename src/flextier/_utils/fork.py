"""Resets what a forked child must not share with its parent; what, is in the files that call it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def after_fork_in_child(callback: Callable[[], object], **others: Callable[[], Any]) -> None:
    """Call ``callback`` in each child process after a fork; nothing on Windows, without forks.

    ``others`` are further arguments of ``os.register_at_fork``.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback, **others)
