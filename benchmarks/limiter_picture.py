"""A picture of the limiter at work: the `outages` trace, request by request, in virtual time.

Above, how many requests flex takes at each moment, and how many flextier has under way. Below, one
tick for each refusal and each answer: flextier's, and those of "backoff until the deadline - 30 s,
then standard", both of the same 200 calls with a deadline of 180 s.

    python benchmarks/limiter_picture.py [--trace NAME] [--plot docs/images/limiter.svg]
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import altair as alt
from _pictures import BLUE, GREEN, GREY, RED, SLOTS, save, styled

from flextier import AsyncFlexOpenAI, FlexPolicy
from flextier._utils.clock import Clock
from flextier.rehearsal import Trace
from flextier.rehearsal.baselines import PEERS
from flextier.rehearsal.provider import BASE_URL
from flextier.rehearsal.simulate import PROMPT, Call, run_trace

BACKOFF = "backoff until the deadline - 30 s, then standard"
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "limiter.svg"

_WIDTH = 640
_PIXEL = 0.25
"""Seconds: ticks that are closer together are one."""
_KINDS = {"refused": RED, "by flex": BLUE, "by standard": GREY}

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One request on the wire, in virtual seconds."""

    sent: float
    ended: float
    flex: bool
    refused: bool

    @property
    def kind(self) -> str:
        """Its row."""
        return "refused" if self.refused else "by flex" if self.flex else "by standard"


def watch(trace: Trace, make: Callable[[Any, Random], Call], name: str) -> list[Seen]:
    """Every request that was answered or refused, in the order of their ends."""
    seen: list[Seen] = []

    async def sent(request: Any) -> None:
        request.extensions["sent"] = asyncio.get_running_loop().time()

    async def ended(response: Any) -> None:
        asked = response.request
        seen.append(
            Seen(
                sent=asked.extensions["sent"],
                ended=asyncio.get_running_loop().time(),
                flex=b'"flex"' in asked.content,
                refused=response.status_code != 200,
            )
        )

    def caller(http_client: Any, chance: Random) -> Call:
        http_client.event_hooks = {"request": [sent], "response": [ended]}
        return make(http_client, chance)

    outcome = run_trace(trace, caller, name)
    assert len(seen) == outcome.counts.requests
    assert outcome.failed == 0
    return seen


def flextier(trace: Trace) -> list[Seen]:
    """The requests of flextier's client."""

    def make(http_client: Any, chance: Random) -> Call:
        client = AsyncFlexOpenAI(
            policy=FlexPolicy(patience=trace.deadline, deadline=trace.deadline),
            clock=Clock(now=asyncio.get_running_loop().time, random=chance.random),
            http_client=http_client,
            base_url=BASE_URL,
            api_key="picture",
        )
        return lambda job: client.chat.completions.create(model=job.model, messages=PROMPT)

    return watch(trace, make, "flextier")


def backoff(trace: Trace) -> list[Seen]:
    """The requests of the usual recipe."""
    random.seed(f"peer {trace.seed}")  # tenacity's source of chance
    return watch(trace, lambda http_client, _: PEERS[BACKOFF](http_client, trace), BACKOFF)


def picture(trace: Trace) -> alt.TopLevelMixin:
    """The two panels."""
    ours, theirs = flextier(trace), backoff(trace)
    end = float(max(trace.deadline, *(one.ended for one in (*ours, *theirs))))
    panels = alt.vconcat(
        _in_flight(trace, ours, end),
        _ticks("flextier, 200 calls", ours, end, last=False),
        _ticks(
            "backoff until 30 s before the deadline, the same 200 calls", theirs, end, last=True
        ),
        spacing=14,
    )
    return styled(panels)


def _in_flight(trace: Trace, seen: Sequence[Seen], end: float) -> Any:
    steps = [(start, slots) for start, slots in trace.weather.steps if start < end]
    slots = [{"at": start, "slots": slots} for start, slots in (*steps, (end, steps[-1][1]))]
    flights = sorted(
        [(one.sent, 1) for one in seen if one.flex] + [(one.ended, -1) for one in seen if one.flex]
    )
    counts = accumulate(change for _, change in flights)
    # Of the changes at one moment, the last one's count.
    under_way = {at: count for (at, _), count in zip(flights, counts, strict=True)}
    lines = [{"at": at, "count": count} for at, count in {0.0: 0, **under_way, end: 0}.items()]
    # Where they fit on `outages`.
    notes = [
        {"at": 1.5, "y": 2.2, "text": "probes, ever rarer", "colour": BLUE},
        {"at": 32, "y": 8.6, "text": "10 slots of flex", "colour": GREEN},
        {"at": 32, "y": 5.4, "text": "as one ends,", "colour": BLUE},
        {"at": 32, "y": 4.2, "text": "the next begins", "colour": BLUE},
        {"at": 62, "y": 10.8, "text": "now and then a probe for more", "colour": BLUE},
    ]
    x = _time(end, labels=False)
    area = (
        _data(slots)
        .mark_area(interpolate="step-after", color=SLOTS, aria=False)
        .encode(x=x, y=alt.Y("slots:Q", title=None, axis=alt.Axis(tickCount=3)))
    )
    line = (
        _data(lines)
        .mark_line(interpolate="step-after", color=BLUE, strokeWidth=1.5, aria=False)
        .encode(x=x, y="count:Q")
    )
    text = (
        _data(notes)
        .mark_text(align="left", aria=False)
        .encode(
            x=x,
            y="y:Q",
            text="text:N",
            color=alt.Color("colour:N", scale=None),
        )
    )
    title = _title("flex's slots, and flextier's requests under way")
    return (area + line + text).properties(width=_WIDTH, height=130, title=title)


def _ticks(name: str, seen: Sequence[Seen], end: float, *, last: bool) -> Any:
    x = _time(end, labels=last)
    y = alt.Y("y:Q", axis=None, title=None).scale(domain=[0, len(_KINDS)])
    layers = []
    for place, (kind, colour) in enumerate(_KINDS.items()):
        row = len(_KINDS) - 1 - place
        ends = [one.ended for one in seen if one.kind == kind]
        # A single line, broken between the ticks: a path, not hundreds of marks.
        ticks: Rows = []
        for at in sorted({round(at / _PIXEL) * _PIXEL for at in ends}):
            ticks += [
                {"n": len(ticks) + n, "at": at, "y": y}
                for n, y in enumerate((row + 0.15, row + 0.85, None))
            ]
        labels_data = [{"at": end, "y": row + 0.5, "text": f"{len(ends):,} {kind}"}]
        layers += [
            _data(ticks)
            .mark_line(color=colour, strokeWidth=1.2, aria=False)
            .encode(x=x, y=y, order="n:Q"),
            _data(labels_data)
            .mark_text(align="left", dx=8, color=colour, aria=False)
            .encode(x=x, y=y, text="text:N"),
        ]
    return alt.layer(*layers).properties(width=_WIDTH, height=66, title=_title(name))


def _title(text: str) -> alt.TitleParams:
    return alt.TitleParams(text, anchor="start", frame="group", offset=4)


def _data(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=rows))


def _time(end: float, *, labels: bool) -> alt.X:
    axis = alt.Axis(grid=True, labels=labels, values=list(range(0, int(end) + 1, 30)))
    title = "seconds" if labels else None
    return alt.X("at:Q", title=title, axis=axis).scale(domain=[0, end], nice=False)


def main() -> None:
    """Rehearse and draw."""
    parser = argparse.ArgumentParser(description="A picture of the limiter at work.")
    parser.add_argument("--trace", default="outages", metavar="NAME", help="[outages]")
    parser.add_argument("--plot", type=Path, default=PICTURE, metavar="FILE.svg")
    options = parser.parse_args()
    title = "How flextier's limiter meets outages"
    about = (
        "Slots of flex and requests under way over time, and each refusal and answer, of flextier "
        "and of backoff until the deadline."
    )
    save(picture(Trace.load(options.trace)), options.plot, title, about)


if __name__ == "__main__":
    main()
