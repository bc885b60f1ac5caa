"""The table of models and their lanes in ``docs/choosing-lanes.md``, from the price list.

``python -m tests.model_table`` writes it, and a test fails where it is not up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from flextier.lanes import FAMILIES
from flextier.pricing import price_list, price_list_additions
from flextier.pricing.model_lanes import lanes_of_model

PAGE = Path(__file__).parents[1] / "docs" / "choosing-lanes.md"

_HEAD = "| lanes beside standard | models |\n|---|---|\n"
_TABLE = re.compile(re.escape(_HEAD) + r"(\|.*\n)+")
_NO_TEXT = re.compile(r"image|^ft:|\.ft-|gpt-oss|-20\d\d-|-\d{4}$")
"""Names of the list that are no model's a call is made with, or of a snapshot."""


def rows() -> dict[tuple[str, ...], list[str]]:
    """The text models of OpenAI in the price list, by the discounted lanes that they have."""
    (openai,) = (x for x in price_list.snapshot().providers if x.id == "openai")
    found: dict[tuple[str, ...], list[str]] = {}
    names = {x.id for x in (*openai.models, *price_list_additions.MISSING_MODELS.values())}
    for model in sorted(name for name in names if not _NO_TEXT.search(name)):
        lanes = lanes_of_model(model).lanes
        if lanes:
            found.setdefault(tuple(x for x in FAMILIES if x in lanes), []).append(model)
    return found


def table() -> str:
    """The table in Markdown."""
    found = sorted(rows().items(), key=lambda row: [lane not in row[0] for lane in FAMILIES])
    return _HEAD + "".join(f"| {', '.join(x)} | {', '.join(models)} |\n" for x, models in found)


def written() -> str:
    """The table on the page as it stands."""
    found = _TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None, f"{PAGE} has no table of models"
    return found[0]


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.replace(written(), table()), encoding="utf-8")
