"""Which calls were counted: a call may be reported more than once."""

from __future__ import annotations

from collections import OrderedDict
from threading import RLock

_MOST = 10_000  # the last ones are enough to notice one that is reported again


class Seen:
    """The names of the last calls. Safe to use from many threads."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()
        self._lock = RLock()  # the garbage collector may end a call in the midst

    def is_new(self, name: str) -> bool:
        """Whether a name was not here yet; it is from now on."""
        with self._lock:
            if name in self._names:
                return False
            self._names[name] = None
            if len(self._names) > _MOST:
                self._names.popitem(last=False)
            return True
