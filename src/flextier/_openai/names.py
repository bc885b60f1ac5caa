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


def load_resources() -> None:
    """Import what the SDK imports at the first call: its classes of resources and types."""
    import openai.resources.chat
    import openai.resources.responses  # noqa: F401 - imported for its side effect


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
    "load_resources",
]
