"""Usage: the tokens of a call, by kind."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. Cached and cache-write tokens are part of input, reasoning of output."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def from_openai(cls, usage: Any) -> Usage | None:
        """The usage in the ``usage`` object of a response, of Chat Completions or Responses.

        None if ``usage`` is None or malformed: unknown, not zero.
        """
        return None if usage is None else _read(usage, _attribute)

    @classmethod
    def from_json(cls, usage: Mapping[str, Any]) -> Usage | None:
        """As :meth:`from_openai`, of the ``usage`` object in the JSON of a response."""
        return _read(usage, _item)

    def check(self) -> None:
        """Raise a ValueError for a field that is negative or exceeds its total; names the field.

        The constructor does not check: what a server reports is kept as it is.
        """
        for name in self.__slots__:
            tokens = getattr(self, name)
            if type(tokens) is not int or tokens < 0:
                raise ValueError(f"{name}={tokens!r}: tokens are a whole number, 0 or more")
        cached = self.cached_input_tokens + self.cache_write_tokens
        if cached > self.input_tokens:
            raise ValueError(
                f"cached_input_tokens={self.cached_input_tokens} and cache_write_tokens="
                f"{self.cache_write_tokens} are parts of input_tokens={self.input_tokens}, "
                "and exceed it"
            )
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError(
                f"reasoning_tokens={self.reasoning_tokens} is a part of output_tokens="
                f"{self.output_tokens}, and exceeds it"
            )

    def to_dict(self) -> dict[str, int]:
        """The tokens by name."""
        return {name: getattr(self, name) for name in self.__slots__}


_CHARACTERS_PER_TOKEN = 4


def estimated_usage(body: Mapping[str, Any], output_size: int) -> Usage:
    """An estimate of the tokens of a chat completion: by the text of its request and the characters
    of its response, as for English, files and media left out."""
    inputs = sum(map(len, _texts([body.get("messages"), body.get("tools")])))
    return Usage(-(-inputs // _CHARACTERS_PER_TOKEN), -(-output_size // _CHARACTERS_PER_TOKEN))


_MESSAGE_TOKENS = 4
_MEDIA_TOKENS = 85  # what OpenAI's guides give for a small picture
_IN_JSON = ("tools", "functions", "response_format", "text")


def estimated_input(body: Mapping[str, Any]) -> int:
    """An estimate of the tokens that a model reads: by the letters, digits and marks in the text of
    a request, and a small picture's tokens for each file."""
    tokens = 0.0
    for name in ("messages", "instructions", "input"):
        if (value := body.get(name)) is not None:
            tokens += sum(map(_text_tokens, _texts(value)))
            tokens += _MESSAGE_TOKENS * (len(value) if isinstance(value, list) else 1)
            tokens += _MEDIA_TOKENS * _media(value)
    for name in _IN_JSON:
        if value := body.get(name):
            tokens += _text_tokens(json.dumps(value, ensure_ascii=False, default=str))
    return ceil(tokens)


# Measured with tiktoken's cl100k_base: code, JSON, CSV, HTML and prose in English, German, Chinese
# and Japanese have 0.89 to 1.32 times the estimate, Russian 1.42. o200k_base has fewer for these.
_LETTER, _DIGIT, _MARK = 0.215, 0.5, 0.45
_DIGITS, _MARKS = re.compile(r"\d"), re.compile(r"[^\w\s]|_")


def _text_tokens(text: str) -> float:
    digits, marks = len(_DIGITS.findall(text)), len(_MARKS.findall(text))
    tokens = _LETTER * (len(text) - digits - marks) + _DIGIT * digits + _MARK * marks
    if not text.isascii():  # more for a letter: of Latin ones, of Greek or Cyrillic, of Chinese
        other = (sign for sign in text if sign > "\x7f")
        tokens += sum(0.3 if x < "\u0370" else 0.15 if x < "\u2e80" else 0.75 for x in other)
    return tokens


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if not value.startswith("data:"):
            yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in _MEDIA:
                yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _media(value: Any) -> int:
    if isinstance(value, Mapping):
        own = sum(key in value for key in ("image_url", "input_audio", "file", "file_id"))
        return own or sum(map(_media, value.values()))
    return sum(map(_media, value)) if isinstance(value, (list, tuple)) else 0


_MEDIA = frozenset({"type", "id", "image_url", "input_audio", "file"})


def _read(usage: Any, get: Callable[[Any, str], Any]) -> Usage | None:
    inbound, outbound = "prompt", "completion"
    if get(usage, "prompt_tokens") is None:
        inbound, outbound = "input", "output"
    inputs = get(usage, f"{inbound}_tokens_details")
    outputs = get(usage, f"{outbound}_tokens_details")
    counts = (
        get(usage, f"{inbound}_tokens"),
        get(usage, f"{outbound}_tokens"),
        # Missing and null are 0 here.
        0 if (count := get(inputs, "cached_tokens")) is None else count,
        0 if (count := get(inputs, "cache_write_tokens")) is None else count,
        0 if (count := get(outputs, "reasoning_tokens")) is None else count,
    )
    for count in counts:
        if type(count) is not int:
            return None
    return Usage(*counts)


def _attribute(holder: Any, name: str) -> Any:
    return getattr(holder, name, None)


def _item(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else None
