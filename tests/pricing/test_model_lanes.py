"""What a model is sold on: the user's word, OpenAI's, the price list's, in this order."""

from __future__ import annotations

import pytest

from flextier.lanes.lane_support import parse_lane_support
from flextier.lanes.models_with_windows import has_windows, is_after_flex
from flextier.pricing.model_lanes import lanes_of_model, needs_windows

MODEL_LANES = ("gpt-6.2-sol=flex", "o3=", "gpt-*=batch+background")


@pytest.mark.parametrize(
    ("model", "lanes"),
    [
        ("gpt-6.2-sol", {"batch", "background"}),
        ("openai/gpt-6.2-astra", {"batch", "background"}),
        ("gpt-7", {"batch", "background"}),
        ("gpt-6.1-terra", {"batch", "flex", "background"}),
        ("gpt-6.1-sol", {"batch", "flex"}),
        ("o3", {"batch", "flex"}),
        ("gpt-4.1", {"batch"}),
        ("gpt-5.3-codex", set()),
        ("my-deployment", {"batch", "flex"}),
    ],
)
def test_what_models_are_sold_on(model: str, lanes: set[str]) -> None:
    """Listed models have their listed lanes; unknown models those that are worth an attempt."""
    assert lanes_of_model(model).lanes == lanes


@pytest.mark.parametrize(
    ("model", "lanes"),
    [("gpt-6.2-sol", {"flex"}), ("o3", set()), ("gpt-4.1", {"batch", "background"})],
)
def test_the_user_knows_better(model: str, lanes: set[str]) -> None:
    """The first pattern that fits counts, and says where it is from."""
    offer = lanes_of_model(model, MODEL_LANES)
    assert offer.lanes == lanes
    assert offer.source.startswith("FlexPolicy.lane_support: ")


def test_a_model_of_nobodys() -> None:
    """A pattern that does not fit leaves things as they are."""
    assert lanes_of_model("o4-mini", MODEL_LANES) == lanes_of_model("o4-mini")


@pytest.mark.parametrize(
    ("name", "model", "says"),
    [
        ("flex", "gpt-6.2-sol", "no flex, by OpenAI's flex guide"),
        ("flex", "gpt-4.1", "no flex, by the price list's entry openai/gpt-4.1"),
        ("background", "gpt-4.1", "whether gpt-4.1 has completion windows is unknown"),
        ("background", "my-deployment", "whether my-deployment has completion windows"),
        ("batch", "o3", ""),
    ],
)
def test_why_not(name: str, model: str, says: str) -> None:
    """A lane that is left out is left out for a reason with its source; unknown is not none."""
    lacks = lanes_of_model(model).against[name]
    assert says in lacks if says else not lacks


def test_an_offer_is_read() -> None:
    """Spaces do not matter, and none at all means standard alone."""
    assert parse_lane_support(" gpt-7* = batch + background ") == (
        "gpt-7*",
        {"batch", "background"},
    )
    assert parse_lane_support("mine=") == ("mine", frozenset())


@pytest.mark.parametrize(
    ("model", "model_lanes", "needs"),
    [
        ("gpt-6.2-sol", (), True),
        ("gpt-6.1-terra", (), False),
        ("o3", (), False),
        ("gpt-6.2-sol", MODEL_LANES, False),
        ("gpt-4.1", MODEL_LANES, True),
        ("my-deployment", (), False),
    ],
)
def test_who_needs_the_responses_api(model: str, model_lanes: tuple[str, ...], needs: bool) -> None:
    """Only models that have windows in the place of flex."""
    assert needs_windows(model, model_lanes) is needs


@pytest.mark.parametrize(
    ("model", "after", "windows"),
    [
        ("gpt-6.2", True, True),
        ("gpt-6.10-luna", True, True),
        ("gpt-6-sol", False, False),
        ("gpt-60", True, True),
        ("gpt-oss-120b", False, False),
        ("chatgpt-6.2", False, False),
        ("ft:gpt-6.2-sol:org::id", False, False),
    ],
)
def test_versions_in_names(model: str, after: bool, windows: bool) -> None:
    """Versions are numbers, and only names of OpenAI's own form have one."""
    assert (is_after_flex(model), has_windows(model)) == (after, windows)
