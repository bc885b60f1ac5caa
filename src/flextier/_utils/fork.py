"""What happens after a fork: state that a child must not share with its parent is reset."""

from __future__ import annotations

import os
from collections.abc import Callable


def after_fork_in_child(callback: Callable[[], object]) -> None:
    """Call ``callback`` in each child process after a fork; nothing on Windows, without forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)


def around_fork(
    before: Callable[[], object],
    in_parent: Callable[[], object],
    in_child: Callable[[], object],
) -> None:
    """Call ``before`` each fork, then ``in_parent`` or ``in_child``, in that process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
