"""The table of docs/failures.md says what the ladder does."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from flextier.lanes import FLEX, STANDARD, Lane
from flextier.lanes.failures import Kind
from flextier.planning.fallback import FailedAttempt, GiveUp, Ladder, Send, Step
from flextier.policy import FlexPolicy
from tests.docs.programs import ROOT

ROW = re.compile(r"^\| (.+) \| `(\w+)`.*? \| (.+) \| (.+) \|$", re.MULTILINE)
ROWS = ROW.findall((ROOT / "docs" / "failures.md").read_text(encoding="utf-8"))[:13]


def step(kind: Kind, *lanes: Lane) -> Step:
    """What follows the first failure of a call, a second after its beginning."""
    ladder = Ladder(FlexPolicy(), lanes, 0.0, lambda lane: 0.0)
    ladder.start(0.0)
    return ladder.failed(FailedAttempt(kind=kind, now=1.0))


def words(step: Step, lane: Lane) -> str:
    """How the table says it, as a pattern."""
    if isinstance(step, GiveUp):
        return "^raised"
    assert isinstance(step, Send)
    if step.plain:
        return "^one call without streaming"
    return "queue|same lane|retry|retries|^as `rate_limited`" if step.lane is lane else "at once"


def test_every_kind_is_in_the_table() -> None:
    """And no other, but the repeated call without an added field, which is no failure."""
    assert {kind for _, kind, _, _ in ROWS} == {*get_args(Kind), "usage_unsupported"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1])
def test_a_row(row: tuple[str, str, str, str]) -> None:
    """Its columns for flex and for standard are the ladder's next steps."""
    arrives, kind, on_flex, on_standard = row
    if kind not in get_args(Kind) or kind == "unfinished":
        return
    if on_standard == "same":
        on_standard = on_flex
    assert re.search(words(step(kind, FLEX, STANDARD), FLEX), on_flex), arrives
    if "without the field" not in on_flex:  # the call is repeated, and no step of the ladder
        assert re.search(words(step(kind, STANDARD), STANDARD), on_standard), arrives
