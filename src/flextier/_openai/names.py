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
    # openai 3 loads its packages' names at first use
    from openai.resources.chat import AsyncChat, Chat  # noqa: F401
    from openai.resources.chat.completions import AsyncCompletions, Completions  # noqa: F401
    from openai.resources.responses import AsyncResponses, Responses  # noqa: F401


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
