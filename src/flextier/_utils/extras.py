"""Errors for optional dependencies that are missing or do not fit the installed OpenAI SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

_LLAMA_INDEX = "llama-index-llms-openai"
_OPENAI_LIMIT = re.compile(r"openai\b(?!-)[^;]*<\s*(\d+)")


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn an ImportError inside into one that names the extra to install."""
    try:
        if extra == "llama-index":
            _check_openai_version()
        yield
    except ImportError as error:
        raise ImportError(
            f'{error}. This part of flextier needs an extra: pip install "flextier[{extra}]"',
            name=error.name,
        ) from error


def _check_openai_version() -> None:
    """Raise an ImportError if LlamaIndex's integration requires an older OpenAI SDK."""
    try:
        requirements = metadata.requires(_LLAMA_INDEX) or ()
    except metadata.PackageNotFoundError:
        return  # the import raises its own error
    installed = metadata.version("openai")
    for requirement in requirements:
        limit = _OPENAI_LIMIT.match(requirement)
        if limit and int(installed.partition(".")[0]) >= int(limit[1]):
            raise ImportError(
                f"{_LLAMA_INDEX} {metadata.version(_LLAMA_INDEX)} takes openai<{limit[1]} only, "
                f'and openai {installed} is installed: pip install "openai<{limit[1]}"'
            )
