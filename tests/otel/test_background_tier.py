"""The service tier that background windows have in telemetry."""

from __future__ import annotations

import pytest

from flextier.otel.attributes import of_call
from tests.otel.test_background_lanes import ASKED, SHARES, answered


@pytest.mark.parametrize("lane", SHARES)
def test_the_tier_is_the_default(lane: str) -> None:
    """A window is no service tier: what is asked for and answered is ``default``."""
    attributes = of_call(ASKED, answered(lane))
    assert attributes["openai.request.service_tier"] == "default"
    assert attributes["openai.response.service_tier"] == "default"
