"""Programs that flextier exec starts, and a gateway."""

from __future__ import annotations

import sys

import pytest

from flextier.sim import Fault, Simulator
from tests.installer.test_exec import executed
from tests.serve.conftest import KEY, Served

pytestmark = pytest.mark.sampled(2)

STOCK = "from openai import OpenAI; ask = OpenAI().responses.create"
OURS = "from flextier import FlexOpenAI; ask = FlexOpenAI().responses.create"
ASK = """
from flextier import track
with track() as calls:
    tier = ask(model="o4-mini", input="Name a colour.").service_tier
print(tier, *[attempt.outcome for call in calls for attempt in call.attempts])
"""


@pytest.mark.parametrize(
    ("program", "options", "printed"),
    [
        (STOCK, ("--gateway",), "flex"),
        (OURS, ("--gateway",), "flex capacity served"),
        (STOCK, (), "flex capacity served"),
        (OURS, ("--deadline", "10m"), "flex capacity served"),
    ],
)
def test_a_program(
    program: str, options: tuple[str, ...], printed: str, shared: Served, sim: Simulator
) -> None:
    """The SDK's clients by the base URL, flextier's as clients of the gateway: with reports."""
    sim.script(Fault.refuse())
    environment = {"OPENAI_BASE_URL": sim.base_url, "OPENAI_API_KEY": "k"}
    if options[:1] == ("--gateway",):
        options = (*options, shared.url)
    else:
        environment["FLEXTIER_GATEWAY"] = shared.url
    done = executed(*options, "--", sys.executable, "-c", program + ASK, **environment)
    assert (done.stdout.strip(), done.stderr) == (printed, "")
    assert {one.headers["authorization"] for one in sim.requests} == {f"Bearer {KEY}"}


def test_a_budget_is_the_gateways(shared: Served) -> None:
    """Which is said before anything runs."""
    done = executed("--budget", "5", "--", "true", FLEXTIER_GATEWAY=shared.url)
    assert done.returncode == 2
    assert "FLEXTIER_GATEWAY" in done.stderr
