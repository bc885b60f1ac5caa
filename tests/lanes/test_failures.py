"""What a failure becomes: the table, row by row, and what the server says about waiting."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.lanes import BATCH, FLEX, STANDARD, Lane
from flextier.lanes.failures import Failure, Kind, classify
from flextier.lanes.retry_after import retry_after, retry_forbidden

PRIORITY = Lane(name="priority", service_tier="priority")
WALL = 1_750_000_000.0
UNVERIFIED = "Your organization must be verified to stream this model. Please go to: …"
NO_SUMMARY = "Your organization must be verified to generate reasoning summaries."
TIER = "Unsupported service_tier: flex"


def facts(status: int | None, **words: Any) -> Failure:
    return Failure(status=status, **words)


def http_date(offset: float) -> str:
    """Return an HTTP date ``seconds`` after WALL."""
    moment = datetime.fromtimestamp(WALL, timezone.utc) + timedelta(seconds=offset)
    return format_datetime(moment, usegmt=True)


# --- classify ---------------------------------------------------------------------------------

BOTH = [
    # Below the API: no status at all.
    (Failure(fault="timeout"), "timeout"),
    (Failure(fault="connection"), "transient"),
    (Failure(fault="malformed"), "transient"),
    # A batch that ended before the call's turn came.
    (Failure(fault="unfinished"), "unfinished"),
    # 429 rate limits: OpenAI names the limit in `type`, the reason in `code`.
    (facts(429, code="rate_limit_exceeded"), "rate_limited"),
    (facts(429, code="rate_limit_exceeded", type="tokens"), "rate_limited"),
    (facts(429, type="requests"), "rate_limited"),
    (facts(429, type="tokens"), "rate_limited"),
    (facts(429, type="rate_limit_error"), "rate_limited"),
    (facts(429, code="too_many_requests"), "rate_limited"),
    # 429 that no waiting cures.
    (facts(429, code="insufficient_quota"), "quota"),
    (facts(429, type="insufficient_quota"), "quota"),
    (facts(429, code="billing_hard_limit_reached"), "quota"),
    (facts(429, code="billing_not_active"), "quota"),
    (facts(429, code="spend_limit_reached"), "quota"),
    (facts(429, code="usage_limit_reached"), "quota"),
    (facts(429, code="quota_exceeded"), "quota"),
    (facts(429, code="insufficient_funds"), "quota"),
    # The server's own trouble.
    (facts(408), "timeout"),
    (facts(409), "transient"),
    (facts(500), "transient"),
    (facts(500, type="server_error", message="The server had an error"), "transient"),
    (facts(502), "transient"),
    (facts(503, code="overloaded"), "transient"),
    (facts(504), "transient"),
    (facts(529), "transient"),
    (facts(599), "transient"),
    # Not verified to stream: by code and param, or by the sentence.
    (facts(400, code="unsupported_value", param="stream"), "stream_unverified"),
    (facts(400, param="stream", message=UNVERIFIED), "stream_unverified"),
    (facts(400, message=UNVERIFIED.upper()), "stream_unverified"),
    # Everything else that is the caller's fault.
    (facts(400), "rejected"),
    (facts(400, code="unsupported_value", param="temperature"), "rejected"),
    (facts(400, code="invalid_value", param="stream"), "rejected"),
    (
        facts(400, code="unsupported_value", param="reasoning.summary", message=NO_SUMMARY),
        "rejected",
    ),
    (facts(400, code="context_length_exceeded", param="messages"), "rejected"),
    (facts(400, message="Invalid value: 'display: flex' is not valid CSS"), "rejected"),
    (facts(401, code="invalid_api_key"), "rejected"),
    (facts(429, code="project_spend_limit_exceeded"), "quota"),
    (facts(429, code="organization_usage_limit_exceeded"), "quota"),
    (facts(429, code="credit_balance_exhausted"), "quota"),
    (facts(None, code="request_timeout"), "timeout"),
    (facts(None, code="connection_failed"), "transient"),
    (facts(None, code="vector_store_timeout"), "transient"),
    (facts(None, code="server_is_overloaded"), "transient"),
    (facts(402), "rejected"),
    (facts(403, message="Country not supported"), "rejected"),
    (facts(403, message=UNVERIFIED), "rejected"),
    (facts(404, code="model_not_found", message="The model `o33` does not exist"), "rejected"),
    (facts(404, code="model_not_found", message="The model acme-flex does not exist"), "rejected"),
    (facts(407), "rejected"),
    (facts(410), "rejected"),
    (facts(413), "rejected"),
    (facts(422, param="input"), "rejected"),
    (facts(451), "rejected"),
    # Inside a stream there is no status: the code alone decides.
    (facts(None, code="rate_limit_exceeded"), "rate_limited"),
    (facts(None, code="insufficient_quota"), "quota"),
    (facts(None, code="server_error"), "transient"),
    (facts(None, type="server_error"), "transient"),
    (facts(None, type="internal_error"), "transient"),
    (facts(None, type="internal_server_error"), "transient"),
    (facts(None, code="overloaded"), "transient"),
    (facts(None, code="service_unavailable"), "transient"),
    (facts(None, message="something broke"), "transient"),
    (facts(None, code="invalid_prompt"), "rejected"),
    (facts(None, type="invalid_request_error"), "rejected"),
]
"""Rows that are the same on every lane."""

BY_LANE = [
    # failure, on flex, on standard
    (facts(429), "capacity", "rate_limited"),
    (facts(429, message="Resource Unavailable"), "capacity", "rate_limited"),
    (facts(429, code="some_new_code"), "capacity", "rate_limited"),
    (facts(429, code="flex_unavailable"), "capacity", "rate_limited"),
    (facts(429, code="resource_unavailable"), "capacity", "rate_limited"),
    (facts(429, type="resource_unavailable", code="flex_unavailable"), "capacity", "rate_limited"),
    (facts(429, type="resource_unavailable"), "capacity", "rate_limited"),
    (facts(None, code="flex_unavailable"), "capacity", "rate_limited"),
    (facts(None, type="resource_unavailable"), "capacity", "rate_limited"),
    (facts(498, code="capacity_exceeded"), "capacity", "rejected"),
    (facts(503, code="resource_unavailable"), "capacity", "transient"),
    # The tier is not for this model, or not for this project.
    (facts(400, param="service_tier"), "lane_unsupported", "rejected"),
    (facts(400, param="service_tier", code="invalid_value"), "lane_unsupported", "rejected"),
    (facts(400, message=TIER), "lane_unsupported", "rejected"),
    (facts(400, message="Flex processing is not enabled"), "lane_unsupported", "rejected"),
    (facts(400, message="Unknown service tier"), "lane_unsupported", "rejected"),
    (facts(403, message="This project may not use flex."), "lane_unsupported", "rejected"),
    (facts(404, param="service_tier"), "lane_unsupported", "rejected"),
    (facts(422, param="service_tier"), "lane_unsupported", "rejected"),
]


@pytest.mark.parametrize("lane", [FLEX, STANDARD, PRIORITY, BATCH], ids=lambda lane: str(lane.name))
@pytest.mark.parametrize(("failure", "kind"), BOTH)
def test_the_same_on_every_lane(failure: Failure, kind: Kind, lane: Lane) -> None:
    """What is not about a lane becomes the same kind on all of them."""
    assert classify(failure, lane) == kind


@pytest.mark.parametrize(("failure", "flex", "other"), BY_LANE)
def test_what_only_flex_says(failure: Failure, flex: Kind, other: Kind) -> None:
    """Refusals of the flex tier are read as such on flex alone."""
    assert classify(failure, FLEX) == flex
    assert classify(failure, STANDARD) == other
    assert classify(failure, PRIORITY) == other


def test_the_table_covers_every_kind() -> None:
    """No kind is without a row."""
    rows = {kind for _, kind in BOTH} | {
        kind for _, flex, other in BY_LANE for kind in (flex, other)
    }
    assert rows == set(get_args(Kind))


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        # A fault outweighs every word that came with it.
        (facts(429, code="insufficient_quota", fault="timeout"), "timeout"),
        (facts(400, param="service_tier", fault="connection"), "transient"),
        # No money outweighs no capacity and a rate limit, wherever the words stand.
        (facts(429, type="insufficient_quota", code="flex_unavailable"), "quota"),
        (facts(429, type="resource_unavailable", code="insufficient_quota"), "quota"),
        (facts(429, type="insufficient_quota", code="rate_limit_exceeded"), "quota"),
        # No capacity, named, outweighs the limit it is filed under.
        (facts(429, type="requests", code="flex_unavailable"), "capacity"),
        (facts(429, type="resource_unavailable", code="rate_limit_exceeded"), "capacity"),
        # A 429 is no 400: what it says about the tier does not make the lane unsupported.
        (facts(429, param="service_tier"), "capacity"),
        (facts(429, message=TIER, code="rate_limit_exceeded"), "rate_limited"),
        # A code outweighs the text.
        (facts(429, code="rate_limit_exceeded", message="flex is out of capacity"), "rate_limited"),
        (facts(429, code="insufficient_quota", message="Rate limit reached"), "quota"),
        # `param` outweighs the text: it is another field that is wrong.
        (facts(400, param="messages", message="no `flex` in the service tier"), "rejected"),
        (facts(400, param="", message=TIER), "rejected"),
        # The tier and the stream are both 400: the tier is the cheaper thing to change.
        (facts(400, param="service_tier", message=UNVERIFIED), "lane_unsupported"),
        # "flex" must be a word, and the status one that is about the request.
        (facts(400, message="The value is inflexible"), "rejected"),
        (facts(400, message="reflex_arc is not a tool"), "rejected"),
        (facts(401, message=TIER), "rejected"),
        (facts(409, param="service_tier"), "transient"),
        (facts(500, param="service_tier", message=TIER), "transient"),
    ],
)
def test_what_outweighs_what_on_flex(failure: Failure, kind: Kind) -> None:
    """Faults before codes, codes before status, status before text."""
    assert classify(failure, FLEX) == kind


words = st.none() | st.sampled_from(
    ["flex_unavailable", "insufficient_quota", "rate_limit_exceeded", "server_error", "stream", ""]
)


@given(
    status=st.none() | st.integers(400, 599),
    code=words,
    type=words,
    param=words | st.just("service_tier"),
    message=st.text(max_size=20) | st.sampled_from([UNVERIFIED, TIER]),
)
def test_every_failure_has_a_kind(status: int | None, **facts: Any) -> None:
    """Whatever a server says becomes a kind, and never capacity on a lane that has no refusals."""
    failure = Failure(status=status, **facts)
    assert classify(failure, FLEX) in get_args(Kind)
    assert classify(failure, STANDARD) in set(get_args(Kind)) - {"capacity", "lane_unsupported"}


# --- retry_after ------------------------------------------------------------------------------


def wait(kind: Kind = "capacity", **headers: str) -> float | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return retry_after(Failure(status=429, headers=named), kind, WALL)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_retry_after_counts_for_every_kind(kind: Kind) -> None:
    """Seconds are seconds, whatever went wrong."""
    assert wait(kind, retry_after="7") == 7.0
    assert wait(kind, retry_after_ms="7") == 0.007


@pytest.mark.parametrize(
    ("text", "seconds"), [("300", 300.0), ("0.5", 0.5), (" 5 ", 5.0), ("1e2", 100.0)]
)
def test_retry_after_in_seconds(text: str, seconds: float) -> None:
    """Whole and broken numbers of seconds."""
    assert wait(retry_after=text) == seconds


@pytest.mark.parametrize("offset", [1, 90, 86_400])
def test_retry_after_as_a_date(offset: int) -> None:
    """A date counts from the wall clock that was passed in."""
    assert wait(retry_after=http_date(offset)) == pytest.approx(offset)


@pytest.mark.parametrize("offset", [0, -1, -86_400])
def test_a_date_that_is_past_says_nothing(offset: int) -> None:
    """A date that has come already is no wait."""
    assert wait(retry_after=http_date(offset)) is None


NONSENSE = [
    "",
    " ",
    "0",
    "-0",
    "-5",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "soon",
    "5 minutes",
    "5, 10",
    "Wed, 99 Oct 2025 07:28:00 GMT",
    "Wed, 21 Oct 99999 07:28:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359",
]


@pytest.mark.parametrize("text", NONSENSE)
def test_nonsense_says_nothing(text: str) -> None:
    """What cannot be a wait counts as nothing said, in either header."""
    assert wait(retry_after=text) is None
    assert wait(retry_after_ms=text) is None


def test_milliseconds_before_seconds() -> None:
    """``retry-after-ms`` is the more exact of the two."""
    assert wait(retry_after_ms="1500", retry_after="2") == 1.5


@pytest.mark.parametrize("text", NONSENSE)
def test_one_header_that_is_nonsense_leaves_the_other(text: str) -> None:
    """A header that says nothing usable does not hide one that does."""
    assert wait(retry_after_ms=text, retry_after="3") == 3.0
    assert wait("rate_limited", retry_after=text, x_ratelimit_reset_tokens="4s") == 4.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("20ms", 0.02),
        ("6m0s", 360.0),
        ("1m30.5s", 90.5),
        ("1h2m3s", 3723.0),
        ("1d", 86_400.0),
        ("7.66s", 7.66),
        ("1s500ms", 1.5),
    ],
)
@pytest.mark.parametrize("limit", ["requests", "tokens"])
def test_reset_of_a_rate_limit(text: str, seconds: float, limit: str) -> None:
    """OpenAI's own way to write a span, in either of the two headers."""
    headers = {f"x_ratelimit_reset_{limit}": text}
    assert wait("rate_limited", **headers) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "0s", "0ms", "soon", "12", "-5s", "5s!", "in 5s", "9" * 400 + "s"]
)
def test_a_reset_that_is_nonsense_says_nothing(text: str) -> None:
    """A reset that is no positive, finite span counts as nothing said."""
    assert wait("rate_limited", x_ratelimit_reset_requests=text) is None


@pytest.mark.parametrize("kind", sorted(set(get_args(Kind)) - {"rate_limited"}))
def test_a_reset_counts_for_rate_limits_only(kind: Kind) -> None:
    """The reset of a limit that did not stop the call is no reason to wait."""
    assert wait(kind, x_ratelimit_reset_requests="6m0s", x_ratelimit_remaining_requests="0") is None


@pytest.mark.parametrize(
    ("requests_left", "tokens_left", "seconds"),
    [("0", "5", 60.0), ("5", "0", 3.0), ("0", "0", 60.0), ("5", "5", None), (None, "5", 60.0)],
)
def test_only_limits_that_are_used_up_count(
    requests_left: str | None, tokens_left: str, seconds: float | None
) -> None:
    """The longest reset among the limits with nothing remaining; one that is silent counts."""
    headers = {
        "x_ratelimit_reset_requests": "1m0s",
        "x_ratelimit_reset_tokens": "3s",
        "x_ratelimit_remaining_tokens": tokens_left,
    }
    if requests_left is not None:
        headers["x_ratelimit_remaining_requests"] = requests_left
    assert wait("rate_limited", **headers) == seconds


def test_retry_after_before_the_reset() -> None:
    """What the server asks for outweighs what its limits let one guess."""
    assert wait("rate_limited", retry_after="2", x_ratelimit_reset_requests="6m0s") == 2.0


def test_nothing_said() -> None:
    """Without headers there is nothing to obey."""
    assert retry_after(Failure(status=429), "rate_limited", WALL) is None


spans = st.text("0123456789.-+msdh e", max_size=12)
dates = st.sampled_from([http_date(offset) for offset in (-1e6, -1, 1, 1e6)])


@given(
    headers=st.dictionaries(
        st.sampled_from(
            [
                "retry-after",
                "retry-after-ms",
                "x-ratelimit-reset-requests",
                "x-ratelimit-remaining-requests",
                "x-ratelimit-reset-tokens",
            ]
        ),
        st.text(max_size=30) | spans | dates,
    ),
    kind=st.sampled_from(get_args(Kind)),
)
def test_a_wait_is_positive_and_finite(headers: dict[str, str], kind: Kind) -> None:
    """Whatever headers say, the answer is None or a number of seconds that can be slept."""
    seconds = retry_after(Failure(status=429, headers=headers), kind, WALL)
    assert seconds is None or 0 < seconds < math.inf


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs a POSIX clock")
@pytest.mark.parametrize("zone", ["", " -0000", " GMT"])
def test_a_date_is_read_as_gmt_wherever_we_are(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP dates are GMT, also the careless ones: never this machine's time zone."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert wait(retry_after=http_date(90).removesuffix(" GMT") + zone) == pytest.approx(90)
    finally:
        monkeypatch.undo()
        time.tzset()


# --- retry_forbidden --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        ({}, None),
        ({"x-should-retry": "true"}, True),
        ({"x-should-retry": "false"}, False),
        ({"x-should-retry": ""}, None),
        ({"x-should-retry": "maybe"}, None),
        ({"x-should-retry": "1"}, None),
    ],
)
def test_x_should_retry(headers: dict[str, str], answer: bool | None) -> None:
    """True, False, or None when the server does not say."""
    assert retry_forbidden(Failure(status=500, headers=headers)) is (answer is False)
