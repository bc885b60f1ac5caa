"""What validation finds wrong with a batch, in OpenAI's words where they are known.

Known from recorded answers: the codes and words of ``no_file``, ``not_json``, ``missing``,
``no_model``, ``no_prompt``, ``streaming``, ``other_url`` and ``unknown_model`` (tests of
llama-stack that were run against OpenAI), ``too_many_enqueued`` (openai-python#2084). Codes that
are documented, with guessed words: ``duplicate``, ``other_model``, ``too_many``, ``empty``.
Guessed altogether: ``wrong_method``, ``wrong_shape``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

_NAMES = {
    "/v1/chat/completions": "Chat Completions",
    "/v1/responses": "Responses",
    "/v1/embeddings": "Embeddings",
}


@dataclass(frozen=True)
class BatchInputError:
    """One entry of ``errors.data``; ``line`` counts from 1."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None

    def describe(self) -> dict[str, Any]:
        """The entry."""
        return asdict(self)


def no_file(file_id: str) -> BatchInputError:
    """The input file does not exist, or is none for batches."""
    message = (
        f"Cannot find file {file_id}, or organization org-simulated does not have access to it."
    )
    return BatchInputError("invalid_request", message, param="file_id")


def empty() -> BatchInputError:
    """There is no line in the file."""
    return BatchInputError(
        "empty_file", "The input file is empty. It must have at least one request."
    )


def not_json(line: int) -> BatchInputError:
    """A line is no JSON object."""
    return BatchInputError("invalid_json_line", "This line is not parseable as valid JSON.", line)


def missing(line: int, param: str) -> BatchInputError:
    """A line lacks a field."""
    message = f"Missing required parameter: '{param}'."
    return BatchInputError("missing_required_parameter", message, line, param)


def wrong_shape(line: int, param: str, expected: str) -> BatchInputError:
    """A field of a line is of another type."""
    return BatchInputError(
        "invalid_type", f"Invalid type for '{param}': expected {expected}.", line, param
    )


def wrong_method(line: int) -> BatchInputError:
    """A line's method is not POST."""
    message = "The method provided for this request is not supported. Only POST is."
    return BatchInputError("invalid_method", message, line, "method")


def other_url(line: int) -> BatchInputError:
    """A line's URL is not the batch's endpoint."""
    message = "The URL provided for this request does not match the batch endpoint."
    return BatchInputError("invalid_url", message, line, "url")


def no_model(line: int) -> BatchInputError:
    """A line names no model."""
    return BatchInputError("invalid_request", "Model parameter is required.", line, "body.model")


def no_prompt(line: int, param: str) -> BatchInputError:
    """A line has no messages, or no input."""
    message = f"{param.capitalize()} parameter is required."
    return BatchInputError("invalid_request", message, line, f"body.{param}")


def streaming(line: int, endpoint: str) -> BatchInputError:
    """A line asks for a stream."""
    message = f"{_NAMES[endpoint]}: Streaming is not supported in the Batch API."
    return BatchInputError("streaming_unsupported", message, line, "body.stream")


def unknown_model(line: int, model: str) -> BatchInputError:
    """Batches do not take this model."""
    message = f"The provided model '{model}' is not supported by the Batch API."
    return BatchInputError("model_not_found", message, line, "body.model")


def other_model(line: int, model: str) -> BatchInputError:
    """A line's model is not that of the first line."""
    message = (
        f"The provided model '{model}' does not match the rest of the batch. Each batch must "
        "contain requests for a single model."
    )
    return BatchInputError("model_mismatch", message, line, "body.model")


def duplicate(line: int) -> BatchInputError:
    """A line's custom_id was there before."""
    message = (
        "The custom_id for this request is a duplicate of another request. The custom_id "
        "parameter must be unique for each request in a batch."
    )
    return BatchInputError("duplicate_custom_id", message, line, "custom_id")


def too_many(most: int, what: str = "requests") -> BatchInputError:
    """The file has too many lines, or too many texts to embed."""
    message = f"The number of {what} in the input file exceeds the maximum allowed value of {most}."
    return BatchInputError("too_many_tasks", message)


def too_many_enqueued(model: str, limit: int) -> BatchInputError:
    """The account's enqueued-token limit for the model would be exceeded."""
    message = (
        f"Enqueued token limit reached for {model} in organization org-simulated. Limit: "
        f"{limit:,} enqueued tokens. Please try again once some in_progress batches have been "
        "completed."
    )
    return BatchInputError("token_limit_exceeded", message)
