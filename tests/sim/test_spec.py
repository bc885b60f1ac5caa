"""The one-line spelling of the weather."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.sim import Weather


@pytest.mark.parametrize(
    ("line", "weather"),
    [
        ("", Weather()),
        (" refuse = 0.3 ,, ", Weather(refuse=0.3)),
        ("outage=10-40,outage=60-90.5", Weather(outages=((10, 40), (60, 90.5)))),
        ("slots=5,step=60:0,step=90:8", Weather(slots=5, steps=((60, 0), (90, 8)))),
        ("stall=0.02,stall-seconds=3,slow=2", Weather(stall=0.02, stall_seconds=3, slow=2)),
        ("retry_after=300", Weather(retry_after=300)),
        ("retry_after=1.5", Weather(retry_after=1.5)),
        ("retry_after=soon", Weather(retry_after="soon")),
        ("standard_latency=0.5", Weather(standard_latency=0.5)),
        ("flex_latency=1-4", Weather(flex_latency=(1, 4))),
        (
            "unsupported=o1*,unsupported=o3,unverified=gpt-5",
            Weather(unsupported_models=("o1*", "o3"), unverified_models=("gpt-5",)),
        ),
        (
            "stall_window=10-40:0.5,slow-window=0-9:4,slow_window=20-30:0.5",
            Weather(stall_windows=((10, 40, 0.5),), slow_windows=((0, 9, 4), (20, 30, 0.5))),
        ),
        ("bucket=2.5/10", Weather(bucket=(2.5, 10))),
        ("rpm=60,refusal_latency=0.1-0.4", Weather(rpm=60, refusal_latency=(0.1, 0.4))),
        (
            "slots=5,o3:slots=2,o3:step=60:0,o4*:slow=2,ft:o4-mini:me:slots=1",
            Weather(
                slots=5,
                models=(
                    ("o3", Weather(slots=2, steps=((60, 0),))),
                    ("o4*", Weather(slots=5, slow=2)),
                    ("ft:o4-mini:me", Weather(slots=1)),
                ),
            ),
        ),
        ("random=60/20/3,slow=2", Weather.random(3, 60, 20, slow=2.0)),
        ("random=60/20", Weather.random(0, 60, 20)),
    ],
)  # fmt: skip
def test_line_means_weather(line: str, weather: Weather) -> None:
    """Every word sets its field."""
    assert Weather.parse(line) == weather


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rain=1", "unknown word 'rain'"),
        ("refuse", "refuse needs a value"),
        ("refuse=often", "refuse=often cannot be read"),
        ("refuse=0.1,refuse=0.2", "refuse is given twice"),
        ("refuse=7", "refuse must be a probability"),
        ("outage=10", "joined by a dash"),
        ("outage=40-10", "outages must be"),
        ("step=5", "joined by a colon"),
        ("slots=2.5", "slots=2.5 cannot be read"),
        ("stall_window=5-10", "joined by a colon"),
        ("slow_window=5:2", "joined by a dash"),
        ("rpm=0", "rpm must be"),
        ("bucket=2", "a rate and a burst"),
        ("bucket=0/10", "bucket must be"),
        (":slots=2", "a model's name is needed"),
        ("o3:rain=2", "unknown word 'rain'"),
        ("o3:slots=1,o3:slots=2", "slots is given twice"),
        ("o3:slots=-1", "models: o3: slots must be"),
        ("random=60", "mean open and shut"),
        ("random=0/5", "mean_open must be"),
    ],
)
def test_mistakes_are_explained(line: str, problem: str) -> None:
    """A word that cannot be is an error that quotes it."""
    with pytest.raises(ValueError, match=problem):
        Weather.parse(line)


@given(
    refuse=st.floats(0, 1),
    slots=st.integers(0, 1000),
    outage=st.tuples(st.integers(0, 1000), st.integers(1, 1000)),
)
def test_what_is_written_is_what_is_read(
    refuse: float, slots: int, outage: tuple[int, int]
) -> None:
    """A line written from numbers reads as the weather of these numbers."""
    start, length = outage
    line = f"refuse={refuse},slots={slots},outage={start}-{start + length}"
    expected = Weather(refuse=refuse, slots=slots, outages=((start, start + length),))
    assert Weather.parse(line) == expected


@given(line=st.text(max_size=40))
def test_any_line_is_weather_or_a_value_error(line: str) -> None:
    """No line does anything but describe a weather or explain itself."""
    with suppress(ValueError):
        assert isinstance(Weather.parse(line), Weather)
