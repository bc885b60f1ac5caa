"""Hostile batches: every call ends as an answer or as an exception of the SDK, paid once."""

from __future__ import annotations

import random
from typing import Any

import openai
import pytest

from flextier.sim import BatchOutcome, Fault, Simulator
from tests.batch.crowd import PATIENT, Crowd, options, questions
from tests.batch.test_faults import PLACES
from tests.client.hostile_server import ODD, PAGES, STATUSES, chat, odd_value

pytestmark = pytest.mark.exhaustive

LINES, ODD_LINES, FILES = 50, 40, 25
"""With threads and tasks, 2,500 calls, of which 2,000 have an odd line."""
LIST: dict[str, Any] = {"method": "GET", "path": "/batches"}


def odd_line(rng: random.Random) -> Any:
    """What a line has for its response; or the text of the line."""
    line = {"status_code": 200, "request_id": "r", "body": chat("o3", "default")}
    match rng.randrange(8):
        case 0:
            return rng.choice(PAGES).decode("latin-1").replace("\n", " ")
        case 1:
            return {**line, "status_code": rng.choice([*STATUSES, *ODD])}
        case 2:
            return {**line, "status_code": rng.choice([0, *STATUSES]), "body": rng.choice(ODD)}
        case _:
            return odd_value(rng, line)


def faults(rng: random.Random) -> list[Fault]:
    """A few answers to requests for the batch that are none."""
    places = [rng.choice([*PLACES.values(), LIST]) for _ in range(rng.randrange(4))]
    return [Fault.body(rng.choice(PAGES)).on(**place) for place in places]


@pytest.mark.parametrize("seed", range(FILES))
def test_hostile_batches(seed: int, crowd: Crowd, sim: Simulator) -> None:
    """Files whose lines are odd, and odd answers to their requests."""
    rng = random.Random(seed)
    written = [odd_line(rng) for _ in range(ODD_LINES)]
    texts = [one if isinstance(one, (dict, str)) else str(one) for one in written]
    sim.script_batches(BatchOutcome.complete(*texts, file=rng.choice(["output", "error"])))
    sim.script(*faults(rng))
    said = crowd(options(sim, PATIENT), questions(LINES, f"seed {seed}"))
    for one in said:
        assert one.error is None or isinstance(one.error, openai.OpenAIError), repr(one.error)
        assert one.report.attempts[0].lane == "batch"
    served = [one for one in said if one.lanes == ["batch:served"] and one.is_right]
    assert len(served) == LINES - ODD_LINES
    assert sim.paid()["twice"] == []
