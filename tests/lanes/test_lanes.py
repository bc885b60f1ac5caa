"""The lanes: their names, their tiers, and whom an answer says was billed."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import flextier
from flextier import FlexPolicy
from flextier.lanes import (
    BACKGROUND,
    BACKGROUND_FLEX,
    BATCH,
    FLEX,
    LANES,
    STANDARD,
    CallFacts,
    Lane,
    lane_named,
    tier_lane,
)
from flextier.lanes.batch import LINE_ERROR, MODEL_ERROR
from flextier.lanes.failures import Failure


def test_the_lanes() -> None:
    """The ladder can be built of these, by these names."""
    windows = {f"background-{window}": lane for window, lane in BACKGROUND.items()}
    assert {"flex": FLEX, "standard": STANDARD, "batch": BATCH, **windows} == LANES


@pytest.mark.parametrize(
    ("lane", "tier", "queues"),
    [(FLEX, "flex", True), (STANDARD, "default", False), (BATCH, "batch", False)],
)
def test_what_a_lane_is_asked_by(lane: Lane, tier: str, queues: bool) -> None:
    """The tier that is sent is explicit; only flex is worth waiting for."""
    assert (lane.service_tier, lane.queues) == (tier, queues)


@pytest.mark.parametrize(
    ("tier", "lane"),
    [("flex", FLEX), ("default", STANDARD), ("auto", STANDARD), ("standard", STANDARD)],
)
def test_the_lane_of_a_tier(tier: str, lane: Lane) -> None:
    """What an answer reports is one of our lanes, under any of its names."""
    assert tier_lane(tier) is lane


@pytest.mark.parametrize("tier", ["priority", "fast", "scale", "FLEX", ""])
def test_a_tier_that_is_not_ours(tier: str) -> None:
    """It is a lane by its own name, asked for as such, without refusals of its own."""
    lane = tier_lane(tier)
    assert lane == Lane(name=tier, service_tier=tier, price=lane.price)
    assert lane.queues is False


@pytest.mark.parametrize(
    "lane", [STANDARD, BATCH, tier_lane("priority")], ids=lambda lane: str(lane.name)
)
def test_a_plain_lane_never_says_no_by_itself(lane: Lane) -> None:
    """Only a lane with words of its own reads refusals."""
    failure = Failure(400, code="flex_unavailable", param="service_tier", message="flex")
    assert not lane.refuses(failure)
    assert not lane.unsupported(failure)


@pytest.mark.parametrize("word", ["flex_unavailable", "resource_unavailable", "capacity_exceeded"])
def test_flex_refuses_in_its_own_words(word: str) -> None:
    """As the code or as the type, whatever the status; never in the message alone."""
    assert FLEX.refuses(Failure(429, code=word))
    assert FLEX.refuses(Failure(None, type=word))
    assert not FLEX.refuses(Failure(429, message=word))
    assert not FLEX.refuses(Failure(429, code="rate_limit_exceeded", param=word))


@pytest.mark.parametrize("lane", [FLEX, STANDARD, BATCH], ids=lambda lane: str(lane.name))
def test_lanes_are_frozen(lane: Lane) -> None:
    """A lane is a fact; equal ones are equal, and may be keys."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        lane.name = "other"  # type: ignore[misc]
    assert dataclasses.replace(lane) == lane
    assert len({lane, dataclasses.replace(lane)}) == 1


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (CallFacts("/chat/completions", {}), ""),
        (CallFacts("/responses", {"background": False}), ""),
        (CallFacts("/embeddings", {}), "/embeddings"),
        (CallFacts("/responses", {}, streamed=True), "stream"),
        (CallFacts("/responses", {"background": True}), "background"),
        (CallFacts("/responses", {}, extras="headers of its own"), "headers of its own"),
    ],
)
def test_what_the_batch_lane_takes(asked: CallFacts, why: str) -> None:
    """A batch line has a body and no other options: other calls are declined with the reason."""
    assert (why in BATCH.ineligible(asked)) if why else BATCH.ineligible(asked) == ""
    assert STANDARD.ineligible(asked) == ""


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({}, "need the Responses API (LangChain: use_responses_api=True, LlamaIndex: "),
        ({"stop": None, "tool_choice": "auto", "messages": [{"role": "user"}]}, "LangChain: "),
        ({"stop": ["."], "seed": 1}, "need the Responses API, which has no seed, stop"),
        ({"tool_choice": {"allowed_tools": {}}}, "which has no tool_choice.allowed_tools"),
        ({"messages": [{"role": "user", "name": "a"}]}, "which has no names of messages"),
        ({"messages": [{"content": [{"type": "input_audio"}]}]}, "has no audio in messages"),
    ],
)
def test_why_a_chat_completion_has_no_window(body: dict[str, Any], why: str) -> None:
    """The advice to use the Responses API is for calls that lose nothing there."""
    assert why in BACKGROUND["2h"].ineligible(CallFacts("/chat/completions", body))
    assert BACKGROUND["2h"].ineligible(CallFacts("/responses", body)) == ""


def test_what_the_batch_lane_says_of_itself() -> None:
    """A refused model stays refused; a refused line says nothing of the next one."""
    assert BATCH.unsupported(Failure(400, type=MODEL_ERROR))
    assert BATCH.unsupported(Failure(413, type=LINE_ERROR))
    assert BATCH.unsupported_by_model(Failure(400, type=MODEL_ERROR))
    assert not BATCH.unsupported_by_model(Failure(413, type=LINE_ERROR))
    assert BATCH.deferred
    assert not FLEX.deferred
    assert not STANDARD.deferred


def test_names_and_windows() -> None:
    """``background`` is the lane of the policy's window, and flex may be sent in the background."""
    policy = FlexPolicy(background_window="8h", flex_background=True)
    assert lane_named("background", policy) is BACKGROUND["8h"]
    assert lane_named("background-2h", policy) is BACKGROUND["2h"]
    assert lane_named("flex", policy) is BACKGROUND_FLEX
    assert lane_named("flex", FlexPolicy()) is FLEX


@pytest.mark.parametrize(
    ("lane", "run", "fields"),
    [
        (FLEX, "r", {}),
        (BACKGROUND_FLEX, "r", {"background": True}),
        (BACKGROUND["soonest"], None, {"background": True}),
        (
            BACKGROUND["8h"],
            "r",
            {
                "background": True,
                "background_options": {"completion_window": "8h", "continuation_id": "r"},
            },
        ),
    ],
)
def test_what_a_lane_has_in_the_body(lane: Lane, run: str | None, fields: dict[str, Any]) -> None:
    """Nothing for those that are a tier alone; ``soonest`` does not have to be named."""
    assert lane.fields(run) == fields


@pytest.mark.parametrize("lane", [BACKGROUND["2h"], BACKGROUND_FLEX], ids=["window", "flex"])
@pytest.mark.parametrize(
    ("failure", "unsupported", "lasting"),
    [
        (Failure(400, param="background", code="unsupported_value"), True, True),
        (
            Failure(400, param="background_options.completion_window", code="invalid_value"),
            True,
            False,
        ),
        (Failure(400, message="Background mode is not supported with this model."), True, True),
        (Failure(400, param="input", message="background"), False, None),
        (Failure(500, param="background"), False, None),
        (Failure(404, message="The model background-1 does not exist"), False, None),
    ],
)
def test_how_the_background_says_no(
    lane: Lane, failure: Failure, unsupported: bool, lasting: bool | None
) -> None:
    """By the field that is not taken, or in words; of one call or of all of the model."""
    assert lane.unsupported(failure) is unsupported
    if lasting is not None:
        assert lane.unsupported_by_model(failure) is lasting


def test_flex_in_the_background_refuses_as_flex_does() -> None:
    """It is the same lane, by the same words, and no flex is no flex for good."""
    assert BACKGROUND_FLEX.refuses(Failure(429, code="flex_unavailable"))
    no_flex = Failure(400, param="service_tier")
    assert BACKGROUND_FLEX.unsupported(no_flex)
    assert BACKGROUND_FLEX.unsupported_by_model(no_flex)


def test_the_other_lane_of_a_name() -> None:
    """Who has no background may have flex all the same; who has no flex has neither."""
    assert BACKGROUND_FLEX.alternative_for(Failure(400, param="background")) is FLEX
    assert BACKGROUND_FLEX.alternative_for(Failure(400, param="service_tier")) is None
    assert FLEX.alternative_for(Failure(400, param="service_tier")) is None


def test_prices_stand_with_the_lanes_only() -> None:
    """A lane's share of the standard price is a number in its own file, and in no other."""
    shares = {lane.price.share for lane in LANES.values() if lane.price.share != 1}
    number = re.compile(rf'Decimal\("({"|".join(map(re.escape, map(str, shares)))})"\)')
    package = Path(str(flextier.__file__)).parent
    files = [path for path in package.rglob("*.py") if path.parent.name != "lanes"]
    assert len(shares) == 3
    assert [path for path in files if number.search(path.read_text(encoding="utf-8"))] == []
