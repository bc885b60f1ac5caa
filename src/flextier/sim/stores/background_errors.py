"""What goes wrong with stored and background responses, in OpenAI's words where they are known.

Known: ``none`` (a user's report, community.openai.com/t/1362217), ``previous_gone`` (recorded by
clients), ``cannot_cancel`` of synchronous and completed ones (tests that litellm runs against
OpenAI, and the contract that Microsoft's agent server took from measuring OpenAI), ``no_replay``
(the same contract). From that contract alone: ``cannot_delete``. Guessed words: all others; that
they are a 400 follows from the SDK's documentation.
"""

from __future__ import annotations

from flextier.sim.base.api_errors import ErrorReply

WINDOW = "background_options.completion_window"


def none(name: str) -> ErrorReply:
    """A response that there is not, or not any more."""
    return ErrorReply(404, f"Response with id '{name}' not found.")


def previous_gone(name: str) -> ErrorReply:
    """A ``previous_response_id`` of a response that there is not any more."""
    message = f"Previous response with id '{name}' not found."
    return ErrorReply(
        400, message, code="previous_response_not_found", param="previous_response_id"
    )


def previous_unfinished(name: str, status: str) -> ErrorReply:
    """A ``previous_response_id`` of a response that has not ended well."""
    message = f"Previous response with id '{name}' has no output: its status is '{status}'."
    return ErrorReply(400, message, code="invalid_value", param="previous_response_id")


def cannot_cancel(status: str) -> ErrorReply:
    """Cancelling what has ended by itself; ``synchronous`` in place of a status: no background."""
    return ErrorReply(400, f"Cannot cancel a {status} response.", param="response_id")


def cannot_delete() -> ErrorReply:
    """Deleting what has not ended."""
    return ErrorReply(400, "Cannot delete an in-flight response.", param="response_id")


def no_replay(missing: str) -> ErrorReply:
    """Streaming a response that was not created for that."""
    message = f"This response cannot be streamed because it was not created with {missing}=true."
    return ErrorReply(400, message, param="stream")


def no_background(model: str) -> ErrorReply:
    """A model that takes no background requests."""
    message = f"Background mode is not supported with the model '{model}'."
    return ErrorReply(
        400, message, code="unsupported_value", param="background", outcome="unsupported"
    )


def no_window(model: str, window: str) -> ErrorReply:
    """A model without discounted windows."""
    message = f"The completion window '{window}' is not supported with the model '{model}'."
    return ErrorReply(400, message, code="unsupported_value", param=WINDOW, outcome="unsupported")


def window_needs(window: str, needed: str) -> ErrorReply:
    """A discounted window together with what it excludes."""
    return ErrorReply(
        400, f"The completion window '{window}' requires {needed}.",
        code="invalid_value", param=WINDOW,
    )  # fmt: skip
