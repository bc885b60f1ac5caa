"""Costs, ledgers, datasets, the simulator and rehearsals, as users write them."""

# pyright: strict

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from decimal import Decimal

import openai
from typing_extensions import assert_type

from flextier import (
    AsyncFlexOpenAI,
    CallReport,
    FlexOpenAI,
    budget,
    capacity_snapshot,
    continuation,
    report_of,
    wrap,
)
from flextier.batch import create, wait
from flextier.bulk import run
from flextier.costs import CallRecord, CostTotals, Ledger, Usage, price, record_calls
from flextier.policy import FlexPolicy, describe
from flextier.rehearsal import rehearse
from flextier.sim import Fault, Simulator, Weather
from flextier.transport import async_http_client, sync_http_client

client = FlexOpenAI(http_client=sync_http_client(trust_env=False))
AsyncFlexOpenAI(http_client=async_http_client(aiohttp=False, http2=True))


def ask(text: str, *, seconds: float = 60) -> str:
    """Ask one question."""
    return client.with_options(timeout=seconds).responses.create(model="o3", input=text).output_text


def costs() -> Iterator[Decimal | None]:
    records: list[CallRecord] = []
    with record_calls(records.append, tags=["nightly"]) as totals, budget("2.50") as spending:
        try:
            print(ask("Name a colour."))
        except openai.APIError as error:
            assert_type(report_of(error), CallReport | None)
    assert_type(totals, CostTotals)
    print(spending.spent, totals.by_lane)
    yield price(Usage(input_tokens=10, output_tokens=5), model="o3", lane="flex").total
    with continuation("review-7"), ThreadPoolExecutor() as pool:
        print(pool.submit(wrap(ask), "Name one.", seconds=5).result().upper())
    print(describe()["deadline"], [state.lane for state in capacity_snapshot()])


def ledgers() -> None:
    ledger = Ledger("sqlite:///calls.db")
    since = datetime(2026, 11, 1, tzinfo=timezone.utc)
    print(ledger.totals(since=since, lane="flex").cost, ledger.sums("day", tag="nightly"))
    for record in ledger.records(model="o3"):
        print(record.cost.total)


def datasets() -> None:
    result = run(ask, "questions.csv", "answers.csv", key="id", lanes="batch,flex", deadline="6h")
    print(result)
    batch = create(openai.OpenAI(), [("a", {"model": "o3", "input": "Hi."})])
    print(wait(client, batch.id).status)


def tests() -> None:
    with Simulator(weather=Weather(outages=((0, 60),), slots=3)) as sim:
        sim.script(Fault.refuse(), Fault.serve())
        FlexOpenAI(base_url=sim.base_url, api_key="sk-key", policy=FlexPolicy(patience=0))
    print(rehearse("outages", policy={"patience": "5m"}, jobs=20))
    print(Weather.random(seed=1, mean_open=60, mean_shut=60, slots=4))
