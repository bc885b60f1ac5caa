"""Token counts: a cheap estimate that is the same on every run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any

CHARACTERS_A_TOKEN = 4
MESSAGE_TOKENS = 4
MEDIA_TOKENS = 85  # what OpenAI's guides give for a small picture

CACHE_FLOOR = 1024  # OpenAI's prompt caching starts here and grows in steps of 128
CACHE_STEP = 128


@dataclass(frozen=True)
class Tokens:
    """What one answer is billed for, in tokens; the details are parts of their totals.

    Attributes:
        input_tokens: The whole prompt, cached part included.
        output_tokens: The whole answer, reasoning included.
        cached_input_tokens: The part of the prompt read from the cache.
        cache_write_tokens: The part of the prompt written to the cache (0 unless scripted).
        reasoning_tokens: The part of the answer that was reasoning.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @classmethod
    def of(cls, usage: Tokens | Mapping[str, int]) -> Tokens:
        """From a mapping with the names of the attributes.

        Raises:
            ValueError: A name is unknown, or a part is larger than its total.
        """
        if isinstance(usage, Tokens):
            return usage
        unknown = set(usage) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"usage has unknown fields: {', '.join(sorted(unknown))}")
        return cls(**usage)

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"{field.name} must not be negative")
        if self.cached_input_tokens + self.cache_write_tokens > self.input_tokens:
            raise ValueError("cached and cache-write tokens are parts of input_tokens")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("reasoning_tokens is a part of output_tokens")

    def chat_usage(self) -> dict[str, Any]:
        """The ``usage`` object of Chat Completions."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "prompt_tokens_details": self._input_details() | {"audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def responses_usage(self) -> dict[str, Any]:
        """The ``usage`` object of Responses."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": self._input_details(),
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning_tokens},
            "total_tokens": self.total_tokens,
        }

    def _input_details(self) -> dict[str, int]:
        return {
            "cached_tokens": self.cached_input_tokens,
            "cache_write_tokens": self.cache_write_tokens,
        }


def count(text: str) -> int:
    """The tokens of a text: a quarter of its characters, rounded up."""
    return -(-len(text) // CHARACTERS_A_TOKEN)


def clip(text: str, tokens: int) -> str:
    """The first ``tokens`` tokens of a text."""
    return text[: tokens * CHARACTERS_A_TOKEN]


class PromptCache:
    """Which long prompt prefixes were seen before, as OpenAI's prompt caching counts them.

    A prefix is cached from 1,024 tokens on, in steps of 128. The oldest of ``capacity``
    prefixes are forgotten first.
    """

    def __init__(self, capacity: int = 200_000) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._capacity = capacity

    def read(self, model: str, prompt: str) -> int:
        """Tokens of this prompt's start that an earlier prompt of the model had; remembers it."""
        cached = 0
        for tokens, key in _prefixes(model, prompt):
            if key in self._seen and tokens >= CACHE_FLOOR:
                cached = tokens
            self._remember(key)
        return cached

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)


def _prefixes(model: str, prompt: str) -> Iterator[tuple[int, bytes]]:
    """(length in tokens, digest) of every prefix that can be cached, shortest first."""
    digest = blake2b(model.encode(), digest_size=12)
    start, end = 0, CACHE_FLOOR * CHARACTERS_A_TOKEN
    while end <= len(prompt):
        digest.update(prompt[start:end].encode("utf-8", "surrogatepass"))
        yield end // CHARACTERS_A_TOKEN, digest.digest()
        start, end = end, end + CACHE_STEP * CHARACTERS_A_TOKEN
