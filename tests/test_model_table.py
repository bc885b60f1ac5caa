"""The docs, the price list and the simulator agree on which models have which lanes."""

from __future__ import annotations

import re

import pytest

from flextier.sim import Weather
from tests import model_table

ROWS = model_table.rows()
_README = model_table.PAGE.parents[1] / "README.md"
_NAME = re.compile(r"GPT-\d(?:\.\d)?o?(?: [A-Z][a-z]+)?|\bo\d(?:-mini)?")


def test_the_table_is_up_to_date() -> None:
    """What the installed price list says; `make api` writes it."""
    assert model_table.written() == model_table.table()


@pytest.mark.parametrize("lanes", ROWS)
def test_the_simulator_refuses_flex_to_models_without_it(lanes: tuple[str, ...]) -> None:
    """And to no others of the table."""
    weather = Weather()
    refused = {model for model in ROWS[lanes] if weather.unsupports(model)}
    assert refused == (set() if "flex" in lanes else set(ROWS[lanes]))


def _claims() -> list[tuple[str, dict[str, bool]]]:
    """The models of README's shorter table, with what it says of their lanes."""
    text = _README.read_text(encoding="utf-8").partition("| model | flex")[2].partition("\n\n")[0]
    found = []
    for row in text.splitlines()[2:]:
        names, flex, batch, windows = (cell.strip() for cell in row.strip("|").split("|"))
        said = {"flex": flex == "yes", "batch": batch == "yes"}
        said |= {"background": True} if windows == "yes" else {}
        found += [(name.lower().replace(" ", "-"), said) for name in _NAME.findall(names)]
    return found


@pytest.mark.parametrize(("name", "said"), _claims())
def test_readmes_table_agrees(name: str, said: dict[str, bool]) -> None:
    """Of a model by that name, or else of all whose names begin with it."""
    lanes_of = {model: lanes for lanes, models in ROWS.items() for model in models}
    models = [name] if name in lanes_of else [x for x in lanes_of if x.startswith(f"{name}-")]
    assert models
    for model in models:
        assert {lane: lane in lanes_of[model] for lane in said} == said, model
