"""The SDK's public names that packages below the clients need; they import no SDK themselves."""

from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    OpenAI,
    OpenAIError,
    Timeout,
)
from openai.types import Batch, FileObject

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIStatusError",
    "APITimeoutError",
    "BadRequestError",
    "Batch",
    "ConflictError",
    "FileObject",
    "NotFoundError",
    "OpenAI",
    "OpenAIError",
    "Timeout",
]
