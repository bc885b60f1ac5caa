"""Every scripted fault, as the SDK's user meets it."""

from __future__ import annotations

import json
import socket
import time

import openai
import pytest

from flextier.sim import Fault, Simulator

from .callers import SOON, Caller, Chat, eventually, raw, stalled


def asked(sim: Simulator) -> str:
    """The outcome of the only request."""
    (request,) = sim.requests
    return request.outcome


def waited(sim: Simulator) -> float:
    """Seconds the last request took, rounded up: the server's timers count milliseconds."""
    seconds = sim.requests[-1].seconds
    assert seconds is not None
    return seconds + 0.002


def test_serve_overrides_tier_text_and_usage(sim: Simulator, caller: Caller) -> None:
    """A scripted answer reports the tier, the text and the usage it was given."""
    usage = {"input_tokens": 7, "output_tokens": 5, "reasoning_tokens": 2}
    sim.script(Fault.serve(tier="default", text="Scripted.", usage=usage))
    answer = caller.plain(service_tier="flex")
    assert caller.text(answer) == "Scripted."
    assert answer.service_tier == "default"
    assert answer.usage.total_tokens == 12
    assert sim.stats()["billed"]["o3"]["default"]["reasoning_tokens"] == 2


def test_serve_after_a_delay(sim: Simulator) -> None:
    """A delay is waited for before the answer."""
    sim.script(Fault.serve(delay=0.03))
    Chat(sim.base_url).plain()
    assert waited(sim) >= 0.03


@pytest.mark.parametrize("code", ["flex_unavailable", "resource_unavailable"])
def test_refusal_has_the_body_and_headers_of_the_flex_lane(
    sim: Simulator, caller: Caller, code: str
) -> None:
    """A refusal is a 429 with flex's code, and the headers that were asked for."""
    sim.script(Fault.refuse(code, retry_after=300, should_retry=False))
    with pytest.raises(openai.RateLimitError) as caught:
        caller.plain(service_tier="flex")
    error = caught.value
    assert error.body == {
        "message": "Try standard processing.",
        "type": "resource_unavailable",
        "param": None,
        "code": code,
    }
    assert error.response.headers["retry-after"] == "300"
    assert error.response.headers["x-should-retry"] == "false"
    assert asked(sim) == "refused"


def test_retry_after_may_be_any_text(sim: Simulator) -> None:
    """A Retry-After that is a date, or nonsense, reaches the client as it is."""
    sim.script(Fault.refuse(retry_after="Wed, 21 Oct 2026 07:28:00 GMT"))
    with pytest.raises(openai.RateLimitError) as caught:
        Chat(sim.base_url).plain()
    assert caught.value.response.headers["retry-after"] == "Wed, 21 Oct 2026 07:28:00 GMT"


def test_rate_limit_says_when_to_come_back(sim: Simulator, caller: Caller) -> None:
    """A rate limit carries all three headers that say how long to wait."""
    sim.script(Fault.rate_limit(retry_after=2, retry_after_ms=1500, reset="6m0s"))
    with pytest.raises(openai.RateLimitError) as caught:
        caller.plain()
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert headers["retry-after"] == "2"
    assert headers["retry-after-ms"] == "1500"
    assert headers["x-ratelimit-reset-requests"] == "6m0s"
    assert asked(sim) == "rate_limited"


@pytest.mark.parametrize(
    ("fault", "kind", "code", "param", "outcome"),
    [
        (Fault.quota(), openai.RateLimitError, "insufficient_quota", None, "quota"),
        (
            Fault.unsupported(),
            openai.BadRequestError,
            "unsupported_value",
            "service_tier",
            "unsupported",
        ),
        (Fault.unverified(), openai.BadRequestError, "unsupported_value", "stream", "unverified"),
        (
            Fault.unverified("reasoning.summary"),
            openai.BadRequestError,
            "unsupported_value",
            "reasoning.summary",
            "unverified",
        ),
        (
            Fault.status(403, error_code="forbidden", param="model"),
            openai.PermissionDeniedError,
            "forbidden",
            "model",
            "error",
        ),
        (Fault.status(500), openai.InternalServerError, None, None, "error"),
    ],
)
def test_error_statuses(
    sim: Simulator,
    caller: Caller,
    fault: Fault,
    kind: type[openai.APIStatusError],
    code: str | None,
    param: str | None,
    outcome: str,
) -> None:
    """Every error becomes the SDK's exception for it, with its code and its param."""
    sim.script(fault)
    with pytest.raises(kind) as caught:
        caller.plain()
    assert (caught.value.code, caught.value.param) == (code, param)
    assert asked(sim) == outcome


def test_unverified_names_what_may_not_be_done(sim: Simulator) -> None:
    """The 400 of an unverified organisation speaks of streams, or of reasoning summaries."""
    sim.script(Fault.unverified(), Fault.unverified("reasoning.summary"))
    with pytest.raises(openai.BadRequestError, match="must be verified to stream this model"):
        Chat(sim.base_url).plain()
    with pytest.raises(openai.BadRequestError, match="to generate reasoning summaries"):
        Chat(sim.base_url).plain()


def test_status_takes_a_message_a_type_and_headers(sim: Simulator) -> None:
    """A scripted status is sent as it was scripted."""
    fault = Fault.status(503, message="Later.", type="overloaded", headers={"Retry-After": "9"})
    sim.script(fault)
    answer = raw(sim.url, "POST", Chat.path, Chat(sim.base_url).body({}))
    assert answer.status == 503
    assert answer.headers["retry-after"] == "9"
    assert answer.json()["error"] == {
        "message": "Later.",
        "type": "overloaded",
        "param": None,
        "code": None,
    }


def test_stall_ends_when_the_client_leaves(sim: Simulator, caller: Caller) -> None:
    """A stalled request is silent until its client gives up, and is possibly billed."""
    sim.script(Fault.stall())
    with pytest.raises(openai.APITimeoutError):
        caller.plain(timeout=SOON)
    assert eventually(lambda: sim.in_flight == 0)
    assert asked(sim) == "stalled"
    assert sim.requests[0].status is None
    assert sim.stats()["possibly_billed"] == 1


def test_stall_can_end_in_an_answer(sim: Simulator, caller: Caller) -> None:
    """A stall with a length ends in a normal answer, which is billed."""
    sim.script(Fault.stall(seconds=0.02))
    assert caller.text(caller.plain()).startswith("[simulated]")
    assert waited(sim) >= 0.02
    stats = sim.stats()
    assert (stats["stalls"], stats["possibly_billed"]) == (1, 0)
    assert asked(sim) == "served"


def test_a_stalled_request_is_seen_while_it_stalls(sim: Simulator) -> None:
    """While a request stalls it is in flight, with the outcome ``stalled``."""
    with stalled(sim, Chat(sim.base_url)):
        assert (sim.in_flight, asked(sim)) == (1, "stalled")
    assert sim.in_flight == 0


def test_reset_loses_the_connection(sim: Simulator, caller: Caller) -> None:
    """A reset is a lost connection, not a status, and nothing is billed."""
    sim.script(Fault.reset())
    with pytest.raises(openai.APIConnectionError) as caught:
        caller.plain()
    assert not isinstance(caught.value, openai.APITimeoutError)
    assert asked(sim) == "reset"
    assert sim.stats()["possibly_billed"] == 0


def test_reset_is_a_reset_on_the_socket(sim: Simulator) -> None:
    """The client's socket sees RST, not an orderly end."""
    sim.script(Fault.reset())
    with pytest.raises(ConnectionResetError):
        raw(sim.url, "POST", Chat.path, Chat(sim.base_url).body({}))


def test_cut_body_is_a_lost_connection(sim: Simulator, caller: Caller) -> None:
    """A body shorter than its Content-Length is a lost connection, possibly billed."""
    sim.script(Fault.cut(after_bytes=20))
    with pytest.raises(openai.APIConnectionError):
        caller.plain()
    assert asked(sim) == "cut"
    assert sim.stats()["possibly_billed"] == 1


def test_page_in_place_of_json(sim: Simulator) -> None:
    """A gateway's page comes with status 200 and its own content type."""
    sim.script(Fault.not_json())
    answer = raw(sim.url, "POST", Chat.path, Chat(sim.base_url).body({}))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html"
    with pytest.raises(ValueError, match="Expecting value"):
        answer.json()
    assert asked(sim) == "not_json"


def test_truncated_json(sim: Simulator) -> None:
    """JSON that was cut off keeps its content type and a fitting length."""
    sim.script(Fault.not_json("application/json"))
    answer = raw(sim.url, "POST", Chat.path, Chat(sim.base_url).body({}))
    assert answer.content.startswith(b'{"id"')
    assert int(answer.headers["content-length"]) == len(answer.content)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


def test_trickle_takes_its_time(sim: Simulator, caller: Caller) -> None:
    """A trickled body arrives whole, and late."""
    sim.script(Fault.trickle(0.03, bytes=200))
    began = time.monotonic()
    assert caller.text(caller.plain()).startswith("[simulated]")
    assert time.monotonic() - began > 0.02
    assert asked(sim) == "served"


def test_client_that_leaves_during_a_trickle_is_possibly_billed(sim: Simulator) -> None:
    """An answer that its client did not wait for counts as abandoned."""
    sim.script(Fault.trickle(5, bytes=1))
    host, port = sim.url.removeprefix("http://").split(":")
    body = json.dumps(Chat(sim.base_url).body({})).encode()
    head = f"POST {Chat.path} HTTP/1.1\r\nauthorization: k\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + body)
        assert client.recv(10).startswith(b"HTTP/1.1")
    assert eventually(lambda: sim.in_flight == 0)
    assert asked(sim) == "abandoned"
    assert sim.stats()["possibly_billed"] == 1


def test_faults_are_used_in_order_and_once(sim: Simulator, caller: Caller) -> None:
    """Scripted faults meet the next requests in order, then the weather decides."""
    sim.script(Fault.refuse(), Fault.serve(text="two"))
    with pytest.raises(openai.RateLimitError):
        caller.plain()
    assert caller.text(caller.plain()) == "two"
    assert caller.text(caller.plain()).startswith("[simulated]")


def test_fault_waits_for_its_request(sim: Simulator) -> None:
    """A fault with conditions lets every other request pass."""
    chat = Chat(sim.base_url)
    sim.script(
        Fault.serve(text="flex").on(lane="flex"),
        Fault.serve(text="mini").on(model="*-mini"),
        Fault.serve(text="responses").on(path="/responses"),
        Fault.serve(text="any"),
    )
    assert chat.text(chat.plain()) == "any"
    assert chat.text(chat.plain(model="o4-mini")) == "mini"
    assert chat.text(chat.plain(service_tier="flex")) == "flex"
    assert chat.text(chat.plain()).startswith("[simulated]")


@pytest.mark.parametrize(
    "fault", [Fault.stream_error(), Fault.stream_end(), Fault.stream_reset(), Fault.stream_stall()]
)
def test_stream_fault_on_a_plain_request_is_reported(
    sim: Simulator, caller: Caller, fault: Fault
) -> None:
    """A fault that cannot happen to a plain request is an error that says so."""
    sim.script(fault)
    with pytest.raises(openai.InternalServerError, match="is for streams") as caught:
        caller.plain()
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert "is for streams" in sim.stats()["warnings"][0]
    assert asked(sim) == "misused"


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.not_json(), Fault.trickle(1)])
def test_plain_fault_on_a_stream_is_reported(sim: Simulator, caller: Caller, fault: Fault) -> None:
    """A fault that cannot happen to a stream is an error that says so."""
    sim.script(fault)
    with pytest.raises(openai.InternalServerError, match="is for plain requests"):
        caller.stream()
    assert len(sim.stats()["warnings"]) == 1
