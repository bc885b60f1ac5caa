"""The text: the topics of Python's help."""

from __future__ import annotations

import re
from pydoc_data import topics as pydoc_topics

LONGEST = 6_000
"""Characters of a topic that are sent."""


def topics(count: int | None = None) -> dict[str, str]:
    """The help topics that come with this Python, without their headings."""
    texts: dict[str, str] = pydoc_topics.topics
    chosen = sorted(texts)[:count]
    return {name: re.sub(r"\A.*\n\*+\n+", "", texts[name])[:LONGEST] for name in chosen}
