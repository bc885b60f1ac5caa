"""The SDK's public names that packages below the clients need; they import no SDK themselves."""

from openai import APIConnectionError as APIConnectionError
from openai import APIError as APIError
from openai import APIStatusError as APIStatusError
from openai import APITimeoutError as APITimeoutError
from openai import BadRequestError as BadRequestError
from openai import ConflictError as ConflictError
from openai import NotFoundError as NotFoundError
from openai import OpenAI as OpenAI
from openai import OpenAIError as OpenAIError
from openai import Timeout as Timeout
from openai.types import Batch as Batch
from openai.types import FileObject as FileObject


def load_resources() -> None:
    """Import what the SDK imports at the first call: its classes of resources and types."""
    # openai 3 loads its packages' names at first use
    from openai.resources.chat import AsyncChat, Chat  # noqa: F401
    from openai.resources.chat.completions import AsyncCompletions, Completions  # noqa: F401
    from openai.resources.responses import AsyncResponses, Responses  # noqa: F401
