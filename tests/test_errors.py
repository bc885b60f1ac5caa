"""The error tree: what existing ``except`` clauses go on catching, and the report on each."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier import (
    CallReport,
    ClientClosedError,
    FlexDeadlineExceeded,
    FlexOpenAI,
    MalformedAnswerError,
    PolicyError,
    StreamInterruptedError,
)
from flextier._openai.error_conversion import failure_of
from flextier._openai.http_library import http, new_request
from flextier._utils.extras import needs_extra
from flextier.calls.report import attach_report, report_of
from flextier.lanes import FLEX
from flextier.lanes.failures import Failure, Kind, classify

URL = "https://api.openai.com/v1/chat/completions"
REPORT = CallReport("o3", "flex", (), waited=0.0, elapsed=1.0)


@pytest.mark.parametrize(
    ("error", "bases", "not_bases"),
    [
        (PolicyError, [ValueError], [openai.OpenAIError]),
        (ClientClosedError, [openai.OpenAIError, RuntimeError], [openai.APIError]),
        (MalformedAnswerError, [openai.APIConnectionError], [openai.APITimeoutError]),
        (StreamInterruptedError, [openai.APIConnectionError], [openai.APITimeoutError]),
        (FlexDeadlineExceeded, [openai.APITimeoutError, openai.APIConnectionError], []),
    ],
)
def test_the_tree(error: type, bases: list[type], not_bases: list[type]) -> None:
    """Each error is caught by the clauses that were there before, and by no other."""
    assert all(issubclass(error, base) for base in bases)
    assert not any(issubclass(error, base) for base in not_bases)


def test_deadline_exceeded_has_the_given_message() -> None:
    """Its message is the one given, else the SDK's for a timeout; the request is on it."""
    request = new_request(URL)
    error = FlexDeadlineExceeded(request, "no answer within 5 s")
    assert (str(error), error.message) == ("no answer within 5 s", "no answer within 5 s")
    assert error.request is request
    silent = FlexDeadlineExceeded(request)
    assert str(silent) == str(openai.APITimeoutError(request))


@pytest.mark.parametrize(
    "error",
    [
        FlexDeadlineExceeded(new_request(URL)),
        MalformedAnswerError(request=new_request(URL)),
        ClientClosedError("closed"),
        openai.APITimeoutError(request=new_request(URL)),
        ValueError("a caller's parser"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_report_can_be_attached_to_any_error(error: Exception) -> None:
    """As ``.report``, for ``except`` clauses and for adapters."""
    assert report_of(error) is None
    attach_report(error, REPORT)
    assert error.report is REPORT  # type: ignore[attr-defined]
    assert report_of(error) is REPORT


def test_a_report_is_found_through_causes() -> None:
    """A framework's own error is still about the call that it was raised from."""
    inner, middle, outer = ValueError("inner"), KeyError("middle"), TypeError("outer")
    attach_report(inner, REPORT)
    middle.__cause__, outer.__cause__ = inner, middle
    assert report_of(outer) is REPORT


def test_the_nearest_report_counts() -> None:
    """An error with a report of its own is about its own call."""
    own = CallReport("o4-mini", "flex", (), waited=0.0, elapsed=2.0)
    inner, outer = ValueError("inner"), KeyError("outer")
    attach_report(inner, REPORT)
    attach_report(outer, own)
    outer.__cause__ = inner
    assert report_of(outer) is own


def test_an_error_that_was_only_near_is_no_cause() -> None:
    """What happened to be handled at the time has another call's report."""
    near = ValueError("near")
    attach_report(near, REPORT)
    error = KeyError("error")
    error.__context__ = near
    assert report_of(error) is None


# --- an SDK exception as plain facts ----------------------------------------------------------


def status_error(status: int, body: Any, **headers: str) -> openai.APIStatusError:
    """The SDK's exception for such an answer."""
    response = http.Response(status, json=body, headers=headers, request=new_request(URL))
    client = openai.OpenAI(api_key="k")
    try:
        return client._make_status_error_from_response(response)
    finally:
        client.close()


def test_facts_of_an_error_status() -> None:
    """Status, words, headers and request id, as the server sent them."""
    error = status_error(
        429,
        {
            "error": {
                "message": "Try standard processing.",
                "type": "resource_unavailable",
                "param": None,
                "code": "flex_unavailable",
            }
        },
        **{"Retry-After": "300", "x-request-id": "req_1"},
    )
    failure = failure_of(error)
    assert failure is not None
    assert (failure.status, failure.code, failure.type, failure.param) == (
        429,
        "flex_unavailable",
        "resource_unavailable",
        None,
    )
    assert "Try standard processing." in failure.message
    assert failure.headers["retry-after"] == "300"
    assert failure.request_id == "req_1"
    assert failure.fault is None


@pytest.mark.parametrize(
    "body", [{}, {"detail": "no"}, "no", ["no"], {"error": "no"}, {"error": {}}]
)
def test_facts_of_a_body_that_is_not_openais(body: Any) -> None:
    """A proxy's words are no error of ours: the status is what is left."""
    failure = failure_of(status_error(503, body))
    assert failure is not None
    assert (failure.status, failure.code, failure.type, failure.param) == (503, None, None, None)


@pytest.mark.parametrize("odd", [429, 4.5, ["x"], {"a": 1}, True], ids=repr)
@pytest.mark.parametrize("word", ["code", "type", "param"])
def test_facts_are_words_whatever_was_sent(word: str, odd: Any) -> None:
    """Other servers put numbers, lists or objects where OpenAI has a string or null."""
    failure = failure_of(status_error(429, {"error": {"message": "m", word: odd}}))
    assert failure is not None
    assert isinstance(getattr(failure, word), str)
    assert classify(failure, FLEX) == "capacity"


def test_an_error_in_deciding_ends_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug of ours costs one request: it is not taken for a reason to try again."""
    sent: list[Any] = []

    def serve(request: Any) -> Any:
        sent.append(request)
        return http.Response(500 if len(sent) < 5 else 400, json={})

    def classify_badly(failure: Failure, lane: Any) -> Kind:
        raise ZeroDivisionError

    monkeypatch.setattr("flextier.routing.failed_attempt.classify", classify_badly)
    transport = http.MockTransport(serve)
    with (
        FlexOpenAI(api_key="k", http_client=http.Client(transport=transport)) as client,
        pytest.raises(ZeroDivisionError),
    ):
        client.chat.completions.create(model="o3", messages=[])
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (openai.APITimeoutError(request=new_request(URL)), "timeout"),
        (FlexDeadlineExceeded(new_request(URL)), "timeout"),
        (openai.APIConnectionError(request=new_request(URL)), "connection"),
        (StreamInterruptedError(request=new_request(URL)), "connection"),
        (MalformedAnswerError(request=new_request(URL)), "malformed"),
    ],
)
def test_facts_below_the_api(error: Exception, fault: str) -> None:
    """A fault instead of a status."""
    failure = failure_of(error)
    assert failure is not None
    assert (failure.fault, failure.status) == (fault, None)


def test_facts_of_an_error_event() -> None:
    """Inside a stream there are words without a status."""
    body = {"code": "server_error", "message": "sorry", "type": None, "param": None}
    error = openai.APIError("sorry", new_request(URL), body=body)
    assert failure_of(error) == Failure(code="server_error", message="sorry")


@pytest.mark.parametrize(
    "error", [ValueError("x"), PolicyError("x"), KeyboardInterrupt()], ids=repr
)
def test_what_is_no_failure_of_an_attempt(error: BaseException) -> None:
    """A caller's own error is not tried again."""
    assert failure_of(error) is None


def test_a_missing_extra_is_named() -> None:
    """The error says what to install, and keeps the module's name and the cause."""
    with (
        pytest.raises(ImportError, match=r'pip install "flextier\[langchain\]"') as caught,
        needs_extra("langchain"),
    ):
        raise ModuleNotFoundError("No module named 'langchain_core'", name="langchain_core")
    assert caught.value.name == "langchain_core"
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_extra_that_is_there_goes_unmentioned() -> None:
    """Other errors pass as they are."""
    with pytest.raises(KeyError, match="mine"), needs_extra("langchain"):
        raise KeyError("mine")
