"""Refusals of the field ``service_tier`` itself, by servers that are not OpenAI's."""

from __future__ import annotations

import re
from typing import Literal

from flextier.lanes.failures import Failure

_WHAT = "(?:arg(?:ument)?|param(?:eter)?|propert(?:y|ie)|field|input|name|key)s?"
_UNKNOWN = "unknown|unrecogni[sz]ed|unsupported|unexpected|extra|extraneous|additional"
_NO = "(?:not (?:supported|allowed|permitted|recogni[sz]ed)|un[a-z]+ed)"
_REFUSAL = re.compile(
    # OpenAI, Azure, Gemini, Pydantic (Mistral, vLLM), Rust's serde, Go's json, JSON Schema
    rf"(?:{_UNKNOWN})[ _-](?:request |keyword |query |json )?{_WHAT}\b|\bextra_forbidden\b"
    # LiteLLM: "groq does not support parameters: ['service_tier']"; xAI
    rf"|\bnot support(?:ed)?(?: the)? {_WHAT}\b|\b{_WHAT} not (?:supported|recogni[sz]ed)"
    # Groq: "property 'service_tier' is unsupported"
    rf"|\bservice_tier\W+(?:is|was) {_NO}\b",
    re.IGNORECASE,
)
_OF_MODEL = re.compile(r"\b(?:for|this) model\b", re.IGNORECASE)


def refused_field(failure: Failure) -> Literal["", "model", "server"]:
    """Where the field is rejected, and not only a value of it: with a model, by the server as a
    whole; empty: it is not."""
    about_it = failure.param in (None, "service_tier") and failure.status in (None, 400, 422)
    text = " ".join(filter(None, (failure.param, failure.code, failure.type, failure.message)))
    if not about_it or "service_tier" not in text or not _REFUSAL.search(text):
        return ""
    return "model" if _OF_MODEL.search(text) else "server"
