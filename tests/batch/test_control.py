"""The Batch API by hand, over real sockets: every status, every shape of line, and faults."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import Batch

import flextier.batch
from flextier import FlexOpenAI
from flextier.batch import (
    BatchLineError,
    cancel,
    create,
    fetch,
    formatting,
    list_batches,
    retrieve,
    wait,
)
from flextier.costs import PriceBook, Usage, price, set_price_book
from flextier.sim import BatchOutcome, BatchWeather, Fault, Simulator, Weather
from tests.batch.batch_files import (
    CHAT,
    EMBEDDINGS,
    MODEL,
    RESPONSES,
    Time,
    body,
    line,
    read,
    stayed_empty,
    written,
)

ENDED = ["completed", "failed", "expired", "cancelled"]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def sim(time: Time) -> Iterator[Simulator]:
    weather = Weather(batch=BatchWeather(validating=1, seconds=60, finalizing=5, cancelling=30))
    with Simulator(weather, clock=time, record_paid=True) as started:
        yield started


@pytest.fixture
def client(sim: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=sim.base_url, api_key="k", max_retries=0) as made:
        yield made


def made(client: openai.OpenAI, time: Time, count: int = 5, **more: Any) -> Batch:
    """Create a batch of ``count`` lines."""
    return create(client, map(line, range(count)), clock=time.clock, **more)


def ended(client: openai.OpenAI, time: Time, count: int = 5) -> Batch:
    """One that has ended."""
    return wait(client, made(client, time, count).id, clock=time.clock)


# --- there and back ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [openai.OpenAI, FlexOpenAI])
def test_there_and_back(
    kind: type[openai.OpenAI], sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Created, waited for and fetched, with any client: a line for each request, in their order,
    for its owner's eyes; and the cost of what was billed, on the batch lane."""
    out = tmp_path / "answers.jsonl"
    statuses: list[str] = []
    with kind(base_url=sim.base_url, api_key="k") as client:
        batch = create(client, map(body, range(20)), metadata={"job": "cats"}, clock=time.clock)
        assert batch.metadata is not None
        assert batch.metadata["job"] == "cats"
        over = wait(
            client,
            batch.id,
            on_status=lambda seen: statuses.append(seen.status),
            clock=time.clock,
        )
        fetched = fetch(client, batch.id, out, clock=time.clock)

    assert over.status == "completed"
    assert statuses[0] == "validating"
    assert statuses[-1] == "completed"
    assert len(set(statuses)) == len(statuses)
    lines = read(out)
    assert [one["custom_id"] for one in lines] == [f"request-{n}" for n in range(1, 21)]
    assert all(set(one) == {"id", "custom_id", "response", "error"} for one in lines)
    assert (fetched.done, fetched.failed, fetched.unfinished) == (20, 0, 0)
    assert fetched.in_order
    billed = sim.stats()["billed"][MODEL]["batch"]
    assert fetched.usage.input_tokens == billed["input_tokens"]
    assert fetched.usage.output_tokens == billed["output_tokens"]
    cost = price(fetched.usage, model=MODEL, lane="batch")
    assert fetched.cost == cost.total
    assert fetched.saved == cost.saved
    assert fetched.unpriced == 0
    assert fetched.to_dict()["cost"] == f"{cost.total:f}"
    if os.name != "nt":
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_the_shapes_of_lines(client: openai.OpenAI, time: Time, tmp_path: Path) -> None:
    """Bodies, pairs, whole lines with or without method and URL, and files of them."""
    plain = [body(n) for n in range(3)]
    file = written(tmp_path / "in.jsonl", [b"\xef\xbb\xbf", line(0), b"", line(1, method=...)])
    assert file.read_bytes().startswith(b"\xef\xbb\xbf\n{")
    bom = tmp_path / "bom.jsonl"
    bom.write_bytes(b"\xef\xbb\xbf" + written(tmp_path / "x", [line(0), line(1)]).read_bytes())
    for given, ids in (
        (plain, ["request-1", "request-2", "request-3"]),
        (iter(plain), ["request-1", "request-2", "request-3"]),
        ([("a", plain[0]), ("b", plain[1])], ["a", "b"]),
        ([line(0, method=..., url=...), line(1, url=...)], ["cat-0", "cat-1"]),
        (file, ["cat-0", "cat-1"]),
        (str(bom), ["cat-0", "cat-1"]),
    ):
        batch = create(client, given, clock=time.clock)  # type: ignore[arg-type]
        assert batch.endpoint == CHAT
        assert wait(client, batch.id, clock=time.clock).status == "completed"
        out = tmp_path / "out.jsonl"
        fetch(client, batch.id, out, clock=time.clock)
        assert [one["custom_id"] for one in read(out)] == ids


@pytest.mark.parametrize("endpoint", [None, "responses", "/responses", "/v1/responses"])
def test_the_endpoint(endpoint: str | None, client: openai.OpenAI, time: Time) -> None:
    """Said in any way, or seen by the body."""
    lines = [{"model": MODEL, "input": "Where is the cat?"}]
    batch = create(client, lines, endpoint=endpoint, clock=time.clock)
    assert batch.endpoint == RESPONSES
    assert wait(client, batch.id, clock=time.clock).status == "completed"


def test_embeddings_have_a_price(client: openai.OpenAI, time: Time, tmp_path: Path) -> None:
    """Their usage has no output; where the price book knows their rate, that is the cost."""
    model = "text-embedding-3-small"
    batch = create(
        client,
        [{"model": model, "input": ["cat", "dog"]}],
        endpoint="embeddings",
        clock=time.clock,
    )
    assert batch.endpoint == EMBEDDINGS
    assert wait(client, batch.id, clock=time.clock).status == "completed"
    rates = {model: {"batch": {"input": "0.01", "output": "0"}}}
    before = set_price_book(PriceBook(rates=rates))
    try:
        fetched = fetch(client, batch.id, tmp_path / "out.jsonl", clock=time.clock)
    finally:
        set_price_book(before)
    tokens = fetched.usage.input_tokens
    assert tokens > 0
    assert fetched.cost == Decimal("0.01") * tokens / 1_000_000


def test_from_async_code(client: openai.OpenAI, time: Time) -> None:
    """In a thread, beside whatever the loop does."""

    async def there() -> Batch:
        batch = await asyncio.to_thread(create, client, [body(0)], clock=time.clock)
        return await asyncio.to_thread(wait, client, batch.id, clock=time.clock)

    assert asyncio.run(there()).status == "completed"


# --- what is not sent -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "number", "field"),
    [
        ([line(0), line(0)], 2, "custom_id"),
        ([line(0, custom_id=...)], 1, "custom_id"),
        ([line(0, custom_id="")], 1, "custom_id"),
        ([line(0, custom_id=7)], 1, "custom_id"),
        ([line(0, method="GET")], 1, "method"),
        ([line(0), line(1, url=RESPONSES)], 2, "url"),
        ([line(0, url="https://api.openai.com/v1/responses")], 1, "url"),
        ([line(0, body=...)], 1, "body"),
        ([line(0, body=[])], 1, "body"),
        ([line(0), line(1, body=body(1, model="o3"))], 2, "body.model"),
        ([line(0, body=body(0, model=""))], 1, "body.model"),
        ([{"messages": []}], 1, "body.model"),
        ([body(0), body(1, stream=True)], 2, "body.stream"),
        ([body(0, background=True)], 1, "body.background"),
        ([body(0, seed=object())], 1, "body"),
        ([body(0, seed=float("nan"))], 1, "body"),
        ([{"model": MODEL}], 1, "url"),
        ([{"model": "text-embedding-3-small", "input": "cat"}], 1, "url"),
        (["cat"], 1, ""),
        ([("a", "b", "c")], 1, ""),
    ],
)
def test_lines_that_cannot_be(
    lines: Any, number: int, field: str, client: openai.OpenAI, sim: Simulator
) -> None:
    """Line and field are named, and nothing is sent."""
    with pytest.raises(BatchLineError, match=f"^line {number}: {field}") as raised:
        create(client, lines)
    assert (raised.value.line, raised.value.field) == (number, field)
    assert stayed_empty(sim)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.line) == (str(raised.value), number)
    assert str(copy.copy(raised.value)) == str(raised.value)


@pytest.mark.parametrize(
    "bad", [b"{", b"[1]", b'{"custom_id": NaN}', b"\xff", b"[" * 100_000, b'"cat"']
)
def test_files_that_cannot_be(
    bad: bytes, client: openai.OpenAI, sim: Simulator, tmp_path: Path
) -> None:
    """Blank lines count, as they do for an editor."""
    with pytest.raises(BatchLineError, match=r"^line 3: is not (a )?JSON"):
        create(client, written(tmp_path / "in.jsonl", [line(0), b"", bad]))
    assert stayed_empty(sim)


def test_too_much(client: openai.OpenAI, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines, bytes and texts to embed are counted before anything is sent."""
    monkeypatch.setattr("flextier.batch.jsonl.MAX_LINES", 3)
    with pytest.raises(BatchLineError, match=r"^line 4: a batch takes at most 3 lines"):
        create(client, map(body, range(9)))
    monkeypatch.setattr("flextier.batch.jsonl._MAX_BYTES", 400)
    with pytest.raises(BatchLineError, match=r"^line 3: a batch takes at most 200 MB"):
        create(client, map(body, range(9)))
    monkeypatch.setattr("flextier.batch.jsonl._MAX_TEXTS", 4)
    texts = {"model": "e", "input": ["cat", "dog"]}
    tokens = {"model": "e", "input": [1, 2, 3]}
    with pytest.raises(BatchLineError, match=r"^line 3: body.input: a batch takes at most 4 texts"):
        create(client, [texts, tokens, texts], endpoint="embeddings")
    assert stayed_empty(sim)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"flextier": "x"}, "the key 'flextier' is reserved: flextier finds"),
        ({str(n): "x" for n in range(16)}, "16 pairs"),
        ({"n": 7}, "must both be strings"),
        ({"k" * 65: "x"}, "64 characters"),
        ({"k": "x" * 513}, "values 512"),
    ],
)
def test_metadata_that_cannot_be(
    metadata: Any, words: str, client: openai.OpenAI, sim: Simulator
) -> None:
    """Seen before a large file is on its way."""
    with pytest.raises(ValueError, match=words):
        create(client, [body(0)], metadata=metadata)
    assert stayed_empty(sim)


def test_no_lines(client: openai.OpenAI, sim: Simulator, tmp_path: Path) -> None:
    """Neither in a list nor in a file; and a file that there is none of."""
    for lines in ([], written(tmp_path / "in.jsonl", [b"", b" "])):
        with pytest.raises(ValueError, match="there are no lines"):
            create(client, lines, endpoint="responses")
    with pytest.raises(FileNotFoundError):
        create(client, tmp_path / "none.jsonl")
    assert stayed_empty(sim)


# --- faults -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault.reset(after_effect=True), Fault.reset(), Fault.status(500), Fault.status(429)],
    ids=["lost answer", "reset", "500", "429"],
)
def test_created_once(
    fault: Fault, client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Whatever becomes of the answer to its creation, there is one batch, paid once."""
    sim.script(fault.on(path="/batches", method="POST"))
    batch = made(client, time)
    assert wait(client, batch.id, clock=time.clock).status == "completed"
    assert sim.stats()["batches"]["created"] == 1
    assert sim.paid()["twice"] == []
    assert fetch(client, batch.id, tmp_path / "out", clock=time.clock).done == 5


def test_an_upload_is_tried_again(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """It costs nothing, and has the whole file each time."""
    sim.script(*[Fault.status(500).on(path="/files", method="POST")] * 2)
    assert ended(client, time).request_counts.total == 5  # type: ignore[union-attr]


def test_faults_that_do_not_pass(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """Six tries of one request, then what the last one said; a refusal at once."""
    sim.script(*[Fault.status(500).on(path="/files", method="POST")] * 6)
    with pytest.raises(openai.InternalServerError):
        made(client, time)
    assert len(time.slept) == 5
    sim.script(Fault.status(401).on(path="/files", method="POST"))
    with pytest.raises(openai.AuthenticationError):
        made(client, time)
    assert len(time.slept) == 5
    assert sim.stats()["batches"]["created"] == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client, clock: retrieve(client, "batch_none", clock=clock),
        lambda client, clock: wait(client, "batch_none", clock=clock),
        lambda client, clock: cancel(client, "batch_none", clock=clock),
        lambda client, clock: fetch(client, "batch_none", "none", clock=clock),
    ],
    ids=["retrieve", "wait", "cancel", "fetch"],
)
def test_a_batch_that_there_is_not(
    call: Callable[..., Any], client: openai.OpenAI, time: Time
) -> None:
    """What the SDK raises, and at once."""
    with pytest.raises(openai.NotFoundError, match="batch_none"):
        call(client, time.clock)
    assert time.slept == []


# --- list -------------------------------------------------------------------------------------


def test_a_list(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """The newest first, over pages, by limit, status and age; a page that fails is asked again."""
    all_ids = []
    for _ in range(7):
        all_ids.insert(0, made(client, time, 1).id)
        time.now += 100
    sim.script_batches(BatchOutcome.fail("empty_file"))
    all_ids.insert(0, ended(client, time, 1).id)

    def ids(**filters: Any) -> list[str]:
        return [batch.id for batch in list_batches(client, clock=time.clock, **filters)]

    assert ids() == all_ids
    assert ids(limit=3) == all_ids[:3]
    assert ids(limit=100) == all_ids
    assert ids(status="failed") == all_ids[:1]
    assert ids(status=["failed", "completed"], limit=2) == all_ids[:2]
    assert ids(status=[]) == []
    since = retrieve(client, all_ids[4]).created_at
    assert ids(since=since) == all_ids[:5]
    assert ids(since=datetime.fromtimestamp(since, timezone.utc)) == all_ids[:5]
    zoneless = datetime.fromtimestamp(since, timezone.utc).replace(tzinfo=None)
    assert ids(since=zoneless) == all_ids[:5]
    sim.script(Fault.status(500).on(path="/batches", method="GET"))
    assert ids(limit=2) == all_ids[:2]
    with pytest.raises(ValueError, match="limit=0"):
        list_batches(client, limit=0)


def test_pages_are_asked_for_as_needed(
    client: openai.OpenAI, sim: Simulator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listing batches requests one page if the caller reads one page."""
    monkeypatch.setattr("flextier.batch.manual._PAGE", 2)
    all_ids = [made(client, time, 1).id for _ in range(5)][::-1]
    before = len(sim.requests)
    found = list_batches(client)
    assert len(sim.requests) == before
    assert next(found).id == all_ids[0]
    assert len(sim.requests) == before + 1
    assert [batch.id for batch in found] == all_ids[1:]
    assert len(sim.requests) == before + 3


# --- wait -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (None, "completed"),
        (BatchOutcome.only_errors(400), "completed"),
        (BatchOutcome.fail({"code": "invalid_json_line", "line": 3}), "failed"),
        (BatchOutcome.expire(after=2), "expired"),
        (BatchOutcome.cancel(after=2), "cancelled"),
    ],
)
def test_every_end(
    outcome: BatchOutcome | None, status: str, client: openai.OpenAI, sim: Simulator, time: Time
) -> None:
    """A batch that has ended is waited for no longer, however it has."""
    if outcome is not None:
        sim.script_batches(outcome)
    batch = ended(client, time)
    assert batch.status == status
    assert wait(client, batch.id, timeout=0).status == status


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "new"])
def test_every_status_on_the_way(
    status: str, client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """A batch in any of these statuses has not ended: wait() times out and fetch() raises."""
    sim.script_batches(BatchOutcome.stay(status))
    batch = made(client, time)
    began = time.now
    with pytest.raises(TimeoutError, match=f"{batch.id} is {status} after 500 s; it goes on"):
        wait(client, batch.id, timeout=500, clock=time.clock)
    assert time.now == pytest.approx(began + 500)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=f"is {status}"):
        fetch(client, batch.id, out, clock=time.clock)
    assert not out.exists()


def test_how_often_it_looks(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """Polls start often and slow down, and never come more often than the given interval."""
    sim.script_batches(BatchOutcome.stay("in_progress"))
    batch = made(client, time)
    with pytest.raises(TimeoutError):
        wait(client, batch.id, poll=20, timeout=3600, clock=time.clock)
    waits = time.slept[:-1]
    assert waits[0] < 2
    assert waits == sorted(waits)
    assert 15 <= max(waits) <= 20


def test_faults_are_waited_out(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """However many; only time, or a refusal, ends them."""
    batch = made(client, time)
    on_batch = {"path": "/batches/{id}", "method": "GET"}
    faults = [Fault.status(500), Fault.reset(), Fault.status(429), Fault.status(503)] * 3
    sim.script(*(fault.on(**on_batch) for fault in faults))
    seen: list[str] = []
    over = wait(client, batch.id, clock=time.clock, on_status=lambda b: seen.append(b.status))
    assert over.status == "completed"
    assert seen == ["completed"]
    sim.script(*[Fault.status(500).on(**on_batch)] * 3)
    with pytest.raises(TimeoutError, match="could not be polled after 0 s") as raised:
        wait(client, batch.id, timeout=0, clock=time.clock)
    assert isinstance(raised.value.__cause__, openai.InternalServerError)
    sim.reset()
    sim.script(Fault.status(401).on(**on_batch))
    with pytest.raises(openai.AuthenticationError):
        wait(client, batch.id, clock=time.clock)


@pytest.mark.parametrize("given", [{"poll": 0}, {"poll": float("nan")}, {"timeout": -1}])
def test_waits_that_cannot_be(given: dict[str, float], client: openai.OpenAI) -> None:
    """Seconds, and more than none."""
    with pytest.raises(ValueError, match=next(iter(given))):
        wait(client, "batch_any", **given)  # type: ignore[arg-type]


# --- cancel -----------------------------------------------------------------------------------


def test_cancel_keeps_what_is_done(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Lines that were done are fetched, and paid; the others say so, each in its place."""
    batch = made(client, time, 10)
    time.now += 31  # of the sixty seconds
    assert cancel(client, batch.id, clock=time.clock).status == "cancelling"
    assert cancel(client, batch.id, clock=time.clock).status == "cancelling"
    over = cancel(client, batch.id, wait=True, clock=time.clock)
    assert over.status == "cancelled"
    out = tmp_path / "out.jsonl"
    fetched = fetch(client, batch.id, out, clock=time.clock)
    assert (fetched.done, fetched.failed, fetched.unfinished) == (5, 0, 5)
    assert sim.paid()["lines"] == 5
    lines = read(out)
    assert [one["custom_id"] for one in lines] == [f"cat-{n}" for n in range(10)]
    assert {one["error"]["code"] for one in lines if one["response"] is None} == {"batch_cancelled"}
    assert fetched.cost is not None
    assert fetched.cost > 0


@pytest.mark.parametrize("wait_for_it", [False, True])
@pytest.mark.parametrize("status", ENDED)
def test_cancel_too_late(
    status: str, wait_for_it: bool, client: openai.OpenAI, sim: Simulator, time: Time
) -> None:
    """What has ended before is handed over as it is."""
    outcomes = {
        "failed": BatchOutcome.fail("empty_file"),
        "expired": BatchOutcome.expire(1),
        "cancelled": BatchOutcome.cancel(1),
    }
    if status in outcomes:
        sim.script_batches(outcomes[status])
    batch = ended(client, time)
    assert cancel(client, batch.id, wait=wait_for_it, clock=time.clock).status == status


def test_cancel_times_out(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """A cancellation with ``wait`` ends with an error after the given timeout."""
    sim.script_batches(BatchOutcome.stay("cancelling", after=1))
    batch = made(client, time)
    with pytest.raises(TimeoutError, match="is cancelling after 60 s"):
        cancel(client, batch.id, wait=True, timeout=60, clock=time.clock)


def test_a_list_with_odd_entries(client: openai.OpenAI, sim: Simulator, time: Time) -> None:
    """What is no list is requested again; entries that are no batch are left out."""
    made(client, time, 1)
    listing: dict[str, str] = {"path": "/batches", "method": "GET"}
    sim.script(*[Fault.body(text).on(**listing) for text in ("null", "{}", '{"data": null}')])
    assert len(list(list_batches(client, clock=time.clock))) == 1
    undated = '{"id": "batch_1", "status": "completed", "created_at": null, "request_counts": null}'
    sim.script(Fault.body(f'{{"data": [null, {undated}], "has_more": false}}').on(**listing))
    (found,) = list_batches(client, since=time.now, clock=time.clock)
    assert found.id == "batch_1"
    assert re.search(r"batch_1 +completed +- +- +- +- +-", formatting.table([found], time.now))


# --- fetch ------------------------------------------------------------------------------------


def test_fetch_what_expired(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Its finished lines are there, with their cost."""
    sim.script_batches(BatchOutcome.expire(after=3))
    batch = ended(client, time)
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert fetched.batch.status == "expired"
    assert (fetched.done, fetched.failed, fetched.unfinished) == (3, 0, 2)
    assert fetched.cost == price(fetched.usage, model=MODEL, lane="batch").total
    assert sim.paid()["lines"] == 3


def test_fetch_only_errors(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """A batch that is completed and has no output file: nothing was done, nothing costs."""
    sim.script_batches(BatchOutcome.only_errors(400, "no"))
    batch = ended(client, time)
    assert batch.output_file_id is None
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert (fetched.done, fetched.failed, fetched.unfinished) == (0, 5, 0)
    assert fetched.cost == fetched.saved == Decimal(0)
    assert fetched.usage == Usage(0, 0)
    assert read(tmp_path / "out")[0]["response"]["body"]["error"]["message"] == "no"


def test_fetch_odd_lines(client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path) -> None:
    """Lines that are no answer have failed and cost nothing; the others are as always."""
    odd = [{"status_code": 0, "body": {}}, {"status_code": 200, "body": None}, "}{"]
    sim.script_batches(BatchOutcome.complete(*odd, file="output", no_file=""))
    fetched = fetch(client, ended(client, time).id, tmp_path / "out", clock=time.clock)
    # The request of the line that is not JSON counts as unfinished, too: it has no other line.
    assert (fetched.done, fetched.failed, fetched.unfinished) == (2, 3, 1)
    assert fetched.cost == price(fetched.usage, model=MODEL, lane="batch").total


def test_fetch_files_that_are_named_late(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """A batch that is completed is polled again until it names its files."""
    sim.script_batches(BatchOutcome.complete(late=3))
    fetched = fetch(client, ended(client, time).id, tmp_path / "out", clock=time.clock)
    assert fetched.done == 5


def test_fetch_what_failed(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """It has no file at all; the requests are listed, and none was done."""
    sim.script_batches(BatchOutcome.fail("token_limit_exceeded"))
    batch = ended(client, time)
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert (fetched.done, fetched.failed, fetched.unfinished) == (0, 0, 5)
    lines = read(tmp_path / "out")
    assert [one["custom_id"] for one in lines] == [f"cat-{n}" for n in range(5)]
    assert all(one["error"]["code"] == "batch_failed" for one in lines)


def test_fetch_without_the_input_file(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Without the input file all lines are written, in another order, and the result says so."""
    sim.script_batches(BatchOutcome.expire(after=3))
    batch = ended(client, time)
    client.files.delete(batch.input_file_id)
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert not fetched.in_order
    assert (fetched.done, fetched.failed, fetched.unfinished) == (3, 0, 2)
    lines = read(tmp_path / "out")
    assert {one["custom_id"] for one in lines} == {f"cat-{n}" for n in range(5)}
    assert [one["response"] is None for one in lines] == [False] * 3 + [True] * 2


def test_fetch_through_faults(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """A download that is cut off starts again; no line is in the file twice."""
    batch = ended(client, time)
    content = {"path": "/files/{id}/content"}
    sim.script(*(f.on(**content) for f in (Fault.cut(100), Fault.status(500), Fault.cut(700))))
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert fetched.done == len(read(tmp_path / "out")) == 5


def test_a_file_is_replaced_as_a_whole(
    client: openai.OpenAI, sim: Simulator, time: Time, tmp_path: Path
) -> None:
    """Where it cannot be fetched, what was there stays, and nothing lies about."""
    batch = ended(client, time)
    out = tmp_path / "out"
    out.write_text("before")
    sim.script(*[Fault.cut(100).on(path="/files/{id}/content")] * 6)
    with pytest.raises(openai.APIConnectionError):
        fetch(client, batch.id, out, clock=time.clock)
    assert out.read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]
    assert batch.output_file_id is not None
    client.files.delete(batch.output_file_id)
    with pytest.raises(openai.NotFoundError):
        fetch(client, batch.id, out, clock=time.clock)
    assert out.read_text() == "before"


def test_places_that_cannot_be(client: openai.OpenAI, time: Time, tmp_path: Path) -> None:
    """A database, a directory, a directory that there is none of: before anything is fetched."""
    batch = ended(client, time)
    database = tmp_path / "ledger.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE cats (n)")
    connection.close()
    with pytest.raises(ValueError, match="is a SQLite database"):
        fetch(client, batch.id, database)
    with pytest.raises(IsADirectoryError):
        fetch(client, batch.id, tmp_path)
    with pytest.raises(FileNotFoundError):
        fetch(client, batch.id, tmp_path / "none" / "out")


@pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
def test_a_pipe_is_written_to(client: openai.OpenAI, time: Time, tmp_path: Path) -> None:
    """What is no file is not replaced by one."""
    batch = ended(client, time)
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    fetch(client, batch.id, pipe, clock=time.clock)
    reader.join()
    assert got[0].count(b"\n") == 5
    assert pipe.is_fifo()


def test_a_model_without_a_price(client: openai.OpenAI, time: Time, tmp_path: Path) -> None:
    """What is not known is not zero."""
    lines = [body(n, model="cat-model-9") for n in range(2)]
    batch = create(client, lines, clock=time.clock)
    wait(client, batch.id, clock=time.clock)
    fetched = fetch(client, batch.id, tmp_path / "out", clock=time.clock)
    assert (fetched.done, fetched.unpriced) == (2, 2)
    assert fetched.cost is None
    assert fetched.saved is None
    assert fetched.to_dict()["cost"] is None


# --- the package ------------------------------------------------------------------------------


def test_the_public_names() -> None:
    """They are there, documented, and load only what they need."""
    for name in flextier.batch.__all__:
        assert getattr(flextier.batch, name).__doc__
    assert sorted(flextier.batch.__all__) == dir(flextier.batch) == flextier.batch.__all__
    code = (
        "import sys, flextier.batch\n"
        "names = {'control', 'results', 'lines', 'money', 'command'}\n"
        "assert not {f'flextier.batch.{name}' for name in names} & set(sys.modules)\n"
        "assert 'genai_prices' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
