"""A model's names in the price list, from what LangChain calls the model and its vendor."""

from __future__ import annotations

from collections.abc import Iterable

# LangChain's `ls_provider` and `model_provider`, where genai-prices has another name.
_VENDORS = {
    "amazon_bedrock": "aws",
    "anthropic_bedrock": "aws",
    "azure_ai": "azure",
    "azure_openai": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
}


def listed_as(models: Iterable[str | None], providers: Iterable[str | None]) -> tuple[str, ...]:
    """The names to ask prices for, the likeliest first.

    Args:
        models: what the model is called, the likeliest first; None: not known.
        providers: what LangChain calls its vendor. OpenAI's models, and those of no vendor, keep
            their plain names; a vendor that the price list lacks has only your own prices, for
            ``"vendor/model"``.
    """
    vendors = [provider and _VENDORS.get(provider, provider) for provider in providers]
    known = [vendor for vendor in vendors if vendor] or ["openai"]
    names = [
        model if vendor == "openai" else f"{vendor}/{model}"
        for vendor in known
        for model in models
        if model
    ]
    return tuple(dict.fromkeys(names)) or ("unknown",)
