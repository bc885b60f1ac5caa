"""Rate limits as headers and messages state them."""

from __future__ import annotations

import pytest

from flextier.capacity import RateLimit
from flextier.lanes import FLEX, STANDARD
from flextier.lanes.failures import Failure, classify
from flextier.lanes.rate_limits import refused_limit, reported_limits
from flextier.lanes.retry_after import retry_after

TPM = (
    "Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM): Limit 200000, "
    "Used 195663, Requested 7592. Please try again in 976ms. Visit https://example.invalid."
)
TOO_LARGE = (
    "Request too large for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000, "
    "Requested 36278. The input or output tokens must be reduced in order to run successfully."
)


def limit(kind: str, maximum: int, remaining: int, reset: str) -> dict[str, str]:
    return {
        f"x-ratelimit-limit-{kind}": str(maximum),
        f"x-ratelimit-remaining-{kind}": str(remaining),
        f"x-ratelimit-reset-{kind}": reset,
    }


def throttled(message: str, kind: str | None = "tokens", **headers: str) -> Failure:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Failure(429, "rate_limit_exceeded", kind, message=message, headers=named)


@pytest.mark.parametrize(
    ("headers", "stated"),
    [
        ({}, []),
        ({"x-ratelimit-remaining-tokens": "5"}, []),  # how fast it refills is not stated
        ({**limit("tokens", 600, 500, "10s")}, [RateLimit("tokens", 500, 600, 10)]),
        ({**limit("requests", 600, 0, "60s")}, [RateLimit("requests", 0, 600, 10)]),
        # Groq's requests are those of a day.
        ({**limit("requests", 14400, 0, "24h")}, [RateLimit("requests", 0, 14400, 1 / 6)]),
        # A wait for room for one request is no reset: nothing refills that fast.
        ({**limit("requests", 600, 0, "1s")}, [RateLimit("requests", 0, 600, 10)]),
        ({**limit("requests", 600, 0, "soon")}, [RateLimit("requests", 0, 600, 10)]),
        ({"x-ratelimit-limit-tokens": "0", "x-ratelimit-remaining-tokens": "0"}, []),
        ({"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "many"}, []),
    ],
)
def test_headers_of_responses(headers: dict[str, str], stated: list[RateLimit]) -> None:
    """A limit counts if its remainder and its refill are known."""
    assert reported_limits(headers) == stated


def test_the_numbers_of_a_message() -> None:
    """Limit, Used, Requested and the wait give what is left and how fast it refills."""
    refused = refused_limit("tokens", TPM, {})
    assert (refused.unit, refused.remaining, refused.limit) == ("tokens", 4337, 200_000)
    assert refused.requested == 7592
    assert refused.refill == pytest.approx(200_000 / 60, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "message", "unit"),
    [
        ("tokens", "", "tokens"),
        ("requests", "", "requests"),
        (None, TPM, "tokens"),
        (None, "Slow down.", "requests"),
        ("input_tokens", "", "tokens"),
        (None, "Rate limit reached on input tokens per min: Limit 30,000", "tokens"),
        (None, "You have exceeded token rate limit of your pricing tier.", "tokens"),
        (None, "Rate limit reached for M on tokens_usage_based per min: Limit 90000", "tokens"),
        (None, "Rate limit reached on requests per min (RPM): Limit 3, Used 3", "requests"),
    ],
)
def test_which_limit_a_429_is_about(kind: str | None, message: str, unit: str) -> None:
    """Its type decides, then its message; a 429 that says neither is about requests."""
    assert refused_limit(kind, message, {}).unit == unit


@pytest.mark.parametrize("lane", [FLEX, STANDARD], ids=lambda lane: lane.name)
@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (TPM, "rate_limited"),
        (TOO_LARGE, "rejected"),
        ("Limit reached on tokens per min (TPM): Limit 100, Used 0, Requested 101.", "rejected"),
        ("Limit reached on tokens per min (TPM): Limit: 1,000, Requested: 2,000", "rejected"),
        (
            "Limit reached on tokens per min (TPM): Limit 100, Used 90, Requested 100",
            "rate_limited",
        ),
    ],
)
def test_a_request_above_the_limit_is_rejected(lane: object, message: str, kind: str) -> None:
    """It would never fit, so it is not retried."""
    assert classify(throttled(message), lane) == kind  # type: ignore[arg-type]  # a lane


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (throttled(TPM), 0.976),
        (throttled(TPM, retry_after="3"), 3.0),
        (throttled(TPM, retry_after_ms="1500"), 1.5),
        (throttled("Please try again in 6m0s."), 360.0),
        (throttled("Please try again in 20s. Contact us."), 20.0),
        (throttled("Please try again in a moment.", x_ratelimit_reset_tokens="2s"), 2.0),
        (throttled("Please try again in 999999999d."), 100 * 86_400.0),
    ],
)
def test_the_wait_that_a_429_asks_for(failure: Failure, seconds: float) -> None:
    """Headers first, then the message, then the reset of an exhausted limit."""
    assert retry_after(failure, "rate_limited", 0.0) == pytest.approx(seconds)


def test_a_refusal_for_capacity_is_not_asked_for_a_wait_in_its_message() -> None:
    """Only rate limits say when to try again in their message."""
    assert retry_after(throttled("Please try again in 20s."), "capacity", 0.0) is None
