"""The books: what reached the wire, what came of it, what was billed."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import suppress

import openai
from hypothesis import given
from hypothesis import strategies as st

from flextier.sim import Fault, SeenRequest, Simulator, Tokens
from flextier.sim.base.request_log import POSSIBLY_BILLED, RequestLog

from .callers import Caller, Chat, Responses, eventually, raw


def test_every_request_is_seen_in_order(sim: Simulator, caller: Caller) -> None:
    """A request is kept with what it asked for and what came of it."""
    caller.plain(service_tier="flex")
    caller.stream(model="gpt-4o")
    first, second = sim.requests
    assert (first.method, first.path, first.status) == ("POST", caller.path, 200)
    assert (first.model, first.tier, first.stream) == ("o3", "flex", False)
    assert (second.model, second.tier, second.stream) == ("gpt-4o", None, True)
    assert first.body is not None
    assert first.body["service_tier"] == "flex"
    assert first.headers["authorization"] == "Bearer k"
    assert first.started <= second.started
    assert first.seconds is not None
    assert first.outcome == second.outcome == "served"


def test_secrets_stay_out_of_the_repr(sim: Simulator) -> None:
    """A request printed by a failing test shows neither the key nor the prompt."""
    Chat(sim.base_url).plain(question="Private.")
    assert "Bearer" not in repr(sim.requests)
    assert "Private" not in repr(sim.requests)


def test_stats_add_up(sim: Simulator) -> None:
    """Counters by outcome, path and model each add up to all requests; tokens to the answers'."""
    chat, responses = Chat(sim.base_url), Responses(sim.base_url)
    sim.script(Fault.serve(), Fault.refuse(), Fault.serve(tier="default"), Fault.cut())
    first = chat.plain(service_tier="flex")
    for caller in (chat, responses, responses):
        with suppress(openai.APIError):
            caller.plain(service_tier="flex", question="Other words, " + "more " * 50)
    last = responses.plain(model="gpt-4o")
    stats = sim.stats()
    assert stats["requests"] == 5
    assert stats["outcomes"] == {
        "flex": {"served": 2, "refused": 1, "cut": 1},
        "standard": {"served": 1},
    }
    assert stats["paths"] == {"/v1/chat/completions": 2, "/v1/responses": 3}
    assert stats["models"] == {"o3": 4, "gpt-4o": 1}
    assert stats["served"] == {"flex": 1, "default": 2}
    assert (stats["refusals"], stats["possibly_billed"]) == (1, 1)
    assert stats["billed"]["o3"]["flex"] == {
        "requests": 1,
        "input_tokens": first.usage.prompt_tokens,
        "cached_input_tokens": 0,
        "cache_write_tokens": 0,
        "output_tokens": first.usage.completion_tokens,
        "reasoning_tokens": first.usage.completion_tokens_details.reasoning_tokens,
    }
    assert stats["billed"]["gpt-4o"]["default"]["output_tokens"] == last.usage.output_tokens
    assert stats["simulated"] is True


def test_stats_over_http_are_the_same(sim: Simulator) -> None:
    """GET /stats needs no key, is not counted, and shows what stats() shows."""
    Chat(sim.base_url).plain()
    over_http = raw(sim.url, "GET", "/stats", authorization="").json()
    here = sim.stats()
    changing = {"uptime", "connections"}
    assert {k: v for k, v in over_http.items() if k not in changing} == {
        k: v for k, v in here.items() if k not in changing
    }
    assert over_http.keys() == here.keys()
    assert len(sim.requests) == 1


def test_reset_forgets(sim: Simulator) -> None:
    """After a reset nothing is seen, counted, scripted or cached."""
    chat = Chat(sim.base_url)
    long = "four" * 2000
    chat.plain(question=long)
    sim.script(Fault.refuse())
    sim.reset()
    assert (sim.requests, sim.in_flight, sim.stats()["requests"]) == ([], 0, 0)
    assert chat.plain(question=long).usage.prompt_tokens_details.cached_tokens == 0


def test_reset_leaves_requests_in_flight_to_the_old_books(sim: Simulator) -> None:
    """A request that was in flight at a reset is answered and not counted in the new books."""
    sim.script(Fault.stall(seconds=1))
    thread = threading.Thread(target=Chat(sim.base_url).plain)
    thread.start()
    assert eventually(lambda: sim.in_flight == 1)
    sim.reset()
    thread.join()
    assert (sim.in_flight, sim.stats()["requests"], sim.stats()["billed"]) == (0, 0, {})


def test_few_requests_are_kept_and_all_are_counted() -> None:
    """The list of requests is bounded, the counters are not."""
    with Simulator(keep_requests=2, record_bodies=False) as sim:
        for model in ("o1", "o3", "o4-mini"):
            Chat(sim.base_url).plain(model=model)
        assert [request.model for request in sim.requests] == ["o3", "o4-mini"]
        assert sim.requests[0].body is None
        assert sim.stats()["requests"] == 3


def test_concurrent_requests_are_each_counted_once(sim: Simulator) -> None:
    """Whatever the concurrency, requests served and tokens billed are exact."""
    body = Chat(sim.base_url).body({"service_tier": "flex"})

    def work() -> None:
        for _ in range(20):
            raw(sim.url, "POST", Chat.path, body)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stats = sim.stats()
    assert stats["outcomes"] == {"flex": {"served": 160}}
    assert stats["billed"]["o3"]["flex"]["requests"] == 160
    assert (stats["in_flight"], len(sim.requests)) == (0, 160)


outcomes = st.sampled_from(["served", "refused", "error", *sorted(POSSIBLY_BILLED)])
settled = st.lists(st.tuples(st.sampled_from(["flex", "standard"]), outcomes), max_size=30)


@given(settled=settled, in_flight=st.integers(0, 5))
def test_totals_equal_their_parts(settled: list[tuple[str, str]], in_flight: int) -> None:
    """Requests are those settled and those in flight; each is in one outcome."""
    accounts = RequestLog()
    for lane, outcome in settled:
        request = SeenRequest("POST", "/", lane=lane)
        accounts.arrive(request)
        accounts.settle(request, outcome, "/")
    for _ in range(in_flight):
        accounts.arrive(SeenRequest("POST", "/"))
    stats = accounts.stats()
    counted = Counter({key: n for table in stats["outcomes"].values() for key, n in table.items()})
    assert stats["requests"] == len(settled) + in_flight == len(accounts.requests())
    assert sum(n for table in stats["outcomes"].values() for n in table.values()) == len(settled)
    assert set(counted) == {outcome for _, outcome in settled}
    possibly = sum(outcome in POSSIBLY_BILLED for _, outcome in settled)
    assert stats["possibly_billed"] == possibly


amounts = st.integers(0, 1000)
tokens = st.builds(
    lambda fresh, cached, said, thought: Tokens(fresh + cached, said + thought, cached, 0, thought),
    amounts,
    amounts,
    amounts,
    amounts,
)


@given(bills=st.lists(st.tuples(st.sampled_from(["o1", "o3"]), tokens), max_size=20))
def test_billed_tokens_are_the_sums_of_the_answers(bills: list[tuple[str, Tokens]]) -> None:
    """What is billed over all models is what all answers used."""
    accounts = RequestLog()
    for model, used in bills:
        accounts.bill(model, "flex", used)
    lines = [line for table in accounts.stats()["billed"].values() for line in table.values()]
    for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"):
        assert sum(line[name] for line in lines) == sum(getattr(used, name) for _, used in bills)
