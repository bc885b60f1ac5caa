"""Quotes from a prompt."""

from __future__ import annotations

import re

LONGEST_QUOTE = 240

_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|\u3002|$)", re.DOTALL)


def first_sentence(text: str) -> str:
    """At most ``LONGEST_QUOTE`` characters; a text without any is 'an empty message'."""
    found = _SENTENCE.match(text[:LONGEST_QUOTE].strip())
    return " ".join(found[0].split()) if found else "an empty message"
