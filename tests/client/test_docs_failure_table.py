"""The table of docs/failures.md, read from there: each row happens as its cells say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from flextier.lanes.failures import Kind
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, Caller

PAGE = Path(__file__).parents[2] / "docs" / "failures.md"
_HEAD = "| what arrives | outcome | on flex | on standard |\n|---|---|---|---|\n"
_OUTCOMES = {*get_args(Kind), "usage_unsupported"}

PLAIN, STREAM = Caller("chat", False, False), Caller("chat", True, False)
EXAMPLES: dict[str, tuple[Caller, Fault]] = {
    "429 with code": (PLAIN, Fault.status(429, error_code="something_new")),
    "429 `rate_limit_exceeded`": (PLAIN, Fault.rate_limit(retry_after_ms=5)),
    '429 "Request too large"': (PLAIN, Fault.token_limit(30_000, 0, 36_278)),
    "429 `insufficient_quota`": (PLAIN, Fault.quota()),
    "408": (PLAIN, Fault.status(408)),
    "409, 5xx": (PLAIN, Fault.body("null")),
    "400 that refuses the tier": (PLAIN, Fault.unsupported()),
    "400 or 422 that refuses the field": (
        PLAIN,
        Fault.status(422, message="service_tier: Extra inputs are not permitted"),
    ),
    '400 "must be verified to stream"': (STREAM, Fault.unverified()),
    "400 or 422 that names no field": (STREAM, Fault.status(400, message="Bad request.")),
    "any other 4xx": (PLAIN, Fault.status(404)),
}
"""What to call, and the fault that it meets, by the beginning of the row."""


def _rows() -> list[tuple[str, str, str, str]]:
    """Those of the table that are about flex and standard: an example, the outcome, two cells."""
    table = PAGE.read_text(encoding="utf-8").partition(_HEAD)[2].partition("\n\n")[0]
    found = []
    for line in table.splitlines():
        arrives, outcome, flex, standard = (x.strip() for x in line.strip("|").split(" | "))
        if standard != "\N{EN DASH}":
            (example,) = [x for x in EXAMPLES if arrives.startswith(x)] or [arrives]
            found.append(
                (example, _outcome(outcome), flex, flex if standard == "same" else standard)
            )
    return found


def _outcome(cell: str, otherwise: str = "") -> str:
    """The outcome that a cell names."""
    return next((x for x in re.findall(r"`(\w+)`", cell) if x in _OUTCOMES), otherwise)


ROWS = _rows()


def test_every_row_has_an_example() -> None:
    """And every example its row."""
    assert [row[0] for row in ROWS] == list(EXAMPLES)


@pytest.mark.filterwarnings("ignore::flextier.StreamUnverifiedWarning")
@pytest.mark.parametrize("lane", ["flex", "standard"])
@pytest.mark.parametrize(("example", "outcome", "flex", "standard"), ROWS, ids=lambda x: x[:24])
def test_the_row_says_what_happens(
    lane: str, example: str, outcome: str, flex: str, standard: str, sim: Simulator
) -> None:
    """The attempts are those that the cell of the lane describes, in the words below."""
    cell = flex if lane == "flex" else standard
    here = f"{lane}:{_outcome(cell, outcome)}"
    expected = {
        "raised": [here],
        "`max_retries` retries": [here] * 3,
        "the next lane": [here, "standard:served"],
        "standard at once": [here, "standard:served"],
    }
    words = next((words for words in expected if cell.startswith(words)), "")
    attempts = expected.get(words, [here, f"{lane}:served"])  # the same lane again
    if words == "`max_retries` retries" and "the next lane" in cell:
        attempts = [*attempts, "standard:served"]
    caller, fault = EXAMPLES[example]
    sim.script(*[fault] * sum(one == here for one in attempts))
    policy = FAST.replace(lanes=("flex", "standard") if lane == "flex" else ("standard",))
    result = caller(sim.base_url, policy)
    assert [f"{one.lane}:{one.outcome}" for one in result.report.attempts] == attempts
    assert (result.error is None) is attempts[-1].endswith(":served")
