"""How the benchmarks' pictures look, and how they are written: SVG on white, readable anywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from flextier.report.charts import inlined

INK, MUTED, LINE = "#1f2933", "#52606d", "#d9dee3"
BLUE, RED, GREY = "#1d5fb4", "#c8372d", "#6b7683"
GREEN, SLOTS = "#2c6e36", "#d3ead6"

_DECIMALS = re.compile(r"\d+\.\d{2,}")


def styled(chart: Any) -> alt.TopLevelMixin:
    """The chart in the colours and sizes of all pictures."""
    done: alt.TopLevelMixin = (
        chart.properties(background="white", padding=12)
        .configure(font="Helvetica, Arial, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=MUTED,
            titleColor=MUTED,
            titleFontWeight="normal",
            labelFontSize=11,
            titleFontSize=11,
            gridColor=LINE,
            domain=False,
            ticks=False,
            labelPadding=6,
        )
        .configure_title(color=INK, fontSize=12)
        .configure_text(fontSize=11.5, color=INK)
    )
    return done


def save(chart: alt.TopLevelMixin, file: Path, title: str, about: str) -> None:
    """Write it, with a title and a description for those who do not see it."""
    drawn: str = vl_convert.vegalite_to_svg(chart.to_dict(validate=False))
    short = _DECIMALS.sub(lambda number: f"{float(number[0]):.1f}", drawn)
    file.write_text(inlined(short, name=file.stem, title=title, description=about) + "\n")


def scaling(measured: Any) -> alt.TopLevelMixin:
    """CPU of a call, and memory of one that waits, over the number of calls."""
    waits = [asdict(one) for one in measured.waiting]
    runs = [asdict(one) for one in measured.through]
    cpu = _curves(
        "ms CPU a call",
        [
            ("made, 500 at once", BLUE, [(run["calls"], run["cpu_ms"]) for run in runs]),
            ("lined up to wait", RED, [(one["calls"], one["line_up_ms"]) for one in waits]),
        ],
    )
    memory = _curves(
        "KB a waiting call", [("", BLUE, [(one["calls"], one["kb"]) for one in waits])]
    )
    return styled(alt.hconcat(cpu, memory, spacing=48))


def conversations(ratios: dict[str, list[tuple[int, float]]]) -> alt.TopLevelMixin:
    """CPU of a call over the plain class's, by the number of messages, for each class."""
    colours = (BLUE, GREEN, RED, GREY)
    curves = [
        (name, colour, points)
        for (name, points), colour in zip(ratios.items(), colours, strict=False)
    ]
    title = "CPU of a call, over the plain class"
    return styled(_curves(title, curves, over="messages", most=1.0, width=420, height=230))


def _curves(
    title: str,
    curves: Sequence[tuple[str, str, Sequence[tuple[int, float]]]],
    over: str = "calls",
    most: float | None = None,
    width: int = 290,
    height: int = 170,
) -> alt.LayerChart:
    sizes = sorted({calls for _, _, points in curves for calls, _ in points})
    if most is None:
        most = 1.3 * max(value for _, _, points in curves for _, value in points)
    layers = []
    for number, (name, colour, points) in enumerate(curves):
        rows = [{"calls": calls, "value": value} for calls, value in points]
        named = [{**rows[-1], "name": name}]
        if over == "messages":  # a legend at the upper right: the curves end close to each other
            named[0]["value"] = most * (0.9 - 0.09 * number)
        x = alt.X(
            "calls:Q",
            title=over,
            scale=alt.Scale(type="log", domain=[sizes[0], sizes[-1]], nice=False),
            axis=alt.Axis(values=sizes, format=",d", grid=False),
        )
        y = alt.Y(
            "value:Q",
            title=None,
            scale=alt.Scale(domain=[0, most]),
            axis=alt.Axis(tickCount=5),
        )
        base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, y=y)
        layers += [
            base.mark_line(color=colour, strokeWidth=2, aria=False),
            base.mark_point(color=colour, filled=True, size=50, opacity=1, aria=False),
            alt.Chart(alt.InlineData(values=named))
            .mark_text(align="right", dy=-12, color=colour, aria=False)
            .encode(x=x, y=y, text="name:N"),
        ]
    return alt.layer(*layers).properties(
        width=width,
        height=height,
        title=alt.TitleParams(title, anchor="start", frame="group", offset=8),
    )
