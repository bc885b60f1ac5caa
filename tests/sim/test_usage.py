"""Usage: what an answer is billed for."""

from __future__ import annotations

import pytest

from flextier.sim import Simulator
from flextier.sim.base.tokens import PromptCache, clip, count
from flextier.sim.model.generate import reasons

from .callers import Caller, Chat, Responses


def words(number: int) -> str:
    """A text of about this many tokens."""
    return "four" * number


def cached(caller: Caller, question: str) -> int:
    """How many input tokens of a question were cached."""
    usage = caller.plain(question=question).usage
    details = getattr(usage, "prompt_tokens_details", None) or usage.input_tokens_details
    return int(details.cached_tokens)


def test_totals_are_the_sums_of_their_parts(sim: Simulator) -> None:
    """Total is input and output, and both endpoints count alike."""
    chat = Chat(sim.base_url).plain().usage
    responses = Responses(sim.base_url).plain().usage
    assert chat.total_tokens == chat.prompt_tokens + chat.completion_tokens
    assert (chat.prompt_tokens, chat.completion_tokens) == (
        responses.input_tokens,
        responses.output_tokens,
    )


@pytest.mark.parametrize("model", ["o1", "o3", "o4-mini", "gpt-5-nano", "gpt-6.2", "ft:o4-mini:x"])
def test_reasoning_models_reason(caller: Caller, model: str) -> None:
    """Reasoning models report reasoning tokens, as a part of their output."""
    usage = caller.plain(model=model).usage
    if caller.path == Chat.path:
        output, reasoning = usage.completion_tokens, usage.completion_tokens_details
    else:
        output, reasoning = usage.output_tokens, usage.output_tokens_details
    assert 0 < reasoning.reasoning_tokens < output


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-chat-latest", "text-embedding-3-small"])
def test_other_models_do_not_reason(model: str) -> None:
    """Reasoning and other models are recognised by their names."""
    assert not reasons(model)


def test_more_effort_more_reasoning(sim: Simulator) -> None:
    """Reasoning tokens grow with the effort asked for; none means none."""
    spent = [
        Chat(sim.base_url)
        .plain(reasoning_effort=effort)
        .usage.completion_tokens_details.reasoning_tokens
        for effort in ("none", "minimal", "low", "medium", "high")
    ]
    assert spent[0] == 0
    assert spent == sorted(set(spent))


def test_long_prefix_seen_before_is_cached(caller: Caller) -> None:
    """The second of two long prompts with one beginning reads it from the cache."""
    assert cached(caller, words(2000) + "one") == 0
    assert cached(caller, words(2000) + "two") == 1920
    assert cached(caller, "other " + words(2000)) == 0
    assert cached(caller, words(1000)) == 0


def test_cache_begins_at_1024_tokens_and_grows_by_128() -> None:
    """Cached tokens are 0, or 1,024 plus a multiple of 128, never more than the prompt."""
    for shared in range(900, 1600, 25):
        cache = PromptCache()
        cache.read("o3", words(shared) + "a" * 8000)
        found = cache.read("o3", words(shared) + "b" * 8000)
        assert found == (0 if shared < 1024 else 1024 + (shared - 1024) // 128 * 128)


def test_cache_is_the_models_own_and_forgets_the_oldest() -> None:
    """Another model has another cache, and a full cache forgets its oldest prefix."""
    cache = PromptCache(capacity=1)
    assert cache.read("o3", words(1024)) == 0
    assert cache.read("o3", words(1024)) == 1024
    assert cache.read("o1", words(1024)) == 0
    assert cache.read("o3", words(1024)) == 0


def test_pictures_cost_tokens(sim: Simulator) -> None:
    """A picture in a message costs input tokens."""
    parts = [
        {"type": "text", "text": "Look."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aaaa"}},
    ]
    chat = Chat(sim.base_url)
    plain = chat.plain(messages=[{"role": "user", "content": parts[:1]}])
    picture = chat.plain(messages=[{"role": "user", "content": parts}])
    assert picture.usage.prompt_tokens - plain.usage.prompt_tokens >= 85


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("four", 1), ("fives", 2)])
def test_a_token_is_four_characters(text: str, tokens: int) -> None:
    """The estimate rounds up, and clipping to it keeps the text."""
    assert count(text) == tokens
    assert clip(text, tokens) == text
