"""Traces: what is shipped, what is read, and what is said of mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flextier.rehearsal import Trace
from flextier.rehearsal.trace import TraceJob, names
from flextier.sim import Weather


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Writes a trace file; returns its path."""

    def write(data: Any) -> Path:
        path = tmp_path / "mine.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write


def test_shipped_traces() -> None:
    """Each has a sentence about it, at most 2,000 jobs, and the name of its file."""
    assert names() == [
        "day",
        "few-slots",
        "late-jobs",
        "openings-2s",
        "openings-6s",
        "outages",
        "ramp",
        "rate-limit",
        "refusals",
        "sawtooth",
        "slow-down",
        "stalled-30-slots",
        "stalled-slots",
        "stalls",
        "token-bucket",
        "two-models",
        "two-models-day",
    ]
    for name in names():
        trace = Trace.load(name)
        assert trace.name == name
        assert trace.about.endswith(".")
        assert trace.jobs <= 2000


def test_late_jobs_have_deadlines_of_their_own(written: Any) -> None:
    """They come at once, between the others, and take their turn with the models."""
    path = written(
        {"jobs": 2, "arrivals": 20, "deadline": 50, "late_jobs": [[5, 1, 7], [30, 1, 8]]}
    )
    work = Trace.load(path).work
    assert [(job.arrives, job.deadline) for job in work] == [(0, 50), (5, 12), (10, 60), (30, 38)]
    assert [job.seconds for job in work] == [50, 7, 50, 8]


@pytest.mark.parametrize("late", [5, [5], [[5, 1]], [[-1, 1, 9]], [[5, 0, 9]], [[5, 1, 0]]])
def test_late_jobs_that_cannot_be_are_named(late: Any) -> None:
    """Before anything is run."""
    with pytest.raises(ValueError, match="late_jobs"):
        Trace.from_dict({"late_jobs": late})


def test_the_outage_trace() -> None:
    """200 jobs at once; shut for 30 s, 10 slots for 30 s, shut for 45 s, 10 slots for 45 s."""
    trace = Trace.load("outages")
    assert (trace.jobs, trace.deadline, trace.arrivals) == (200, 180, 0)
    slots = {t: trace.weather.slots_at(t) for t in (0, 29, 30, 59, 60, 104, 105, 149, 150)}
    assert slots == {0: 0, 29: 0, 30: 10, 59: 10, 60: 0, 104: 0, 105: 10, 149: 10, 150: 0}
    assert trace.weather.flex_latency == 3


def test_a_file_of_ones_own(written: Any) -> None:
    """A file says what differs from the defaults; its name is the trace's."""
    path = written({"weather": {"slots": 3}, "jobs": 6, "models": "o3", "arrivals": 12})
    expected = Trace(name="mine", weather=Weather(slots=3), jobs=6, models=("o3",), arrivals=12)
    assert Trace.load(path) == Trace.load(str(path)) == expected


def test_the_trace_in_the_docs() -> None:
    """The example of docs/rehearsal.md can be read, and every shipped trace is in its table."""
    docs = (Path(__file__).parents[2] / "docs" / "rehearsal.md").read_text(encoding="utf-8")
    trace = Trace.from_dict(json.loads(docs.split("```json\n")[1].split("```")[0]))
    assert trace.weather.slots == 4
    assert all(f"| `{name}` |" in docs for name in names())


def test_jobs_arrive_evenly_and_take_turns() -> None:
    """Over 12 s, 4 jobs come 3 s apart; two models get every second one."""
    trace = Trace(jobs=4, arrivals=12, deadline=10, models=("o3", "o4-mini"))
    assert trace.work == (
        TraceJob("o3", 0, 10),
        TraceJob("o4-mini", 3, 13),
        TraceJob("o3", 6, 16),
        TraceJob("o4-mini", 9, 19),
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"jobs": 0}, "jobs must be above 0"),
        ({"jobs": 1.5}, "jobs must be a whole number above 0"),
        ({"jobs": None}, "jobs must be above 0"),
        ({"deadline": 0}, "deadline must be above 0"),
        ({"deadline": "soon"}, "deadline must be above 0"),
        ({"arrivals": -1}, "arrivals must be 0 or more"),
        ({"arrivals": None}, "arrivals must be 0 or more"),
        ({"models": []}, "models must name at least one"),
        ({"models": [3]}, "models must be a tuple of names"),
        ({"models": {"o3": 1}}, "models must be a tuple of names"),
        ({"seed": "one"}, "seed must be a whole number"),
        ({"name": 3}, "name must be a text"),
        ({"weather": {"slots": -1}}, "weather: slots must be 0 or more"),
        ({"weather": {"rain": 1}}, "weather: weather has unknown fields: rain"),
        ({"weather": {"models": {"o3": {"rpm": 0}}}}, "weather: models: o3: rpm must be"),
        ({"weather": "slots=1"}, "weather: weather must be an object"),
        ({"rain": 1}, "unknown fields: rain"),
        ([1], "a trace must be an object"),
        ("{", "Expecting"),
    ],
    ids=str,
)
def test_mistakes_name_file_and_field(written: Any, fields: Any, problem: str) -> None:
    """A mistake in a file is a ValueError with the file's name and the field's."""
    with pytest.raises(ValueError, match=rf"trace .*mine\.json: {problem}"):
        Trace.load(written(fields))


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    """A name that is none of ours, and no file, lists what there is."""
    with pytest.raises(ValueError, match="no trace is called 'outage'; there are: day, few-slots"):
        Trace.load("outage")


def test_a_file_that_is_not_there() -> None:
    """A missing file is the error of the system."""
    with pytest.raises(FileNotFoundError):
        Trace.load("no/such/trace.json")


def test_replaced_fields_are_checked() -> None:
    """None leaves a field as it is; anything else has to be possible."""
    trace = Trace(jobs=3)
    assert trace.replace(jobs=None, deadline=None) == trace
    assert trace.replace(jobs=5).jobs == 5
    with pytest.raises(ValueError, match=r"^deadline must be above 0"):
        trace.replace(deadline=-1)
