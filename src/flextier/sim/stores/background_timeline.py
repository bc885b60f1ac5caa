"""The course of one background response: what it will be when, decided at its creation."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random
from typing import Literal

from flextier.lanes import LANES
from flextier.sim.behavior.background_behavior import BackgroundWeather, drawn
from flextier.sim.behavior.background_outcomes import BackgroundOutcome

End = Literal["completed", "failed", "incomplete", "cancelled"]

#: Seconds within which a response with this window shall have ended; soonest promises nothing.
WINDOWS: dict[str, float] = {
    lane.window: lane.window_seconds or inf for lane in LANES.values() if lane.window
}

_ENDS: dict[str, End] = {
    "complete": "completed",
    "fail": "failed",
    "incomplete": "incomplete",
    "cancel": "cancelled",
}


@dataclass(frozen=True)
class BackgroundTimeline:
    """What a response is when. All moments are the provider's; ``inf``: never.

    Attributes:
        starts: When it leaves the queue.
        ends: When it ends.
        end: As what it ends.
        late: When its window is over.
        removed: When it is deleted, unless it is not stored and deleted some time after its end.
        stays_from: From when on it stays in ``stays``.
        stays: A status that it does not leave by itself.
    """

    starts: float
    ends: float
    end: End
    late: float = inf
    removed: float = inf
    stays_from: float = inf
    stays: str = ""

    def status(self, now: float) -> str:
        """The status, as long as it has not ended."""
        if now >= self.stays_from:
            return self.stays
        return "in_progress" if now >= self.starts else "queued"


def plan(
    window: str,
    weather: BackgroundWeather,
    outcome: BackgroundOutcome | None,
    now: float,
    chance: Random,
    *,
    follows: bool = False,
) -> BackgroundTimeline:
    """What will become of a response that is created now.

    Args:
        window: Its window.
        weather: What decides where the script does not.
        outcome: The script; None: the weather decides all.
        now: The provider's time.
        chance: Where random numbers are drawn from.
        follows: Whether it is a follow-up, which waits less.
    """
    waits = weather.queue_seconds(window, chance) * (weather.follow_up if follows else 1.0)
    runs = weather.run_seconds(window, chance)
    late = now + WINDOWS[window]
    starts, ends = now + waits, now + waits + runs
    if late < inf and chance.random() < weather.missed:
        ends = max(ends, late + drawn(weather.missed_by, chance))
        starts = max(starts, ends - runs)
    course = BackgroundTimeline(starts, ends, _end(weather, chance), late)
    return course if outcome is None else _scripted(course, outcome, now)


def _end(weather: BackgroundWeather, chance: Random) -> End:
    thrown = chance.random()
    if thrown < weather.fail:
        return "failed"
    return "incomplete" if thrown < weather.fail + weather.incomplete else "completed"


def _scripted(
    course: BackgroundTimeline, outcome: BackgroundOutcome, now: float
) -> BackgroundTimeline:
    starts, ends, late = course.starts, course.ends, course.late
    if outcome.after is not None and outcome.kind in _ENDS:
        # As much of the time in the queue as there would have been without the script.
        waits = (starts - now) / (ends - now) if ends > now else 0.0
        starts, ends = now + outcome.after * waits, now + outcome.after
    if outcome.kind == "stay":
        moment = now + (outcome.after or 0.0)
        if outcome.status == "queued":
            return BackgroundTimeline(inf, inf, "completed", late)
        return BackgroundTimeline(starts, inf, "completed", late, inf, moment, outcome.status)
    removed = now + (outcome.after or 0.0) if outcome.kind == "delete" else inf
    return BackgroundTimeline(starts, ends, _ENDS.get(outcome.kind, "completed"), late, removed)
