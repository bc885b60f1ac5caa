"""The ``timeout`` arguments of the SDK and the frameworks, and what a policy makes of them."""

from __future__ import annotations

import math
import re
from typing import Any

import openai
import pytest

from flextier import FlexPolicy, PolicyError
from flextier.routing.timeout_args import (
    TimeoutArgument,
    warn_overridden,
    with_retries,
)

LONG = 1_000_000.0
"""What "no timeout" becomes: a number that every platform can wait for."""


class Foreign:
    """A timeout object of another HTTP library: httpx's beside httpx2."""

    def __init__(self, connect: float | None, read: float | None) -> None:
        self.connect, self.read, self.write, self.pool = connect, read, 1.0, 1.0

    def __repr__(self) -> str:
        return f"Foreign({self.connect}, {self.read})"  # the test's name, the same in every process


@pytest.mark.parametrize(
    ("timeout", "total", "connect"),
    [
        (20, 20.0, 5.0),
        (0.25, 0.25, 5.0),
        (None, LONG, 5.0),
        (openai.Timeout(20), 20.0, 20.0),
        (openai.Timeout(600, connect=3), 600.0, 3.0),
        (openai.Timeout(600, connect=3, read=40, write=50, pool=60), 40.0, 3.0),
        (openai.Timeout(None), LONG, LONG),
        (openai.Timeout(20, connect=None), 20.0, LONG),
        (openai.Timeout(20, read=None), LONG, 20.0),
        ((3, 40, 50, 60), 40.0, 3.0),
        ((3, None, 50, 60), LONG, 3.0),
        ((None, 40, None, None), 40.0, LONG),
        (Foreign(3.0, 40.0), 40.0, 3.0),
        (Foreign(None, None), LONG, LONG),
    ],
    ids=repr,
)
def test_what_a_timeout_says(timeout: Any, total: float, connect: float) -> None:
    """The read timeout is the attempt's; connecting has its own; None is no limit."""
    assert TimeoutArgument.from_argument(timeout) == TimeoutArgument(total, connect)


def test_no_timeout_argument() -> None:
    """Without the argument the policy's fields count, and connecting has the SDK's default."""
    assert TimeoutArgument() == TimeoutArgument(None, 5.0)
    policy = FlexPolicy(patience=3)
    assert TimeoutArgument().apply_to(policy) is policy


@pytest.mark.parametrize(
    ("timeout", "connect"), [(20, 3.0), (openai.Timeout(20, connect=1), 1.0), ((2, 20, 1, 1), 2.0)]
)
def test_a_calls_number_keeps_the_clients_connect(timeout: Any, connect: float) -> None:
    """A number says nothing of connecting, so the client's word on it stays; an object does."""
    assert TimeoutArgument.from_argument(timeout, TimeoutArgument(600.0, 3.0)) == TimeoutArgument(
        20.0, connect
    )


@pytest.mark.parametrize(
    ("seconds", "connect", "connects"), [(600.0, 5.0, 5.0), (2.0, 5.0, 2.0), (600.0, LONG, 600.0)]
)
def test_the_timeout_of_an_attempt(seconds: float, connect: float, connects: float) -> None:
    """The SDK's own type: so long for every read and write, and no longer to connect."""
    made = TimeoutArgument(900.0, connect).for_attempt(seconds)
    assert isinstance(made, openai.Timeout)
    assert (made.connect, made.read, made.write, made.pool) == (connects, seconds, seconds, seconds)


def test_a_timeout_is_every_lanes() -> None:
    """It sets both lanes' fields, and nothing else; not those that are shorter in code."""
    policy = FlexPolicy(patience=3)
    assert TimeoutArgument(20.0).apply_to(policy) == policy.replace(
        flex_timeout=20, standard_timeout=20
    )
    policy = FlexPolicy(flex_timeout=10)
    assert TimeoutArgument(20.0).apply_to(policy) == policy.replace(standard_timeout=20)


def test_a_longer_field_is_overridden_with_a_warning() -> None:
    """One for each field and value, however many calls there are."""
    warn_overridden.cache_clear()
    policy = FlexPolicy(flex_timeout=30, standard_timeout=31)
    with pytest.warns(UserWarning, match="timeout=20 overrides") as warned:
        merged = [TimeoutArgument(20.0).apply_to(policy) for _ in range(3)]
    assert {(one.flex_timeout, one.standard_timeout) for one in merged} == {(20.0, 20.0)}
    assert [str(warning.message).partition(":")[0] for warning in warned] == [
        "timeout=20 overrides FlexPolicy(flex_timeout=30)",
        "timeout=20 overrides FlexPolicy(standard_timeout=31)",
    ]


def test_of_a_timeout_and_a_variable_the_shorter_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool's own timeout, of ten minutes say, does not disable what its user has set."""
    monkeypatch.setenv("FLEXTIER_FLEX_TIMEOUT", "7")
    monkeypatch.setenv("FLEXTIER_STANDARD_TIMEOUT", "70")
    merged = TimeoutArgument(20.0).apply_to(FlexPolicy(patience=3))
    assert (merged.flex_timeout, merged.standard_timeout) == (7.0, 20.0)


@pytest.mark.parametrize(
    ("fields", "timeout", "seconds"),
    [
        ({}, None, 300.0),
        ({"max_retries": 0}, None, 300.0),
        ({"max_retries": 0}, 10.0, 10.0),
        ({"max_retries": 2}, 10.0, 30.0),
        ({"max_retries": 2}, 150.0, 300.0),
        ({"max_retries": 2}, LONG, 300.0),
        ({"deadline": 900}, None, math.inf),
        ({"deadline": 900, "max_retries": 0}, 10.0, math.inf),
        ({"patience": 0}, 10.0, 0.0),
        ({"patience": 3600, "deadline": 900}, 10.0, 3600.0),
    ],
)
def test_patience_that_is_not_given(
    fields: dict[str, Any], timeout: float | None, seconds: float
) -> None:
    """The deadline bounds it, else a timeout with its retries; 300 s without both, and at most."""
    policy = TimeoutArgument(timeout).patience_for(FlexPolicy(**fields))
    assert policy.patience_seconds == seconds


# --- with_retries -----------------------------------------------------------------------------


def test_no_argument_changes_nothing() -> None:
    """The policy is the one that was given."""
    policy = FlexPolicy(patience=3)
    assert with_retries(policy, policy, None) is policy


def test_retries_set_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also to 0, and whatever the environment says."""
    monkeypatch.setenv("FLEXTIER_MAX_RETRIES", "7")
    policy = FlexPolicy(patience=3)
    assert with_retries(policy, policy, 5).max_retries == 5
    assert with_retries(policy, policy, 0).max_retries == 0


@pytest.mark.parametrize(("own", "argument"), [(3, 5), (2, 0)])
def test_a_contradiction_names_both(own: int, argument: int) -> None:
    """An argument and an explicit field that differ, even where the field has its default."""
    policy = FlexPolicy(max_retries=own)
    with pytest.raises(PolicyError) as caught:
        with_retries(policy, policy, argument)
    assert f"max_retries={argument} and FlexPolicy(max_retries={own}) contradict" in str(
        caught.value
    )


def test_the_same_value_twice_is_no_contradiction() -> None:
    """An argument may repeat the policy's field."""
    policy = FlexPolicy(max_retries=5)
    assert with_retries(policy, policy, 5) == policy


def test_without_a_given_policy_there_is_nothing_to_contradict() -> None:
    """A copy's arguments are for it alone: they win over the policy in force."""
    assert with_retries(FlexPolicy(max_retries=3), None, 5).max_retries == 5


@pytest.mark.parametrize(
    "timeout",
    [
        0, -1.0, float("nan"), float("inf"), "90s", (0, 0), openai.Timeout(0),
        openai.Timeout(20, connect=0), openai.Timeout(20, read=0), Foreign(3.0, 0.0),
    ],
    ids=repr,
)  # fmt: skip
def test_a_timeout_of_no_time(timeout: Any) -> None:
    """The error names the argument that was given, and not the fields that it would set."""
    with pytest.raises(PolicyError, match=re.escape(f"timeout={timeout!r}: must be a finite")):
        TimeoutArgument.from_argument(timeout)


def test_retries_are_validated() -> None:
    """What the field would refuse, the argument is refused for."""
    with pytest.raises(PolicyError, match="max_retries"):
        with_retries(FlexPolicy(), None, -1)
