"""What has to be installed: said clearly before an import fails in some other way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

import openai

from flextier._utils.extras import needs_extra

_INTEGRATION = "llama-index-llms-openai"
_UPPER_BOUND = re.compile(r"openai\b(?!-)[^;]*<\s*(\d+)")


@contextmanager
def needs_llama_index() -> Iterator[None]:
    """Turn an ImportError inside into one that says what to install.

    Raises:
        ImportError: LlamaIndex is missing, or the installed OpenAI SDK is too new for it.
    """
    with needs_extra("llama-index"):
        _check_sdk()
        yield


def _check_sdk() -> None:
    try:
        wanted = metadata.requires(_INTEGRATION) or ()
    except metadata.PackageNotFoundError:
        return  # the import itself says so
    for requirement in wanted:
        found = _UPPER_BOUND.match(requirement)
        if found and _major(openai.__version__) >= int(found[1]):
            raise ImportError(
                f"{_INTEGRATION} {metadata.version(_INTEGRATION)} takes openai<{found[1]} only, "
                f'and openai {openai.__version__} is installed: pip install "openai<{found[1]}"'
            )


def _major(version: str) -> int:
    return int(version.partition(".")[0])
