"""Faults are plain values that check what they are given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flextier.sim import Fault, Tokens
from flextier.sim.behavior.fault_queue import FaultQueue


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Fault.status(200), "code must be an error status"),
        (lambda: Fault.stall(-1), "seconds must be 0 or more"),
        (lambda: Fault.serve(delay=-1), "delay must be 0 or more"),
        (lambda: Fault.cut(-1), "after_bytes must be 0 or more"),
        (lambda: Fault.trickle(1, bytes=0), "bytes must be above 0"),
        (lambda: Fault.stream_end(-1), "after must be 0 or more"),
        (lambda: Fault.stream_error(how="loud"), "how must be"),
        (lambda: Fault.serve().on(lane="bus"), "lane must be one of"),
        (lambda: Fault.refuse(retry_after="a\nb"), "retry-after must be printable"),
        (lambda: Fault.serve(usage={"tokens": 1}), "unknown fields: tokens"),
        (lambda: Fault.serve(usage={"input_tokens": -1}), "must not be negative"),
        (lambda: Tokens(input_tokens=1, cached_input_tokens=2), "parts of input_tokens"),
        (lambda: Tokens(output_tokens=1, reasoning_tokens=2), "part of output_tokens"),
    ],
)
def test_faults_that_cannot_be(make: Callable[[], object], problem: str) -> None:
    """A wrong argument is an error where the fault is made, not where it happens."""
    with pytest.raises(ValueError, match=problem):
        make()


def test_faults_are_values() -> None:
    """Equal faults are equal, may be used again, and narrowing one leaves it as it was."""
    fault = Fault.refuse(retry_after=1)
    assert fault == Fault.refuse(retry_after=1)
    assert len({fault, Fault.refuse(retry_after=1)}) == 1
    assert fault.on(lane="flex") != fault


def test_script_hands_out_the_first_fault_that_matches() -> None:
    """Conditions are all met, or the fault waits."""
    script = FaultQueue()
    narrow = Fault.quota().on(lane="flex", model="o*", path="/responses", stream=True)
    script.add(narrow, Fault.reset())
    assert script.take("standard", "o3", "/v1/responses", True) == Fault.reset()
    assert script.take("flex", "gpt-5", "/v1/responses", True) is None
    assert script.take("flex", "o3", "/v1/chat/completions", True) is None
    assert script.take("flex", "o3", "/v1/responses", False) is None
    assert script.take("flex", "o3", "/v1/responses", True) == narrow
    assert len(script) == 0
