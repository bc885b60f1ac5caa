"""Which calls go through a gateway, what goes along, and what happens without one."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from decimal import Decimal
from typing import Any

import openai
import pytest

from flextier import (
    AsyncFlexOpenAI,
    FlexOpenAI,
    FlexPolicy,
    PolicyError,
    budget,
    continuation,
    override,
    report_of,
    track,
)
from flextier.costs import Ledger, record_calls
from flextier.errors import BudgetExceeded, GatewayUnavailable
from flextier.serve.tokens import Token
from flextier.sim import Simulator
from tests.client.callers import FAST, Caller
from tests.gateway.conftest import Seen
from tests.serve.conftest import Served, gateway

KEY = "sk-of-the-provider-0123456789"
ASK: Any = {"model": "gpt-5-mini", "input": "Why is it blue?"}


def client(sim: Simulator, **arguments: Any) -> FlexOpenAI:
    """A client of the provider."""
    return FlexOpenAI(**{"base_url": sim.base_url, "api_key": KEY, **arguments})


def nowhere() -> str:
    """A URL where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_switched_off(
    shared: Served, sim: Simulator, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``FLEXTIER_OFF`` makes calls go as those of the stock classes: directly."""
    monkeypatch.setenv("FLEXTIER_GATEWAY", shared.url)
    monkeypatch.setenv("FLEXTIER_OFF", "1")
    with client(sim) as switched_off, track() as calls:
        switched_off.responses.create(**ASK)
    assert (list(seen), calls[0].lane) == ([], "standard")
    assert sim.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_the_gateway_is_asked_once(
    shared: Served, sim: Simulator, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all threads and tasks of a process, also those that begin at once."""
    monkeypatch.setenv("FLEXTIER_GATEWAY", f"{shared.url}/v1/")

    async def run() -> None:
        async with AsyncFlexOpenAI(base_url=sim.base_url, api_key=KEY) as asynchronous:
            await asyncio.gather(*(asynchronous.responses.create(**ASK) for _ in range(8)))

    with client(sim) as synchronous:
        threads = [
            threading.Thread(target=lambda: synchronous.responses.create(**ASK)),
            threading.Thread(target=lambda: asyncio.run(run())),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        synchronous.chat.completions.create(model="o3", messages=[{"role": "user", "content": "?"}])
    lines = [line for line, _ in seen]
    assert lines.count("GET /flextier/upstreams") == 1
    assert len(seen.calls) == 10
    assert {request.headers["authorization"] for request in sim.requests} != {f"Bearer {KEY}"}


def test_other_base_urls_go_there_directly(
    shared: Served, sim: Simulator, own_sim: Simulator, seen: Seen
) -> None:
    """Which is warned about once; a base URL may differ in its end and its case."""
    with client(own_sim, policy={"gateway": shared.url}) as other:
        with pytest.warns(UserWarning, match=f"does not serve {own_sim.base_url}: calls to it go"):
            other.responses.create(**ASK)
        other.responses.create(**ASK)
    assert len(own_sim.requests) == 2
    assert not seen.calls
    same = sim.base_url.replace("http://127", "HTTP://127") + "/"
    with client(sim, base_url=same, policy={"gateway": shared.url}) as served:
        served.responses.create(**ASK)
    with client(sim, base_url=f"{shared.url}/v1", policy={"gateway": shared.url}) as served:
        served.responses.create(**ASK)
    assert len(seen.calls) == 2


def test_no_key_is_sent(shared: Served, sim: Simulator, seen: Seen) -> None:
    """In no header, in no query, also where the program put it there itself."""
    headers = {
        "X-Proxy": f"Bearer {KEY}",
        "Helicone-Auth": "another-secret",
        "X-Session-Token": "another-secret",
        "X-Trace": "17",
    }
    as_bytes: Any = {"X-Bytes": b"18"}
    with client(
        sim,
        policy={"gateway": shared.url},
        default_headers=headers | as_bytes,
        default_query={"api-key": "another-secret", "k": KEY, "v": "1"},
        organization="org-of-mine",
        project="proj-of-mine",
    ) as asked:
        asked.responses.create(
            **ASK, extra_headers={"Authorization": "another-secret", "Idempotency-Key": "once"}
        )
    [(line, sent)] = seen.calls
    for secret in (KEY, "another-secret", "org-of-mine", "proj-of-mine"):
        assert secret not in seen.text
    assert line == "POST /v1/responses?v=1"
    assert (sent["x-trace"], sent["x-bytes"], sent["idempotency-key"]) == ("17", "18", "once")
    assert sim.requests[-1].headers["x-trace"] == "17"


@pytest.mark.parametrize(
    ("body", "headers", "error"),
    [
        ({"input": "\ud800"}, {}, UnicodeEncodeError),
        ({"temperature": float("nan")}, {}, ValueError),
        ({}, {"x-trace": "é"}, UnicodeEncodeError),
        ({}, {"x-trace": 17}, TypeError),
        ({}, {"x-trace": "1\n2"}, openai.APIConnectionError),
    ],
    ids=["surrogate", "nan", "header", "number", "line break"],
)
def test_what_cannot_be_sent(
    body: Any, headers: Any, error: type[Exception], shared: Served, sim: Simulator
) -> None:
    """It is raised at once, as without a gateway."""
    with client(sim, policy={"gateway": shared.url}) as asked, pytest.raises(error) as raised:
        asked.responses.create(**{**ASK, **body}, extra_headers=headers)
    assert not isinstance(raised.value, GatewayUnavailable)
    assert not sim.requests


def test_what_goes_along(sim: Simulator, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fields that the program sets, tags, the run, the token; and extra fields of the body."""
    monkeypatch.setenv("FLEXTIER_GATEWAY_TOKEN", "t" * 16)
    monkeypatch.setenv("FLEXTIER_STALL_FACTOR", "4")
    with (
        gateway(sim, tokens=(Token("web", "t" * 16),), policy={"patience": None}) as served,
        client(sim, policy={"gateway": served.url, "deadline": "2h"}, timeout=50) as asked,
        record_calls(tags=["night", "café"]),
        continuation("run-ü"),
        override(lanes="flex"),
        track() as calls,
    ):
        asked.responses.create(**ASK, extra_body={"seed": 7})
        monkeypatch.setenv("FLEXTIER_GATEWAY_TOKEN", "wrong")
        with pytest.raises(GatewayUnavailable, match="set FLEXTIER_GATEWAY_TOKEN"):
            asked.responses.create(**ASK)
    [(_, sent)] = seen.calls
    assert json.loads(sent["x-flextier-policy"]) == {
        "deadline": 7200.0,
        "flex_timeout": 50.0,
        "lanes": ["flex"],
        "stall_factor": 4.0,
        "standard_timeout": 50.0,
    }
    assert json.loads(sent["x-flextier-tags"]) == ["night", "café"]
    assert json.loads(sent["x-flextier-continuation"]) == "run-ü"
    assert sim.requests[0].body["seed"] == 7
    assert calls[0].limits == (
        "deadline 7200 s (in code), patience to the deadline, flex_timeout 50 s (timeout), "
        "standard_timeout 50 s (timeout)"
    )


@pytest.mark.parametrize("field", ["journal", "budget"])
def test_what_the_gateway_has_itself(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both knobs are named."""
    value = {"journal": "calls.db", "budget": "5"}[field]
    for set_there in (False, True):
        if set_there:
            monkeypatch.setenv("FLEXTIER_GATEWAY", "http://localhost:8484")
        fields = {field: value} | ({} if set_there else {"gateway": "http://localhost:8484"})
        with pytest.raises(PolicyError, match=f"FLEXTIER_GATEWAY.*FLEXTIER_{field.upper()}"):
            FlexPolicy(**fields)  # type: ignore[arg-type]  # of different types
    with pytest.raises(PolicyError, match="http://host:8484"):
        FlexPolicy(gateway="localhost:8484")


def test_a_gateway_that_is_not_there(caller: Caller, sim: Simulator) -> None:
    """With a fallback to the client's own lanes, the call goes on; it is warned about once."""
    url = nowhere()
    policy = FAST.replace(gateway=url, gateway_fallback="local")
    with pytest.warns(UserWarning, match="FLEXTIER_GATEWAY"):
        assert caller(sim.base_url, policy).text
    assert caller(sim.base_url, policy).report.lane == "flex"
    assert len(sim.requests) == 2


def test_the_error_names_the_variable(sim: Simulator) -> None:
    """And the URL; it is one of the SDK's."""
    for url, why in ((nowhere(), "refused"), (sim.url, "status 401")):
        with (
            client(sim, policy={"gateway": url}) as asked,
            track() as calls,
            pytest.raises(GatewayUnavailable, match=f"{url} .*FLEXTIER_GATEWAY.*{why}") as raised,
        ):
            asked.responses.create(**ASK)
        assert isinstance(raised.value, openai.APIConnectionError)
        assert report_of(raised.value) is calls[0]


def test_what_is_paid_is_counted_once(
    sim: Simulator, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the ledger of the gateway, not in that of the client; a block counts what comes back."""
    monkeypatch.setenv("FLEXTIER_LEDGER", f"sqlite:///{tmp_path / 'mine.db'}")
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    poor = Token("poor", "p" * 16, budget=Decimal("0.000001"))
    monkeypatch.setenv("FLEXTIER_GATEWAY_TOKEN", poor.secret)
    with (
        gateway(sim, tokens=(poor,), ledger=Ledger(url)) as served,
        client(sim, policy={"gateway": served.url}) as asked,
        record_calls(tags=["night"]),
        budget(5) as spending,
        track() as calls,
    ):
        asked.responses.create(**ASK)
        with pytest.raises(BudgetExceeded, match="--token-file") as raised:
            asked.responses.create(**ASK)
        assert raised.value.spent == calls[0].cost.total == spending.spent
    assert len(calls) == 1
    with Ledger(url, readonly=True) as ledger:
        [row] = ledger.records()
    assert row.tags == ("poor", "night")
    assert row.call_id == calls[0].id
    assert not (tmp_path / "mine.db").exists()
