"""The policy of a call, and the words for its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from flextier import FlexPolicy
from flextier.routing.policy_in_force import policy_in_force
from flextier.routing.timeout_args import TimeoutArgument


@pytest.mark.parametrize(
    ("fields", "timeout", "left", "limits"),
    [
        (
            {},
            None,
            math.inf,
            "patience 300 s (default), flex_timeout 900 s (default), "
            "standard_timeout 500 s (FLEXTIER_STANDARD_TIMEOUT)",
        ),
        (
            {"max_retries": 0},
            10.0,
            math.inf,
            "patience 10 s (timeout * (max_retries + 1)), flex_timeout 10 s (timeout), "
            "standard_timeout 10 s (timeout)",
        ),
        (
            {"deadline": 900, "flex_timeout": 60},
            None,
            math.inf,
            "deadline 900 s (in code), patience to the deadline, flex_timeout 60 s (in code), "
            "standard_timeout 500 s (FLEXTIER_STANDARD_TIMEOUT)",
        ),
        (
            {"deadline": 900, "patience": 45},
            60.0,
            120.0,
            "deadline 120 s (until), patience 45 s (in code), flex_timeout 60 s (timeout), "
            "standard_timeout 60 s (timeout)",
        ),
    ],
)
def test_where_each_limit_comes_from(
    fields: dict[str, Any],
    timeout: float | None,
    left: float,
    limits: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From an argument, a policy or an override, a variable, or the defaults."""
    monkeypatch.setenv("FLEXTIER_STANDARD_TIMEOUT", "500")
    in_force = policy_in_force(FlexPolicy(**fields), TimeoutArgument(timeout), left)
    assert in_force.limits == limits
