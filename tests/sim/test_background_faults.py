"""Faults of background responses: creating, looking, cancelling, deleting, polling too much."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from flextier.sim import BackgroundWeather, Fault, Simulator, Weather

from .background import MODEL, Backgrounds, account, weather
from .batches import Clock
from .callers import LOST, SOON

ID = "/responses/{id}"


@pytest.fixture
def backgrounds(sim: Simulator) -> Iterator[Backgrounds]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


def test_faults_wait_for_their_path(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Faults can select retrieving, deleting or cancelling by path and method."""
    response = backgrounds.create()
    sim.script(
        Fault.status(503).on(path=ID, method="DELETE"),
        Fault.status(500).on(path=ID),
        Fault.status(502).on(path=f"{ID}/cancel"),
    )
    for call in (backgrounds.look, backgrounds.cancel, backgrounds.delete):
        with pytest.raises(openai.InternalServerError):
            call(response)
    assert backgrounds.look(response).status == "completed"
    assert sim.stats()["possibly_billed"] == 0


def test_faults_wait_for_their_lane(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Every window is a lane of its own; standard is none of them."""
    sim.script(
        Fault.status(500).on(lane="background-8h"),
        Fault.status(503).on(lane="standard"),
    )
    backgrounds.create("2h")
    backgrounds.create()
    with pytest.raises(openai.InternalServerError):
        backgrounds.create("8h")
    with pytest.raises(openai.InternalServerError):
        backgrounds.create(background=False)
    assert sim.stats()["background"]["created"] == 2
    assert [(r.lane, r.window, r.outcome) for r in sim.requests] == [
        ("background-2h", "2h", "queued"),
        ("background-soonest", "soonest", "queued"),
        ("background-8h", "8h", "error"),
        ("standard", "", "error"),
    ]


def test_a_response_whose_creation_was_lost_goes_on(sim: Simulator) -> None:
    """Reset after effect: its id is lost, it is billed, and a retry pays twice."""
    sim.script(Fault.reset(after_effect=True).on(path="/responses"))
    with account(sim, max_retries=1) as backgrounds:
        backgrounds.create("8h")
    assert sim.stats()["background"]["created"] == 2
    assert [entry["lanes"] for entry in sim.paid()["twice"]] == [{"background-8h": 2}]
    assert [request.outcome for request in sim.requests] == ["lost", "queued"]
    assert sim.stats()["possibly_billed"] == 0


def test_a_reset_before_any_effect_creates_nothing(
    sim: Simulator, backgrounds: Backgrounds
) -> None:
    """A plain reset, and an error, leave nothing."""
    sim.script(Fault.reset(), Fault.rate_limit(retry_after=1))
    with pytest.raises(openai.APIConnectionError):
        backgrounds.create()
    with pytest.raises(openai.RateLimitError):
        backgrounds.create()
    assert sim.stats()["background"]["created"] == 0


def test_other_faults_of_creating(sim: Simulator) -> None:
    """Cut and unreadable answers have had their effect, stalls that the client leaves have not."""
    sim.script(Fault.cut(), Fault.not_json(), Fault.trickle(0.01), Fault.stall())
    with account(sim, timeout=SOON) as backgrounds:
        with pytest.raises(LOST):
            backgrounds.create()
        # The SDK gives the page back as text.
        assert not hasattr(backgrounds.create(), "status")
        assert backgrounds.create().status == "queued"
        with pytest.raises(openai.APITimeoutError):
            backgrounds.create()
    assert sim.stats()["background"]["created"] == 3


def test_scripted_answers(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Text, usage and tier of the answer, as in a direct call."""
    usage = {"input_tokens": 5, "output_tokens": 7}
    sim.script(Fault.serve(text="On the mat.", usage=usage, tier="default", delay=0.01))
    done = backgrounds.look(backgrounds.create("2h"))
    assert (done.output_text, done.usage.total_tokens) == ("On the mat.", 12)
    billed = sim.stats()["billed"][MODEL]["background-2h"]
    assert (billed["input_tokens"], billed["output_tokens"]) == (5, 7)


def test_a_cancellation_whose_answer_was_lost(sim: Simulator, backgrounds: Backgrounds) -> None:
    """It is cancelled all the same, and asking again is no harm."""
    sim.weather = weather()
    response = backgrounds.create()
    sim.script(Fault.reset(after_effect=True).on(path=f"{ID}/cancel"))
    with pytest.raises(openai.APIConnectionError):
        backgrounds.cancel(response)
    assert backgrounds.look(response).status == "cancelled"
    assert backgrounds.cancel(response).status == "cancelled"


def test_looks_are_limited() -> None:
    """Requests beyond ``poll_rpm`` are 429 with Retry-After; creations do not count."""
    clock = Clock()
    limits = Weather(background=BackgroundWeather(poll_rpm=3))
    with Simulator(limits, clock=clock) as sim, account(sim) as backgrounds:
        response = backgrounds.create()
        for _ in range(3):
            backgrounds.look(response)
            clock.now += 1
        with pytest.raises(openai.RateLimitError) as caught:
            backgrounds.look(response)
        assert caught.value.response.headers["retry-after"] == "58"
        backgrounds.create()
        with pytest.raises(openai.BadRequestError):
            backgrounds.cancel(response)
        with account(sim, "other") as others:
            others.look(response)
        clock.now += 58
        backgrounds.look(response)


def test_calls_fail_at_random(sim: Simulator, backgrounds: Backgrounds) -> None:
    """``api_errors`` is for looking, cancelling and deleting; not for creating, nor for batches."""
    sim.weather = Weather(background=BackgroundWeather(api_errors=1))
    response = backgrounds.create()
    for call in (backgrounds.look, backgrounds.cancel, backgrounds.delete):
        with pytest.raises(openai.InternalServerError):
            call(response)
    assert backgrounds.client.batches.list().data == []


def test_requests_for_answers_are_limited(sim: Simulator, backgrounds: Backgrounds) -> None:
    """``rpm`` counts background requests, too."""
    sim.weather = Weather(rpm=2)
    backgrounds.create("8h")
    backgrounds.create(background=False)
    with pytest.raises(openai.RateLimitError):
        backgrounds.create("8h")
