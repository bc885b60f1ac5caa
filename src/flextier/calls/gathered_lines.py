"""Lines of the log for events of many calls: a few every few seconds, the others in one line."""

from __future__ import annotations

import atexit
import logging
import math
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from threading import RLock

from flextier._utils.fork import after_fork_in_child
from flextier._utils.formatting import count, dollars

LOG = logging.getLogger("flextier")
INFO = logging.INFO

_INTERVAL = 5.0
"""Seconds for which events are gathered; a wait that lasts is reported at least that far apart."""
_SINGLE_LINES = 3
"""Events of a kind in an interval that get a line of their own."""
_MOST = 1000
"""Kinds of events that are kept."""
_PAUSED = 60.0
"""Seconds without a report, after which a wait is a new one."""
_NEVER = (-math.inf, -math.inf)

Where = tuple[str, ...]
"""The account, the model, maybe the lane, that events belong to."""


@dataclass(slots=True, eq=False)
class _Gathered:
    """The events of one kind in one interval."""

    since: float
    subject: str
    more: tuple[str, str]
    lines: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    """Events without a line of their own, by cause."""
    extra: Decimal = Decimal(0)
    """What they cost more, in US$."""

    def text(self) -> str:
        """The line of all of them."""
        one, several = self.more
        shown = f"{self.subject}: {count(self.causes.total(), f'more {one}', f'more {several}')}"
        if len(self.causes) > 1:
            causes = (f"{cause}: {number:,}" for cause, number in self.causes.most_common())
            shown += f" ({', '.join(causes)})"
        elif cause := next(iter(self.causes)):
            shown += f" ({cause})"
        return f"{shown}, {dollars(self.extra)} more" if self.extra else shown


class _Lines:
    """Writes events, or gathers them. The lock is not held while a line is written."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all events and calls."""
        self._lock = RLock()  # the garbage collector may end a call while the lock is held
        self._gathered: dict[tuple[Where, str], _Gathered] = {}
        self._waits: dict[Where, tuple[float, float]] = {}
        self._active = self._most_active = 0

    def event(
        self,
        where: Where,
        now: float,
        more: tuple[str, str],
        line: str,
        cause: str = "",
        extra: Decimal | None = None,
    ) -> None:
        """Write an event, or gather it.

        Args:
            where: the account, and last the model.
            now: the moment, on the clock of the call.
            more: what further events are, such as ``("attempt failed", "attempts failed")``.
            line: its line.
            cause: its cause, which gathered events are counted by.
            extra: what it cost more, in US$; None: nothing, or that is not known.
        """
        key, texts = (where, more[0]), []
        with self._lock:
            gathered = self._gathered.get(key)
            if gathered is None or not 0 <= now - gathered.since < _INTERVAL:
                if gathered is not None and gathered.causes:
                    texts.append(gathered.text())
                if len(self._gathered) > _MOST:
                    texts += self._taken()
                gathered = self._gathered[key] = _Gathered(now, where[-1], more)
            if gathered.lines < _SINGLE_LINES:
                gathered.lines += 1
                texts.append(f"{where[-1]}: {line}")
            else:
                gathered.causes[cause] += 1
                gathered.extra += extra or 0
        for text in texts:
            LOG.info(text)

    def _taken(self) -> list[str]:
        """The lines of all that was gathered, which is forgotten."""
        every, self._gathered = self._gathered, {}
        return [gathered.text() for gathered in every.values() if gathered.causes]

    def flush(self) -> None:
        """Write all that was gathered."""
        with self._lock:
            texts = self._taken()
        for text in texts:
            LOG.info(text)

    def begins(self) -> None:
        """A call begins."""
        with self._lock:
            self._active += 1
            self._most_active = max(self._most_active, self._active)

    def ends(self) -> None:
        """A call has ended: of calls side by side, the last one writes what was gathered."""
        with self._lock:
            self._active = max(0, self._active - 1)  # a forked child has none of its parent's
            is_last = self._active == 0 and self._most_active > 1
            self._most_active = 0 if is_last else self._most_active
        if is_last:
            self.flush()

    def wait_is_due(self, where: Where, now: float) -> bool:
        """Whether a wait is to be reported: seldom, and less and less often while it lasts."""
        began, last = self._waits.get(where, _NEVER)
        return not 0 <= now - last < max(_INTERVAL, (last - began) / 10)

    def wait_reported(self, where: Where, now: float) -> None:
        """A wait is reported."""
        began, last = self._waits.get(where, _NEVER)
        lasts = 0 <= now - last < max(_PAUSED, last - began)
        if len(self._waits) > _MOST:
            self._waits.clear()
        self._waits[where] = (began if lasts else now, now)


LINES = _Lines()
"""Those of this process."""

atexit.register(LINES.flush)
after_fork_in_child(LINES.reset)  # the lock may be held, and the calls are the parent's
