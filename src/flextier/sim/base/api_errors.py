"""The errors of the simulated API: what each says, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from flextier.sim.base import validation

_VERIFY = (
    "Please go to: https://platform.openai.com/settings/organization/general and click on "
    "Verify Organization. If you just verified, it can take up to 15 minutes for access to "
    "propagate."
)

_JSON_TYPES: dict[type, str] = {
    type(None): "null",
    bool: "a boolean",
    float: "a number",
    int: "an integer",
    list: "an array",
    str: "a string",
}

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ErrorReply:
    """An error response: a status, OpenAI's error object, extra headers.

    ``outcome`` is the word the request is counted under in the statistics.
    """

    status: int
    message: str
    type: str | None = "invalid_request_error"
    code: str | None = None
    param: str | None = None
    headers: Headers = ()
    outcome: str = "rejected"

    def __post_init__(self) -> None:
        for name, value in self.headers:
            validation.header(name, value)

    def error(self) -> dict[str, Any]:
        """OpenAI's error object, as it stands in a body and in a stream."""
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    def with_headers(self, **headers: float | str | None) -> ErrorReply:
        """The same reply with more headers: ``retry_after=1`` is sent as ``retry-after: 1``."""
        more = tuple((k.replace("_", "-"), str(v)) for k, v in headers.items() if v is not None)
        return replace(self, headers=self.headers + more)


class Rejected(Exception):
    """Raised while a request is read: answer with this reply."""

    def __init__(self, reply: ErrorReply) -> None:
        super().__init__(reply.message)
        self.reply = reply


def flex_unavailable(code: str = "flex_unavailable") -> ErrorReply:
    """The refusal of the flex lane; the body was seen in a public test, see docs/simulator.md."""
    return ErrorReply(
        429, "Try standard processing.", "resource_unavailable", code, outcome="refused"
    )


def rate_limited(limit: int = 500) -> ErrorReply:
    """The per-minute request limit of the account, which is used up."""
    message = (
        f"Rate limit reached for requests per min (RPM): Limit {limit}, Used {limit}, Requested 1. "
        "Visit https://platform.openai.com/account/rate-limits to learn more."
    )
    limits = (("x-ratelimit-limit-requests", str(limit)), ("x-ratelimit-remaining-requests", "0"))
    return ErrorReply(
        429, message, "requests", "rate_limit_exceeded", headers=limits, outcome="rate_limited"
    )


def token_limited(model: str, limit: int, used: int, requested: int, wait: float) -> ErrorReply:
    """The tokens per minute of the account are used up (MetaGPT#523 shows the words)."""
    message = (
        f"Rate limit reached for {model} in organization org-simulated on tokens per min (TPM): "
        f"Limit {limit}, Used {used}, Requested {requested}. Please try again in "
        f"{ceil(wait * 1000)}ms. Visit https://platform.openai.com/account/rate-limits to learn "
        "more."
    )
    return ErrorReply(429, message, "tokens", "rate_limit_exceeded", outcome="rate_limited")


def too_many_tokens(model: str, limit: int, requested: int) -> ErrorReply:
    """A request that is larger than the whole limit (aider#1880 shows the words)."""
    message = (
        f"Request too large for {model} in organization org-simulated on tokens per min (TPM): "
        f"Limit {limit}, Requested {requested}. The input or output tokens must be reduced in "
        "order to run successfully. Visit https://platform.openai.com/account/rate-limits to "
        "learn more."
    )
    return ErrorReply(429, message, "tokens", "rate_limit_exceeded", outcome="too_large")


def out_of_quota() -> ErrorReply:
    """No credit left: waiting does not help."""
    message = (
        "You exceeded your current quota, please check your plan and billing details. For more "
        "information on this error, read the docs: "
        "https://platform.openai.com/docs/guides/error-codes/api-errors."
    )
    return ErrorReply(429, message, "insufficient_quota", "insufficient_quota", outcome="quota")


def tier_unsupported(tier: str = "flex") -> ErrorReply:
    """The tier is not sold for this model (openai/codex#15099 shows the words)."""
    return ErrorReply(
        400,
        f"Unsupported service_tier: {tier}",
        code="unsupported_value",
        param="service_tier",
        outcome="unsupported",
    )


def unverified(param: str = "stream") -> ErrorReply:
    """The organisation is not verified: no streams, or no reasoning summaries."""
    purpose = "stream this model" if param == "stream" else "generate reasoning summaries"
    return ErrorReply(
        400,
        f"Your organization must be verified to {purpose}. {_VERIFY}",
        code="unsupported_value",
        param=param,
        outcome="unverified",
    )


def no_key() -> ErrorReply:
    """No Authorization header."""
    message = (
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
    )
    return ErrorReply(401, message)


def no_such_path(method: str, path: str) -> ErrorReply:
    """A path the simulator does not serve."""
    return ErrorReply(404, f"Invalid URL ({method} {path})")


def no_such(kind: str, name: str) -> ErrorReply:
    """A model, file or other object that does not exist."""
    code = "model_not_found" if kind == "model" else None
    return ErrorReply(404, f"No such {kind}: {name}", code=code, param="id")


def bad_json() -> ErrorReply:
    """The body is not a JSON object."""
    return ErrorReply(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The OpenAI API expects a JSON payload.)",
    )


def missing(param: str) -> ErrorReply:
    """A required parameter is absent."""
    return ErrorReply(
        400, f"Missing required parameter: '{param}'.", code="missing_required_parameter",
        param=param,
    )  # fmt: skip


def invalid(param: str, problem: str, code: str = "invalid_value") -> ErrorReply:
    """A parameter has a value the API does not take; ``problem`` ends the sentence."""
    return ErrorReply(400, f"Invalid '{param}': {problem}", code=code, param=param)


def unsupported(param: str, value: object, known: Iterable[str]) -> ErrorReply:
    """A parameter has a value that is none of those the API takes."""
    listed = ", ".join(f"'{name}'" for name in known)
    message = f"Invalid value: '{value}'. Supported values are: {listed}."
    return ErrorReply(400, message, code="invalid_value", param=param)


def unknown_parameter(param: str) -> ErrorReply:
    """A parameter that the endpoint does not have."""
    return ErrorReply(400, f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def wrong_type(param: str, expected: str, value: object) -> ErrorReply:
    """A parameter is of another JSON type than the API takes."""
    got = _JSON_TYPES.get(type(value), "an object")
    message = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
    return ErrorReply(400, message, code="invalid_type", param=param)


def too_long(
    param: str, expected: str, length: int, code: str = "string_above_max_length"
) -> ErrorReply:
    """A parameter has more parts or characters than the API takes; the words are a guess."""
    message = f"Invalid '{param}': expected {expected}, but got {length} instead."
    return ErrorReply(400, message, code=code, param=param)


def too_large(limit: int, size: int) -> ErrorReply:
    """A request's body is over the limit, in bytes."""
    message = f"413: Maximum content size limit ({limit}) exceeded ({size} bytes read)"
    return ErrorReply(413, message)


def not_jsonl() -> ErrorReply:
    """A file for batches is not named like one, is empty, or its first line is not JSON."""
    return ErrorReply(400, "Invalid file format for Batch API. Must be .jsonl")


def no_batch(name: str) -> ErrorReply:
    """A batch that does not exist."""
    return ErrorReply(404, f"No batch found with id '{name}'.")


def not_cancellable(status: str) -> ErrorReply:
    """A batch that has ended already."""
    return ErrorReply(409, f"Cannot cancel a batch with status '{status}'.")


def server_error() -> ErrorReply:
    """A 500."""
    message = "The server had an error while processing your request. Sorry about that!"
    return ErrorReply(500, message, "server_error", outcome="error")


def misused(problem: str) -> ErrorReply:
    """The tester asked for something that cannot happen to this request: say so, once."""
    reply = ErrorReply(
        500, f"flextier simulator: {problem}", "simulator_misused", outcome="misused"
    )
    return reply.with_headers(x_should_retry="false")


def in_stream(code: str) -> ErrorReply:
    """The error of a stream that has begun, by its code."""
    if code in ("flex_unavailable", "resource_unavailable"):
        return flex_unavailable(code)
    message = "The server had an error while processing your request."
    return ErrorReply(500, message, "server_error", code, outcome="error")
