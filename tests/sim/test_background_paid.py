"""What background responses cost: once, by window, and nothing to hold thousands of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flextier.sim import BackgroundOutcome, BackgroundWeather, Simulator
from flextier.sim.base.api_errors import Rejected
from flextier.sim.base.clock import ProviderClock
from flextier.sim.base.paid_lines import digest
from flextier.sim.base.request_log import RequestLog
from flextier.sim.base.tokens import PromptCache
from flextier.sim.behavior.faults import Serve
from flextier.sim.protocol import responses
from flextier.sim.stores.background_request import BackgroundOptions
from flextier.sim.stores.background_responses import ResponseStore

from .background import MODEL, QUESTION, RESPONSES, Backgrounds, account, weather
from .batches import Clock

ASK = responses.read({"model": MODEL, "input": QUESTION, "background": True})


@pytest.fixture
def backgrounds(sim: Simulator) -> Iterator[Backgrounds]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


@pytest.mark.parametrize("window", ["soonest", "2h", "8h"])
def test_every_window_is_billed_once(sim: Simulator, backgrounds: Backgrounds, window: str) -> None:
    """It is billed when it completes, once, however often it is retrieved, under its own tier."""
    response = backgrounds.create(window)
    lane = f"background-{window}"
    for _ in range(2):
        assert sim.stats()["billed"][MODEL][lane]["requests"] == 1
        usage = backgrounds.look(response).usage
    billed = sim.stats()["billed"]
    assert list(billed[MODEL]) == [lane]
    assert billed[MODEL][lane]["input_tokens"] == usage.input_tokens
    assert billed[MODEL][lane]["output_tokens"] == usage.output_tokens
    assert sim.paid()["payments"] == 1


def test_completion_needs_no_request() -> None:
    """Statistics and the account of paid lines know what has completed by now."""
    clock = Clock()
    with Simulator(weather(), clock=clock, record_paid=True) as sim, account(sim) as backgrounds:
        backgrounds.create("8h")
        assert (sim.stats()["billed"], sim.paid()["payments"]) == ({}, 0)
        clock.now += 110
        assert sim.paid()["payments"] == 1
        assert sim.stats()["served"] == {"background-8h": 1}


def test_what_failed_or_was_cancelled_costs_nothing(
    sim: Simulator, backgrounds: Backgrounds
) -> None:
    """Half written ones cost what was written."""
    sim.script_background(
        BackgroundOutcome.fail(), BackgroundOutcome.cancel(), BackgroundOutcome.incomplete()
    )
    *_, cut = [backgrounds.look(backgrounds.create()) for _ in range(3)]
    assert [entry["requests"] for entry in sim.stats()["billed"][MODEL].values()] == [1]
    billed = sim.stats()["billed"][MODEL]["background-soonest"]
    assert billed["output_tokens"] == cut.usage.output_tokens


def test_a_line_is_the_same_in_the_background(sim: Simulator, backgrounds: Backgrounds) -> None:
    """Neither the window nor storing is the work: paid twice is found across lanes."""
    backgrounds.create("2h", "run-1", store=False)
    backgrounds.create("8h")
    backgrounds.create(background=False)
    known = digest(RESPONSES, {"model": MODEL, "input": QUESTION})
    lanes = {"background-2h": 1, "background-8h": 1, "standard": 1}
    assert sim.paid()["twice"] == [{"digest": known, "times": 3, "lanes": lanes}]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["create", "wait", "cancel", "delete"]), st.integers(0, 20)),
        max_size=60,
    ),
    stored=st.booleans(),
    script=st.lists(
        st.sampled_from(
            [
                BackgroundOutcome.fail(after=3),
                BackgroundOutcome.stay("queued"),
                BackgroundOutcome.delete(after=4),
                BackgroundOutcome.outrun(),
                BackgroundOutcome.incomplete(),
            ]
        ),
        max_size=6,
    ),
)
def test_every_end_is_billed_once(
    steps: list[tuple[str, int]], stored: bool, script: list[BackgroundOutcome]
) -> None:
    """Whatever is cancelled, deleted and waited for: as many payments as answers written."""
    clock, accounts = Clock(), RequestLog()
    store = ResponseStore(accounts, PromptCache(), ProviderClock(clock, 1.0), 0)
    store.script(*script)
    order = BackgroundOptions("2h", "background-2h", stored)
    times = BackgroundWeather(queued=(0, 5), seconds=(0, 9), cancelling=(0, 6), keep=4)
    names: list[str] = []
    for step, number in steps:
        if step == "create":
            names.append(store.create(ASK, order, times, Serve()).id)
        elif step == "wait":
            clock.now += number
        elif names:
            call = store.cancel if step == "cancel" else store.delete
            with suppress(Rejected):
                call(names[number % len(names)])
    clock.now += 100
    stats = store.stats()
    statuses = stats["statuses"]
    assert sum(statuses.values()) == stats["created"] == len(names)
    written = statuses.get("completed", 0) + statuses.get("incomplete", 0)
    assert sum(accounts.stats()["served"].values()) == written
    assert stats["pending"] == statuses.get("queued", 0)


def test_thousands_of_them() -> None:
    """5,000 pending and polled: no task each, and each is served once."""
    clock, accounts = Clock(), RequestLog()
    store = ResponseStore(accounts, PromptCache(), ProviderClock(clock, 1.0), 0)
    order = BackgroundOptions("8h", "background-8h", True, "run")
    times = BackgroundWeather(queued=(0, 1000), seconds=(0, 1000))
    names = [store.create(ASK, order, times, Serve()).id for _ in range(5000)]
    for _ in range(4):
        clock.now += 300
        for name in names:
            store.describe(name)
    clock.now += 2000
    assert store.stats()["statuses"] == {"completed": 5000}
    assert accounts.stats()["served"] == {"background-8h": 5000}
