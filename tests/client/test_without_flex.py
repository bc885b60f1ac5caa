"""Models whose flex the API refuses: asked once, a warning, and the reason in the report."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flextier import FlexOpenAI, FlexPolicy, track
from flextier.capacity import CAPACITY
from flextier.planning.without_flex import warn_without_flex
from flextier.sim import Fault, Simulator
from tests.client.callers import FAST, KEY, Caller


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Nothing has been warned about or refused before."""
    warn_without_flex.cache_clear()
    yield
    CAPACITY.reset()


@pytest.mark.filterwarnings("ignore:gpt-4.1 has no flex")
def test_flex_is_asked_once_and_the_report_says_why(sim: Simulator, caller: Caller) -> None:
    """Both of the call that was refused, and of the next, which is sent to standard at once."""
    first, second = (caller(sim.base_url, model="gpt-4.1") for _ in range(2))
    assert first.outcomes == ["lane_unsupported", "served"]
    assert second.outcomes == ["served"]
    for outcome in (first, second):
        report = outcome.report
        assert (report.lane, report.fallback) == ("standard", "lane_unsupported")
        assert report.why == "not flex: the API does not offer it for gpt-4.1"


BATCH = r"""set policy=\{"lanes": \('batch', 'standard'\)\}, or FLEXTIER_LANES=auto"""


@pytest.mark.parametrize(
    ("model", "policy", "words"),
    [
        ("gpt-4.1", FAST, rf"gpt-4\.1 has no flex: .* It has batch \(50 % less\): {BATCH}"),
        (
            "gpt-6.2-sol",
            FAST,
            r"It has batch \(50 % less\) and completion windows \(30 or 40 % less\): "
            r"""set policy=\{"lanes": \('batch', 'background', 'standard'\)\}, or""",
        ),
        ("gpt-5.3-codex", FAST, r"at full price\.$"),
        ("my-model", FAST.replace(lane_support={"my-*": ("batch",)}), BATCH),
    ],
)
def test_one_warning_a_model_names_what_it_has(
    sim: Simulator, model: str, policy: FlexPolicy, words: str
) -> None:
    """It comes with the first call that pays full price."""
    if model == "my-model":
        sim.script(Fault.unsupported())
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=policy) as client:
        with pytest.warns(UserWarning, match=words):
            client.responses.create(model=model, input="Name a colour.")
        client.responses.create(model=model, input="Name a colour.")  # a warning would be an error


@pytest.mark.parametrize("lanes", [("flex",), ("flex", "batch"), ("batch", "flex"), "auto"])
def test_no_warning_where_standard_is_not_next(lanes: str | tuple[str, ...]) -> None:
    """The error, or the report, says it there. A warning would be an error in this test."""
    names = (lanes,) if isinstance(lanes, str) else lanes
    warn_without_flex("gpt-4.1", names, ())


@pytest.mark.filterwarnings("ignore:gpt-4o has no flex")
def test_plans_of_models_without_flex_are_kept(sim: Simulator) -> None:
    """The reason is one of the model, so that later calls need no plan of their own."""
    with FlexOpenAI(base_url=sim.base_url, api_key=KEY, policy=FAST) as client, track() as calls:
        for _ in range(3):
            client.responses.create(model="gpt-4o", input="Name a colour.")
        assert len(client._router.plans.plans) == 1
    assert len({report.why for report in calls}) == 1
