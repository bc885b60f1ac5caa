"""Traces: a weather and the calls made in it, as small JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict, Unpack

from flextier._utils.suggest import check_arguments
from flextier.sim.base import validation
from flextier.sim.behavior.weather import Weather

DEFAULT_MODEL = "o4-mini"


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One call of a rehearsal."""

    model: str
    """The model asked for."""
    arrives: float
    """When it is made, in seconds since the weather's clock started."""
    deadline: float
    """Latest time of its answer, on the same clock."""

    @property
    def seconds(self) -> float:
        """Seconds within which it is to be answered."""
        return round(self.deadline - self.arrives, 6)


class TraceFields(TypedDict, total=False):
    """The fields of :class:`Trace` as keyword arguments; None: unchanged."""

    name: str | None
    about: str | None
    weather: Weather | None
    jobs: int | None
    deadline: float | None
    models: tuple[str, ...] | None
    arrivals: float | None
    late_jobs: tuple[tuple[float, int, float], ...] | None
    seed: int | None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A weather and the calls made in it; arguments of a rehearsal override fields.

    How long real outages last is not public: every number of a trace is a guess.

    Raises:
        ValueError: A field is out of its range; the message names it.
    """

    name: str = "trace"
    """Its name; default in a file: the file's name."""
    about: str = ""
    """Its description, in one sentence."""
    weather: Weather = field(default=Weather())
    """The provider's behaviour, latencies included."""
    jobs: int = 200
    """Number of calls."""
    deadline: float = 180.0
    """Deadline of a call in seconds."""
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    """The models, round robin: of two, each gets every second job."""
    arrivals: float = 0.0
    """Seconds over which the jobs arrive, evenly; 0: all at once."""
    late_jobs: tuple[tuple[float, int, float], ...] = ()
    """Further jobs with deadlines of their own, ``(arrives, jobs, deadline)``: at that second, that
    many at once, each to be answered within ``deadline`` seconds."""
    seed: int = 1
    """Seed of the random numbers of the weather and of the client."""

    def __post_init__(self) -> None:
        for name in ("name", "about"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text, not {getattr(self, name)!r}")  # noqa: TRY004
        if not isinstance(self.weather, Weather):
            raise ValueError(f"weather must be a Weather, not {self.weather!r}")  # noqa: TRY004
        validation.positive("jobs", self.jobs)
        validation.whole("jobs", self.jobs)
        validation.positive("deadline", self.deadline)
        validation.names("models", self.models)
        if not self.models or not all(self.models):
            raise ValueError(f"models must name at least one, not {self.models!r}")
        validation.not_negative("arrivals", self.arrivals)
        if self.arrivals is None:
            raise ValueError("arrivals must be 0 or more, not None")
        _check_late_jobs(self.late_jobs)
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise ValueError(f"seed must be a whole number, not {self.seed!r}")  # noqa: TRY004

    @property
    def work(self) -> tuple[TraceJob, ...]:
        """The jobs, in order of arrival."""
        gap = self.arrivals / self.jobs
        spans = [(i * gap, self.deadline) for i in range(self.jobs)]
        spans += [(at, deadline) for at, jobs, deadline in self.late_jobs for _ in range(jobs)]
        return tuple(
            TraceJob(self.models[i % len(self.models)], arrives, arrives + deadline)
            for i, (arrives, deadline) in enumerate(sorted(spans, key=lambda span: span[0]))
        )

    def replace(self, **changes: Unpack[TraceFields]) -> Trace:
        """A copy with some fields changed; None: unchanged.

        Raises:
            ValueError: A value is out of its range.
        """
        check_arguments("Trace.replace", changes, TraceFields.__annotations__)
        given: dict[str, Any] = {name: to for name, to in changes.items() if to is not None}
        return replace(self, **given)

    @classmethod
    def load(cls, which: str | Path) -> Trace:
        """A trace that comes with flextier, by name, or from a JSON file.

        Args:
            which: A name of :func:`names`, or the path of a JSON file with the fields of this
                class. A file is one with a slash or ``.json`` in it.

        Raises:
            OSError: The file cannot be read.
            ValueError: There is no trace of this name; or the file is no JSON object, or a field
                is unknown or out of its range: the message names file and field.
        """
        name = str(which)
        if isinstance(which, Path) or "/" in name or "\\" in name or name.endswith(".json"):
            path = Path(which)
            return _read(path.read_text(encoding="utf-8"), path.stem, name)
        bundled = _bundled()
        if name not in bundled:
            known = ", ".join(bundled)
            raise ValueError(f"no trace is called {name!r}; there are: {known}; or give a file")
        return _read(bundled[name].read_text(encoding="utf-8"), name, name)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Trace:
        """A trace from JSON types: ``weather`` as in :meth:`flextier.sim.Weather.from_dict`,
        ``models`` a list or a string.

        Raises:
            ValueError: A field is unknown or out of its range; the message names it.
        """
        if not isinstance(data, Mapping):
            raise ValueError("a trace must be an object")  # noqa: TRY004 - an invalid file
        if unknown := set(data) - {field.name for field in fields(cls)}:
            raise ValueError(f"unknown fields: {', '.join(sorted(unknown))}")
        given = dict(data)
        if "weather" in given:
            given["weather"] = _weather(given["weather"])
        if isinstance(given.get("late_jobs"), list):
            given["late_jobs"] = tuple(
                tuple(late) if isinstance(late, list) else late for late in given["late_jobs"]
            )
        models = given.get("models")
        if isinstance(models, (str, list)):
            given["models"] = (models,) if isinstance(models, str) else tuple(models)
        return cls(**given)


def _check_late_jobs(value: Any) -> None:
    triples = isinstance(value, tuple) and all(isinstance(x, tuple) and len(x) == 3 for x in value)
    if not triples:
        raise ValueError(f"late_jobs must be (arrives, jobs, deadline) each, not {value!r}")
    for arrives, jobs, deadline in value:
        validation.not_negative("late_jobs: arrives", arrives)
        validation.positive("late_jobs: jobs", jobs)
        validation.whole("late_jobs: jobs", jobs)
        validation.positive("late_jobs: deadline", deadline)


def names() -> list[str]:
    """The traces that come with flextier."""
    return list(_bundled())


def _bundled() -> dict[str, Any]:
    folder = files("flextier.rehearsal") / "traces"
    found = {file.name.removesuffix(".json"): file for file in folder.iterdir()}
    return dict(sorted((name, file) for name, file in found.items() if file.name.endswith("json")))


def _weather(data: Any) -> Weather:
    try:
        return Weather.from_dict(data)
    except ValueError as error:
        raise ValueError(f"weather: {error}") from error


def _read(text: str, name: str, shown: str) -> Trace:
    try:
        data = json.loads(text)
        return Trace.from_dict({"name": name, **data} if isinstance(data, dict) else data)
    except ValueError as error:
        raise ValueError(f"trace {shown}: {error}") from error
