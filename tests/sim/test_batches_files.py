"""Files: on disk, in pages, within limits, and gone when they are deleted or expired."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import openai
import pytest

from flextier.sim import BatchOutcome, BatchWeather, Simulator, Weather
from flextier.sim.base.paging import Page
from flextier.sim.stores.files import FileStore

from .batches import Batches, Clock, account, lines
from .callers import raw

DAY = 86_400


@pytest.fixture
def batches(sim: Simulator) -> Iterator[Batches]:
    """One account of the shared simulator."""
    with account(sim) as found:
        yield found


def test_files_come_in_pages_in_either_order(sim: Simulator, batches: Batches) -> None:
    """``limit``, ``after``, ``order`` and ``purpose`` choose what is listed."""
    files = batches.client.files
    made = [batches.upload(lines(1)) for _ in range(4)]
    other = files.create(file=("a.txt", b"a"), purpose="user_data").id
    assert [one.id for one in files.list(limit=2)] == [other, *made[::-1]]
    assert [one.id for one in files.list(order="asc", purpose="batch", limit=3)] == made
    page = files.list(limit=2, after=made[3])
    assert [one.id for one in page.data] == [made[2], made[1]]
    assert page.has_more
    for query in ("limit=0", "limit=10001", "order=up", "after=file-none"):
        assert raw(sim.url, "GET", f"/v1/files?{query}").status == 400


def test_a_file_over_the_limit_is_a_413(sim: Simulator, batches: Batches) -> None:
    """The limit holds for the file, however much comes; a file of just the limit is taken."""
    sim.weather = Weather(batch=BatchWeather(max_bytes=100_000))
    row = b'{"a": "%s"}\n'
    fits = row % (b"x" * (100_000 - len(row) + 2))
    assert batches.upload([fits])
    for more in (1, 3_000_000):
        with pytest.raises(openai.APIStatusError, match="100000") as caught:
            batches.upload([fits + b"x" * more])
        assert caught.value.status_code == 413
    assert sim.stats()["files"] == {"count": 1, "bytes": 100_000}


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.txt", b"{}\n"), ("rows.jsonl", b""), ("rows.jsonl", b"{not json\n{}\n")],
    ids=["name", "empty", "first line"],
)
def test_batch_files_are_looked_at_when_they_come(
    batches: Batches, name: str, content: bytes
) -> None:
    """OpenAI refuses at once what is not named .jsonl, is empty or begins with no JSON."""
    with pytest.raises(openai.BadRequestError, match="Invalid file format for Batch API"):
        batches.upload([content], name)


def test_a_long_first_line_is_read(batches: Batches) -> None:
    """The first line may be longer than what is read at a time."""
    long = b'{"a": "' + b"x" * 3_000_000 + b'"}\n'
    file = batches.upload([long])
    assert batches.client.files.content(file).read() == long


def test_files_expire_as_requested() -> None:
    """Input files expire after 30 days, others as requested, output files as their batch says."""
    clock = Clock()
    with Simulator(clock=clock) as sim, account(sim) as batches:
        files = batches.client.files
        life = {"anchor": "created_at", "seconds": 3600}
        batch = batches.run(lines(1), output_expires_after=life)
        output = files.retrieve(batch.output_file_id)
        assert (output.purpose, output.expires_at) == ("batch_output", output.created_at + 3600)
        brief = files.create(file=("a.txt", b"a"), purpose="user_data", expires_after=life)  # type: ignore[arg-type]
        assert brief.expires_at == brief.created_at + 3600
        ever = files.create(file=("a.txt", b"a"), purpose="user_data")
        assert ever.expires_at is None
        clock.now += 3601
        with pytest.raises(openai.NotFoundError):
            files.content(batch.output_file_id)
        assert {one.id for one in files.list()} == {ever.id, batch.input_file_id}
        clock.now += 30 * DAY
        assert [one.id for one in files.list()] == [ever.id]


def test_a_wrong_expiry_is_refused(batches: Batches) -> None:
    """Files are kept for an hour to 30 days."""
    life = {"anchor": "created_at", "seconds": 60}
    with pytest.raises(openai.BadRequestError, match=r"expires_after\.seconds"):
        batches.client.files.create(file=("a", b"a"), purpose="vision", expires_after=life)  # type: ignore[arg-type]


def test_a_running_batch_keeps_its_deleted_input() -> None:
    """A batch that has begun finishes, though its file is gone for everybody else."""
    clock = Clock()
    weather = Weather(batch=BatchWeather(seconds=100))
    with Simulator(weather, clock=clock) as sim, account(sim) as batches:
        batch = batches.create(lines(4))
        assert batches.look(batch).status == "in_progress"
        assert batches.client.files.delete(batch.input_file_id).deleted
        clock.now += 101
        assert batches.look(batch).request_counts.completed == 4
        with pytest.raises(openai.NotFoundError):
            batches.client.files.content(batch.input_file_id)


def test_only_files_that_exist_are_left_on_disk() -> None:
    """What is deleted, expired, unfinished or forgotten leaves the disk, held files last."""
    store = FileStore(Clock())
    draft = store.draft()
    draft.write(b"abc")
    file = store.publish(draft, "a", "batch")
    directory = file.path.parent
    assert file.path.read_bytes() == b"abc"
    store.hold(file)
    store.hold(file)
    store.delete(file.id)
    store.release(file)
    assert file.path.exists()
    store.release(file)
    assert list(directory.iterdir()) == []
    store.publish(store.draft(), "b", "batch")
    store.close()
    assert not directory.exists()
    assert store.list(Page(9))["data"] == []


def test_an_unfinished_batch_leaves_nothing_open(sim: Simulator) -> None:
    """A simulator that is dropped in the middle of batches warns of no open file."""
    with Simulator() as other, account(other) as batches:
        other.script_batches(BatchOutcome.stay("in_progress", after=2))
        batch = batches.create(lines(3))
        assert batches.look(batch).request_counts.completed == 2
    del other  # warnings are errors here


def test_large_files_stay_out_of_memory(sim: Simulator, batches: Batches) -> None:
    """A 30 MB upload and a batch over it take a fraction of that in memory."""
    row = b'{"custom_id": "%d", "method": "POST", "url": "/v1/chat/completions", "body": %s}\n'
    body = b'{"model": "o3", "messages": [{"role": "user", "content": "%s"}]}' % (b"x " * 15_000)
    content = b"".join(row % (number, body) for number in range(1000))
    assert len(content) > 30_000_000
    # The client holds copies of its own, so the upload is a plain one that does not.
    head = (
        b'--B\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--B\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    )
    form = head + content + b"\r\n--B--\r\n"
    tracemalloc.start()
    try:
        kind = {"content-type": "multipart/form-data; boundary=B"}
        answer = raw(sim.url, "POST", "/v1/files", form, **kind)
        assert answer.status == 200
        batch = batches.ended(batches.start(answer.json()["id"]))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert batch.request_counts.completed == 1000
