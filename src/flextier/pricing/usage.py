"""Usage: the tokens of a call, by kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
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
        try:
            return None if usage is None else cls._read(usage)
        except TypeError:
            return None

    @classmethod
    def from_json(cls, usage: Mapping[str, Any]) -> Usage | None:
        """As :meth:`from_openai`, of the ``usage`` object in the JSON of a response."""
        return cls.from_openai(_as_object(usage))

    @classmethod
    def _read(cls, usage: Any) -> Usage:
        chat = hasattr(usage, "prompt_tokens")
        inbound, outbound = ("prompt", "completion") if chat else ("input", "output")
        inputs = getattr(usage, f"{inbound}_tokens_details", None)
        outputs = getattr(usage, f"{outbound}_tokens_details", None)
        return cls(
            input_tokens=_checked_count(getattr(usage, f"{inbound}_tokens", None)),
            output_tokens=_checked_count(getattr(usage, f"{outbound}_tokens", None)),
            cached_input_tokens=_count(inputs, "cached_tokens"),
            cache_write_tokens=_count(inputs, "cache_write_tokens"),
            reasoning_tokens=_count(outputs, "reasoning_tokens"),
        )

    def check(self) -> None:
        """Raise a ValueError for a field that is negative or exceeds its total; names the field.

        The constructor does not check: what a server reports is kept as it is.
        """
        for name, tokens in self.to_dict().items():
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
        return {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }


_CHARACTERS_PER_TOKEN = 4


def estimated_usage(body: Mapping[str, Any], output_size: int) -> Usage:
    """An estimate of the tokens of a call: by its text, as for English, files and media left out.

    Args:
        body: the JSON of a chat completion's request.
        output_size: the characters of its response.
    """
    inputs = _text_size(body.get("messages")) + _text_size(body.get("tools"))
    return Usage(-(-inputs // _CHARACTERS_PER_TOKEN), -(-output_size // _CHARACTERS_PER_TOKEN))


def _text_size(value: Any) -> int:
    if isinstance(value, str):
        return 0 if value.startswith("data:") else len(value)
    if isinstance(value, Mapping):
        return sum(_text_size(item) for key, item in value.items() if key not in _MEDIA)
    return sum(map(_text_size, value)) if isinstance(value, (list, tuple)) else 0


_MEDIA = frozenset({"type", "id", "image_url", "input_audio", "file"})


def _as_object(fields: Mapping[str, Any]) -> SimpleNamespace:
    """An object with the fields as attributes, like the SDK's, nested ones too."""
    return SimpleNamespace(
        **{k: _as_object(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
    )


def _count(details: Any, name: str) -> int:
    """The count, or 0 if it is missing or null."""
    tokens = getattr(details, name, None)
    return 0 if tokens is None else _checked_count(tokens)


def _checked_count(tokens: Any) -> int:
    if type(tokens) is not int:
        raise TypeError(f"{tokens!r} is no number of tokens")
    return tokens
