"""Service tiers: what is asked for, what is served, and what weather does to it."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from flextier.sim import Fault, Simulator, Weather

from .callers import SOON, Caller, Chat, Responses, eventually, raw, stalled


@pytest.mark.parametrize(
    ("asked", "lane", "served"),
    [
        (None, "standard", "default"),
        ("auto", "standard", "default"),
        ("default", "standard", "default"),
        ("flex", "flex", "flex"),
        ("priority", "priority", "priority"),
        ("fast", "priority", "priority"),
    ],
)
def test_tier_asked_and_tier_served(
    sim: Simulator, caller: Caller, asked: str | None, lane: str, served: str
) -> None:
    """The answer reports the tier that served it, in the vendor's words."""
    answer = caller.plain(**({} if asked is None else {"service_tier": asked}))
    assert answer.service_tier == served
    (seen,) = sim.requests
    assert (seen.tier, seen.lane, seen.served_tier) == (asked, lane, served)


@pytest.mark.parametrize("tier", ["turbo", "standard", 3, ["flex"]])
def test_unknown_tier_is_rejected(sim: Simulator, caller: Caller, tier: Any) -> None:
    """A tier the API does not know is a 400 that names the field."""
    with pytest.raises(openai.BadRequestError, match="service_tier") as caught:
        caller.plain(service_tier=tier)
    assert caught.value.param == "service_tier"
    assert sim.requests[0].outcome == "rejected"


@pytest.mark.parametrize("model", ["gpt-6.2-sol", "gpt-4.1"])
def test_model_without_flex(caller: Caller, model: str) -> None:
    """A model that is never sold on flex answers 400 there, and serves on standard."""
    with pytest.raises(openai.BadRequestError, match="Unsupported service_tier: flex"):
        caller.plain(model=model, service_tier="flex")
    assert caller.plain(model=model, service_tier="default").service_tier == "default"


def test_weather_can_change_while_it_serves(sim: Simulator, caller: Caller) -> None:
    """New weather holds from the next request on."""
    sim.weather = Weather(refuse=1.0, retry_after=2)
    with pytest.raises(openai.RateLimitError) as caught:
        caller.plain(service_tier="flex")
    assert caught.value.response.headers["retry-after"] == "2"
    assert caller.plain(service_tier="default").service_tier == "default"
    sim.weather = Weather()
    assert caller.plain(service_tier="flex").service_tier == "flex"


def test_unverified_organisation(sim: Simulator, caller: Caller) -> None:
    """Streams of an unverified model are refused, plain calls are not."""
    sim.weather = Weather(unverified_models=("o3",))
    with pytest.raises(openai.BadRequestError, match="must be verified to stream"):
        caller.stream()
    assert caller.plain().model == "o3"


def test_unverified_organisation_gets_no_summaries(sim: Simulator) -> None:
    """Reasoning summaries of an unverified model are refused."""
    sim.weather = Weather(unverified_models=("o3",))
    with pytest.raises(openai.BadRequestError) as caught:
        Responses(sim.base_url).plain(reasoning={"summary": "auto"})
    assert caught.value.param == "reasoning.summary"


def test_outages_follow_the_simulators_clock() -> None:
    """An outage begins and ends by the clock, which starts with the weather."""
    now = 1000.0
    with Simulator(Weather(outages=((10, 40),)), clock=lambda: now) as sim:
        chat = Chat(sim.base_url)
        assert chat.plain(service_tier="flex").service_tier == "flex"
        now = 1010.0
        with pytest.raises(openai.RateLimitError):
            chat.plain(service_tier="flex")
        sim.reset()
        assert chat.plain(service_tier="flex").service_tier == "flex"
        now = 1050.0
        assert chat.plain(service_tier="flex").service_tier == "flex"


def test_slots_are_held_while_a_request_is_served(sim: Simulator, caller: Caller) -> None:
    """While a request holds the only slot the next flex request is refused; then it is free."""
    sim.weather = Weather(slots=1)
    chat = Chat(sim.base_url)
    with stalled(sim, caller, service_tier="flex"):
        with pytest.raises(openai.RateLimitError):
            chat.plain(service_tier="flex")
        assert chat.plain().service_tier == "default"
    for _ in range(2):
        assert chat.plain(service_tier="flex").service_tier == "flex"


def test_latency_is_the_lanes(sim: Simulator) -> None:
    """The weather's latency is waited for on its lane, times the slowness of flex."""
    sim.weather = Weather(standard_latency=0.0, flex_latency=0.02, slow=3)
    Chat(sim.base_url).plain(service_tier="flex")
    Chat(sim.base_url).plain()
    flex, standard = sim.requests
    assert flex.seconds > 0.05 > standard.seconds


def test_simulators_own_latency() -> None:
    """Where the weather does not say, the simulator's latency holds, streams included."""
    with Simulator(latency=0.02, flex_latency=0.03) as sim:
        Chat(sim.base_url).stream()
        Chat(sim.base_url).plain(service_tier="flex")
        standard, flex = sim.requests
    assert standard.seconds > 0.015
    assert flex.seconds > 0.025


def test_slow_windows_follow_the_simulators_clock() -> None:
    """In a slow window, the latency of flex is multiplied."""
    now = 0.0
    weather = Weather(flex_latency=0.01, slow_windows=((10, 20, 6),))
    with Simulator(weather, clock=lambda: now) as sim:
        Chat(sim.base_url).plain(service_tier="flex")
        now = 10.0
        Chat(sim.base_url).plain(service_tier="flex")
        quick, slow = sim.requests
    assert slow.seconds > 0.055 > quick.seconds


def test_refusals_may_take_a_while(sim: Simulator) -> None:
    """The weather's refusals and rate limits do, and nothing else."""
    sim.weather = Weather(slots=0, rpm=2, refusal_latency=0.03)
    for tier, status in (("flex", 429), ("default", 200), ("default", 429)):
        body = Chat(sim.base_url).body({"service_tier": tier})
        assert raw(sim.url, "POST", Chat.path, body).status == status
    refused, served, limited = sim.requests
    assert min(refused.seconds, limited.seconds) > 0.025 > served.seconds


def test_rate_limits_count_every_request_of_an_account_and_model() -> None:
    """Refused, scripted and limited ones count; another account or model has a limit of its own."""
    now = 0.0

    def status(tier: str = "default", key: str = "k", model: str = "o3") -> int:
        body = {**Chat(sim.base_url).body({"service_tier": tier}), "model": model}
        return raw(sim.url, "POST", Chat.path, body, authorization=f"Bearer {key}").status

    with Simulator(Weather(slots=0, rpm=3), clock=lambda: now) as sim:
        sim.script(Fault.status(500))
        assert [status(), status("flex"), status()] == [500, 429, 200]
        assert [status(), status(key="other"), status(model="o4-mini")] == [429, 200, 200]
        outcomes = [request.outcome for request in sim.requests]
        assert outcomes == ["error", "refused", "served", "rate_limited", "served", "served"]
        now = 59.9
        assert status() == 429
        now = 60.0
        assert status() == 200
        sim.weather = Weather(rpm=1)  # new weather resets the counts
        assert [status(), status()] == [200, 429]


def test_a_bucket_follows_the_rate_of_flex_requests() -> None:
    """Two are admitted at once, and one more each second; refused and standard ones use nothing."""
    now = 0.0

    def status(tier: str = "flex") -> int:
        body = Chat(sim.base_url).body({"service_tier": tier})
        return raw(sim.url, "POST", Chat.path, body).status

    with Simulator(Weather(bucket=(1, 2)), clock=lambda: now) as sim:
        assert [status("default"), status(), status(), status()] == [200, 200, 200, 429]
        now = 0.9
        assert status() == 429
        now = 1.0
        assert [status(), status()] == [200, 429]


def test_models_with_weather_of_their_own_have_slots_of_their_own(sim: Simulator) -> None:
    """While one model's only slot is taken, another model still has its own."""
    sim.weather = Weather(slots=1, models=(("o4*", Weather(slots=1)),))
    chat = Chat(sim.base_url)
    with stalled(sim, chat, service_tier="flex"):
        with pytest.raises(openai.RateLimitError):
            chat.plain(service_tier="flex")
        assert chat.plain(service_tier="flex", model="o4-mini").service_tier == "flex"


def test_client_that_leaves_during_the_latency_is_possibly_billed() -> None:
    """A request whose client gave up before the answer counts as abandoned."""
    with Simulator(latency=30) as sim:
        with pytest.raises(openai.APITimeoutError):
            Chat(sim.base_url).plain(timeout=SOON)
        assert eventually(lambda: sim.in_flight == 0)
        assert sim.requests[0].outcome == "abandoned"
        assert sim.stats()["possibly_billed"] == 1


def test_same_seed_same_refusals() -> None:
    """Two simulators with one seed refuse the same requests."""

    def refused(seed: int) -> list[str]:
        with Simulator(Weather(refuse=0.5), seed=seed) as sim:
            body = Chat(sim.base_url).body({"service_tier": "flex"})
            for _ in range(20):
                raw(sim.url, "POST", Chat.path, body)
            return [request.outcome for request in sim.requests]

    assert refused(1) == refused(1) != refused(2)
