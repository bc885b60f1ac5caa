"""Which models have windows, and which have no flex, by what OpenAI publishes.

It publishes no list. What the API rejects with a 400 is remembered in
``capacity/unsupported_lanes.py``; ``FlexPolicy.lane_support`` overrides this table.
"""

from __future__ import annotations

import re

_GPT = re.compile(r"gpt-(\d+)(?:\.(\d+))?(?:-|$)")
_DATE = re.compile(r"-20\d\d-\d\d-\d\d$")
_FIRST_WITHOUT_FLEX = (6, 2)

AFTER_FLEX = "OpenAI's flex guide, GPT-6.2 and later"
"""Where it is published which lanes the models of :func:`is_after_flex` have."""

WITH_WINDOWS = frozenset({"gpt-6.1-terra"})
"""Models before GPT-6.2 whose pages say that "the Responses API supports discounted background
completion windows in public beta". The pages of others do not, or could not be seen: whether these
have any is not known. https://developers.openai.com/api/docs/models/gpt-6.1-terra"""


def is_after_flex(model: str) -> bool:
    """Whether a model of OpenAI's is GPT-6.2 or later: those never get flex, and have windows.

    Source: https://developers.openai.com/api/docs/guides/flex-processing, which points to the
    windows instead; https://developers.openai.com/api/docs/models/gpt-6.2-sol, which names them.
    """
    version = _GPT.match(model.removeprefix("openai/"))
    return version is not None and (int(version[1]), int(version[2] or 0)) >= _FIRST_WITHOUT_FLEX


def has_windows(model: str) -> bool:
    """Whether a model of OpenAI's is known to have the windows of two and eight hours."""
    undated = _DATE.sub("", model.removeprefix("openai/"))
    return is_after_flex(model) or undated in WITH_WINDOWS
