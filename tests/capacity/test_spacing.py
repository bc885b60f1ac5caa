"""How far apart probes are."""

from __future__ import annotations

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.capacity.permit import DEFAULT_SPACING, ProbeSpacing

spacings = st.builds(
    lambda initial, multiplier, more, jitter: ProbeSpacing(
        initial, multiplier, initial + more, jitter
    ),
    st.floats(0, 10),
    st.floats(1, 4),
    st.floats(0, 600),
    st.floats(0, 1, exclude_max=True),
)
probes = st.integers(0, 5_000)
times = st.floats(0, 1e5)
silences = st.floats(0.05, 3)


def test_probes_back_off() -> None:
    """Each one waits longer than the one before, up to the longest."""
    waits = [ProbeSpacing(1, 2, 60, 1).seconds(probes, 1e9, 0.05) for probes in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_short_outage_is_noticed_soon() -> None:
    """No wait is longer than a part of the time since the first refusal."""
    assert ProbeSpacing(1, 2, 60, 1).seconds(8, 5.0, 0.05) == 5.0


def test_the_first_wait_is_the_policys() -> None:
    """However short the time since: that is what ``backoff_initial`` is for; five times as long at
    most until the time since counts."""
    assert ProbeSpacing(3, 2, 60, 1).seconds(0, 0.0, 0.05) == 3.0
    assert ProbeSpacing(3, 2, 60, 1).seconds(8, 0.0, 0.05, 5) == 15.0


def test_a_probe_waits_for_the_word_about_the_one_before() -> None:
    """No shorter than a refusal takes, however impatient the policy is."""
    assert ProbeSpacing(0, 2, 0, 1).seconds(4, 0.0, 0.7) == 0.7


@pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 6.0), (0.5, 7.0), (1.0, 8.0)])
def test_a_quarter_is_left_to_chance(jitter: float, seconds: float) -> None:
    """So that processes do not probe in step."""
    assert ProbeSpacing(1, 2, 60, jitter).seconds(3, 1e9, 0.05) == seconds


def test_many_probes_are_no_error() -> None:
    """A lane that is shut for days: 2 to the power of 5,000 is more than a float holds."""
    assert ProbeSpacing(1, 2, 60, 1).seconds(5_000, 1e9, 0.05) == 60


@given(spacings, probes, times, silences)
def test_waits_are_bounded(
    spacing: ProbeSpacing, probes: int, share: float, silence: float
) -> None:
    """Never above the longest, the share or five first waits, never below silence."""
    seconds = spacing.seconds(probes, share, silence, 5)
    assert seconds >= silence
    assert seconds <= max(spacing.longest, silence)
    assert seconds <= max(5 * spacing.initial, share, silence)
    assert seconds >= 0.75 * min(spacing.initial, spacing.longest)


@given(st.floats(1, 1e5))
def test_an_outage_is_noticed_within_a_part_of_its_length(length: float) -> None:
    """With a seventh of the time so far; the probes that this takes grow with its logarithm."""
    now, sent = 0.0, 0
    while now < length:
        sent += 1
        now += ProbeSpacing(1, 2, 1e9, 0.999).seconds(sent, now / 7, 0.05, 5)
    assert now <= length * 8 / 7 + 5
    assert sent <= 8 + 8 * log(length)


def test_the_usual_spacing_is_the_policys_default() -> None:
    """The default spacing equals the policy's defaults."""
    assert DEFAULT_SPACING[:3] == (1.0, 2.0, 60.0)
