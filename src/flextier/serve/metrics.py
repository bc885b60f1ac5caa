"""``/metrics``: the gateway in the text format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from flextier.capacity.snapshot import LaneState
from flextier.costs.sums import Sums
from flextier.serve.records import Records

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LEVEL = "gauge"  # codespell:ignore gauge
Sample = tuple[dict[str, str], Any]


def metrics(records: Records, lanes: Iterable[LaneState], *, running: int) -> str:
    """The page."""
    return "".join(line for each in _families(records, tuple(lanes), running) for line in each)


def _families(
    records: Records, lanes: tuple[LaneState, ...], running: int
) -> Iterator[Iterator[str]]:
    totals = records.totals.copy()
    yield _family("calls_running", _LEVEL, "Calls that run or wait.", [({}, running)])
    for name, text, field in (
        ("calls_total", "Calls with a response, by the lane billed.", "calls"),
        ("failed_calls_total", "Calls without one, by their last lane.", "failed_calls"),
        ("fallbacks_total", "Calls not billed on their first lane.", "fallback_calls"),
        ("refusals_total", "Attempts refused for want of capacity.", "refusals"),
        ("input_tokens_total", "Input tokens billed.", "input_tokens"),
        ("output_tokens_total", "Output tokens billed.", "output_tokens"),
    ):
        yield _family(name, "counter", text, _by("lane", totals.by_lane, field))
    for group, sums in (("model", totals.by_model), ("token", totals.by_tag)):
        text = f"US$ that calls have cost, by {group}."
        yield _family(f"cost_dollars_by_{group}_total", "counter", text, _by(group, sums, "cost"))
    for name, text, field in (
        ("cost_dollars_total", "US$ that calls have cost, by lane.", "cost"),
        ("saved_dollars_total", "US$ saved in comparison with standard.", "saved"),
    ):
        yield _family(name, "counter", text, _by("lane", totals.by_lane, field))
    ended = totals.calls + totals.failed_calls
    for name, text, seconds in (
        ("call_seconds", "Seconds from a call to its end.", records.elapsed),
        ("waited_seconds", "Seconds between the attempts of a call.", records.waited),
    ):
        yield _summary(name, text, seconds, ended)
    for name, text, field in (
        ("lane_waiting", "Calls in the queue of a lane.", "waiting"),
        ("lane_in_flight", "Requests of a lane in flight.", "in_flight"),
        ("lane_limit", "Requests that a lane is known to accept at once.", "limit"),
        ("lane_opens_in_seconds", "Seconds until a lane may be tried again.", "opens_in"),
    ):
        values = [(_labels(lane), getattr(lane, field)) for lane in lanes]
        known = [(labels, value) for labels, value in values if value is not None]
        yield _family(name, _LEVEL, text, known)
    is_open = [(_labels(lane), int(lane.state == "open")) for lane in lanes]
    yield _family("lane_open", _LEVEL, "Whether a lane is open.", is_open)


def _labels(lane: LaneState) -> dict[str, str]:
    return {"base_url": lane.base_url, "model": lane.model, "lane": lane.lane}


def _by(label: str, groups: dict[str, Sums], field: str) -> list[Sample]:
    return [({label: name}, getattr(sums, field)) for name, sums in groups.items()]


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP flextier_{name} {text}\n# TYPE flextier_{name} {kind}\n"
    for labels, value in samples:
        pairs = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        shown = f"{{{pairs}}}" if pairs else ""
        yield f"flextier_{name}{shown} {_number(value)}\n"


def _summary(name: str, text: str, total: float, count: int) -> Iterator[str]:
    yield f"# HELP flextier_{name} {text}\n# TYPE flextier_{name} summary\n"
    yield f"flextier_{name}_sum {_number(total)}\nflextier_{name}_count {count}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: Any) -> str:
    if value == math.inf:
        return "+Inf"
    return str(value) if isinstance(value, int) else f"{value:f}"
