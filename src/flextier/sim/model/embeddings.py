"""Embeddings without a model: hashed bags of words, so that similar texts are near each other."""

from __future__ import annotations

import base64
import re
from array import array
from collections.abc import Iterable
from hashlib import blake2b
from math import sqrt
from typing import Any

from flextier.sim.base import api_errors
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.tokens import Tokens, count
from flextier.sim.model import request

PATH = "/v1/embeddings"

MOST_DIMENSIONS = 3072

_WORD = re.compile(r"\w+")
_HASHES_A_WORD = 8
_DIMENSIONS = {"text-embedding-3-large": 3072}
_DEFAULT_DIMENSIONS = 1536


def embed(body: dict[str, Any]) -> tuple[dict[str, Any], Tokens]:
    """The answer to an embeddings request, and what it is billed for.

    Raises:
        Rejected: The API would answer 400.
    """
    model = request.model_of(body)
    inputs = texts(body)
    size = request.limit_of(body, "dimensions", most=MOST_DIMENSIONS) or _DIMENSIONS.get(
        model, _DEFAULT_DIMENSIONS
    )
    as_base64 = body.get("encoding_format") == "base64"
    used = tokens(inputs)
    data = [
        {"object": "embedding", "index": i, "embedding": _encoded(vector(text, size), as_base64)}
        for i, text in enumerate(inputs)
    ]
    usage = {"prompt_tokens": used.input_tokens, "total_tokens": used.total_tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}, used


def tokens(texts: Iterable[str]) -> Tokens:
    """What these texts are billed for."""
    return Tokens(input_tokens=sum(count(text) for text in texts))


def vector(text: str, size: int) -> array[float]:
    """A vector of length one: every word of the text adds to a few places of it."""
    found = array("f", bytes(4 * size))
    for word in _WORD.findall(text.lower()) or [text]:
        digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=4 * _HASHES_A_WORD)
        for place in array("I", digest.digest()):
            found[(place >> 1) % size] += 1.0 if place & 1 else -1.0
    length = sqrt(sum(x * x for x in found))
    if length == 0:  # its words cancel each other out
        found[0] = length = 1.0
    return array("f", (x / length for x in found))


def _encoded(vector: array[float], as_base64: bool) -> str | list[float]:
    return base64.b64encode(vector.tobytes()).decode() if as_base64 else vector.tolist()


def texts(body: dict[str, Any]) -> list[str]:
    """One text for each vector; a list of token numbers is a text too.

    Raises:
        Rejected: The API would answer 400.
    """
    given = body.get("input")
    if given is None:
        raise Rejected(api_errors.missing("input"))
    if isinstance(given, str) or _is_tokens(given):
        given = [given]
    if not isinstance(given, list) or not given:
        raise Rejected(api_errors.invalid("input", "expected a string or a non-empty array."))
    return [_text(item) for item in given]


def _text(item: Any) -> str:
    if isinstance(item, str):
        return item
    if _is_tokens(item):
        return " ".join(map(str, item))
    raise Rejected(api_errors.invalid("input", "expected strings or arrays of tokens."))


def _is_tokens(given: Any) -> bool:
    return isinstance(given, list) and given != [] and all(isinstance(n, int) for n in given)
