"""``flextier batch``: what it prints, and what it ends with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from flextier.batch.pricing import cost_of
from flextier.cli import main
from flextier.costs import Usage, price
from flextier.sim import BatchOutcome, Fault, Simulator
from tests.batch.batch_files import MODEL, line, plain_client, read, stayed_empty, written

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Batches are done within milliseconds."""
    with Simulator() as started:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", started.base_url)
        yield started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five lines."""
    return written(tmp_path / "in.jsonl", [line(n) for n in range(5)])


@pytest.fixture
def made(sim: Simulator, file: Path, capsys: Capture) -> Callable[..., str]:
    """Creates a batch; its id."""

    def create(*options: str, outcome: BatchOutcome | None = None) -> str:
        if outcome is not None:
            sim.script_batches(outcome)
        assert batch("create", str(file), *options) == 0
        return capsys.readouterr().out.strip()

    return create


@pytest.fixture
def ended(made: Callable[..., str], capsys: Capture) -> Callable[..., str]:
    """Creates a batch, and waits for its end."""

    def create(*options: str, outcome: BatchOutcome | None = None) -> str:
        batch_id = made(*options, outcome=outcome)
        batch("wait", batch_id, "--poll", "0.01")
        capsys.readouterr()
        return batch_id

    return create


def batch(*arguments: str) -> int:
    """Run the command."""
    return main(["batch", *arguments])


def flextier(*arguments: str, **more: Any) -> subprocess.Popen[str]:
    """The command in a process of its own, with the environment of this one."""
    code = "import sys; from flextier.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


# --- the verbs --------------------------------------------------------------------------------


def test_from_a_file_to_a_file(sim: Simulator, file: Path, tmp_path: Path, capsys: Capture) -> None:
    """Create, wait and fetch, as a shell script would."""
    assert batch("create", str(file), "--metadata", "job=cats", "--metadata", "n=1=2") == 0
    batch_id = capsys.readouterr().out.strip()
    assert re.fullmatch(r"batch_\w+", batch_id)
    assert batch("wait", batch_id, "--poll", "0.01") == 0
    assert capsys.readouterr() == ("", "")  # no terminal
    out = tmp_path / "out.jsonl"
    assert batch("fetch", batch_id, str(out)) == 0
    printed = capsys.readouterr().out
    assert (
        f"{batch_id} is completed: 5 done, 0 failed, 0 unfinished, in {out}; cost $0.0" in printed
    )
    assert "less than on standard" in printed
    assert [one["custom_id"] for one in read(out)] == [f"cat-{n}" for n in range(5)]
    assert batch("fetch", batch_id, str(out), "--json") == 0
    fetched = json.loads(capsys.readouterr().out)
    billed = sim.stats()["billed"][MODEL]["batch"]
    assert fetched["usage"]["output_tokens"] == billed["output_tokens"]
    assert Decimal(fetched["cost"]) == Decimal(fetched["saved"]) > 0
    assert batch("show", batch_id, "--json") == 0
    metadata = json.loads(capsys.readouterr().out)["metadata"]
    assert metadata.pop("flextier")
    assert metadata == {"job": "cats", "n": "1=2"}


def test_list(sim: Simulator, ended: Callable[..., str], capsys: Capture) -> None:
    """A line a batch, the newest first; by status and number; and as JSON."""
    assert batch("list") == 0
    assert capsys.readouterr().out == "No batches.\n"
    ids = [ended() for _ in range(3)]
    ids.append(ended(outcome=BatchOutcome.fail("empty_file")))
    ids.append(ended(outcome=BatchOutcome.expire(after=2)))

    assert batch("list") == 0
    head, *rows = capsys.readouterr().out.splitlines()
    heads = ["id", "status", "model", "done/total", "created (UTC)", "age", "flextier"]
    assert re.split(r"  +", head) == heads
    cells = [re.split(r"  +", row) for row in rows]
    assert [row[0] for row in cells] == ids[::-1]
    assert [row[1] for row in cells] == ["expired", "failed", *["completed"] * 3]
    assert [row[3] for row in cells] == ["2/5", "0/0", *["5/5"] * 3]
    assert [row[2] for row in cells] == [MODEL, "-", *[MODEL] * 3]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", row[4]) for row in cells)
    assert all(re.fullmatch(r"[0-9a-f]{16}", row[6]) for row in cells)

    assert batch("list", "--status", "failed", "--status", "expired", "--json") == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [ids[4], ids[3]]
    assert batch("list", "--limit", "2", "--json") == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)] == [ids[4], ids[3]]


def test_show(sim: Simulator, ended: Callable[..., str], capsys: Capture) -> None:
    """Times, lines, tokens, cost; the errors of one that failed, each with its line."""
    batch_id = ended("--metadata", "job=cats")
    assert batch("show", batch_id) == 0
    printed = capsys.readouterr().out
    for words in (
        rf"^id +{batch_id}$",
        r"^status +completed$",
        rf"^model +{MODEL}$",
        r"^lines +5 done, 0 failed, of 5$",
        r"^tokens +\d+ in \(\d+ cached\), \d+ out \(\d+ reasoning\)$",
        r"^cost +\$0\.\d+, \$0\.\d+ less than on standard$",
        r"^created +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$",
        r"^output file +file-",
        r"^metadata +job=cats$",
        r"^metadata +flextier=",
    ):
        assert re.search(words, printed, re.MULTILINE), words
    errors = [{"code": "invalid_json_line", "message": f"No\n{n}", "line": n} for n in range(1, 31)]
    failed = ended(outcome=BatchOutcome.fail(*errors, "empty_file"))
    assert batch("show", failed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert r"error: line 1: invalid_json_line: No\n1" in lines
    assert lines[-1] == "and 11 errors more: --json"
    assert batch("show", failed, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["errors"]["data"]) == 31
    assert printed["cost"] is None


def test_what_a_whole_batch_costs(sim: Simulator, ended: Callable[..., str]) -> None:
    """The cost follows from the batch's usage; an estimate where long prompts have other rates."""
    batch_id = ended()
    with plain_client(sim) as client:
        seen = client.batches.retrieve(batch_id)
    cost = cost_of(seen)
    assert cost is not None
    assert seen.usage is not None
    billed = sim.stats()["billed"][MODEL]["batch"]
    assert seen.usage.output_tokens == billed["output_tokens"]
    assert cost.basis == "exact"
    assert cost.total is not None
    assert cost.total > 0
    usage = seen.usage.model_copy(update={"input_tokens": 2_000_000})
    long = seen.model_copy(update={"model": "gpt-5.4", "usage": usage})
    printed = cost_of(long)
    assert printed is not None
    short = price(Usage(10_000, 0), model="gpt-5.4", lane="batch")
    assert (printed.rates, printed.basis) == (short.rates, "estimated")
    assert cost_of(seen.model_copy(update={"usage": None})) is None
    assert cost_of(seen.model_copy(update={"model": None})) is None


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (BatchOutcome.fail({"code": "bad", "message": "No.", "line": 3}, "x"), "failed: line 3: "),
        (BatchOutcome.expire(after=2), "expired: 2/5 lines are done"),
        (BatchOutcome.cancel(after=1), "cancelled: 1/5 lines are done"),
    ],
)
def test_wait_for_what_does_not_complete(
    outcome: BatchOutcome, words: str, made: Callable[..., str], capsys: Capture
) -> None:
    """The command exits with 1 and prints one line, the reason, on standard error."""
    batch_id = made(outcome=outcome)
    assert batch("wait", batch_id, "--poll", "0.01") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"flextier batch: {batch_id} is {words}")
    assert captured.err.count("\n") == 1


def test_wait_on_a_terminal(
    made: Callable[..., str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each status once, with the time and how many lines are done."""
    batch_id = made()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert batch("wait", batch_id, "--poll", "0.01") == 0
    *_, last = lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  {batch_id}  completed  5/5", last)
    statuses = [one.split()[2] for one in lines]
    assert len(set(statuses)) == len(statuses)


def test_wait_no_longer(made: Callable[..., str], capsys: Capture) -> None:
    """Status 1 when time is out."""
    batch_id = made(outcome=BatchOutcome.stay("in_progress"))
    assert batch("wait", batch_id, "--poll", "0.01", "--timeout", "0.03") == 1
    assert f"{batch_id} is in_progress after 0.03 s; it goes on" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_leaves_it_running(sim: Simulator, made: Callable[..., str]) -> None:
    """It says so, and how to stop it; no traceback."""
    batch_id = made(outcome=BatchOutcome.stay("in_progress"))
    before = len(sim.requests)
    process = flextier("batch", "wait", batch_id, "--poll", "30")
    while len(sim.requests) == before:
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(0.05)  # its answer has arrived: it sleeps
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"flextier batch: not waited for any more; {batch_id} goes on: "
        f"'flextier batch cancel {batch_id}' stops it\n"
    )
    assert sim.stats()["batches"]["statuses"] == {"in_progress": 1}


def test_cancel(made: Callable[..., str], capsys: Capture) -> None:
    """Cancelling prints what was kept, with --wait after the batch; too late is status 1."""
    batch_id = made(outcome=BatchOutcome.stay("in_progress", after=2))
    while True:
        batch("show", batch_id, "--json")
        if json.loads(capsys.readouterr().out)["request_counts"]["completed"] == 2:
            break
    assert batch("cancel", batch_id) == 0
    printed = capsys.readouterr().out
    kept = f"2/5 lines are done; they are charged, and kept: flextier batch fetch {batch_id} OUT\n"
    assert printed in (f"{batch_id} is {status}: {kept}" for status in ("cancelling", "cancelled"))
    assert batch("cancel", batch_id, "--wait", "--poll", "0.01") == 0
    assert capsys.readouterr().out == f"{batch_id} is cancelled: {kept}"


def test_cancel_too_late(ended: Callable[..., str], capsys: Capture) -> None:
    """It had completed before."""
    batch_id = ended()
    assert batch("cancel", batch_id, "--wait") == 1
    assert f"too late: {batch_id} is completed: 5/5 lines are done" in capsys.readouterr().err


def test_cancel_with_nothing_done(made: Callable[..., str], capsys: Capture) -> None:
    """Then nothing is charged, and nothing is there to fetch."""
    batch_id = made(outcome=BatchOutcome.stay("validating"))
    assert batch("cancel", batch_id, "--wait", "--poll", "0.01") == 0
    assert capsys.readouterr().out == f"{batch_id} is cancelled: 0/0 lines are done\n"


def test_fetch_partly(ended: Callable[..., str], tmp_path: Path, capsys: Capture) -> None:
    """Expired batches have their paid lines; failed ones have nothing but their requests."""
    out = tmp_path / "out"
    batch_id = ended(outcome=BatchOutcome.expire(after=3))
    assert batch("fetch", batch_id, str(out)) == 0
    assert f"{batch_id} is expired: 3 done, 0 failed, 2 unfinished" in capsys.readouterr().out
    batch_id = ended(outcome=BatchOutcome.fail("empty_file"))
    assert batch("fetch", batch_id, str(out)) == 0
    printed = capsys.readouterr().out
    assert printed == f"{batch_id} is failed: 0 done, 0 failed, 5 unfinished, in {out}\n"


# --- what goes wrong --------------------------------------------------------------------------


def test_fetch_too_early(made: Callable[..., str], tmp_path: Path, capsys: Capture) -> None:
    """Status 1, and no file."""
    batch_id = made(outcome=BatchOutcome.stay("finalizing"))
    assert batch("fetch", batch_id, str(tmp_path / "out")) == 1
    assert " is finalizing: fetch its results when it has ended" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_fetch_to_nowhere(ended: Callable[..., str], tmp_path: Path, capsys: Capture) -> None:
    """Status 2: it is what was given that cannot be."""
    out = tmp_path / "none" / "out"
    assert batch("fetch", ended(), str(out)) == 2
    assert capsys.readouterr().err.startswith(f"flextier batch: {out} cannot be written: No such")


@pytest.mark.parametrize("verb", [["show"], ["wait"], ["cancel"], ["fetch", "out"]])
def test_a_batch_that_there_is_not(verb: list[str], sim: Simulator, capsys: Capture) -> None:
    """One line with what the API says, status 1."""
    name, *rest = verb
    assert batch(name, "batch_none", *rest) == 1
    assert capsys.readouterr().err == (
        "flextier batch: 404: No batch found with id 'batch_none'.\n"
    )


def test_a_server_that_there_is_not(
    sim: Simulator, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address is named; ``--base-url`` wins over the environment."""
    monkeypatch.setattr("flextier.batch.retrying_api._MAX_ATTEMPTS", 1)
    sim.stop()
    url = "http://127.0.0.1:9/v1"
    assert batch("list", "--base-url", url) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"flextier batch: {url}/: Connection error.")
    assert err.count("\n") == 1


def test_a_refusal(sim: Simulator, capsys: Capture) -> None:
    """In one line, whatever it says."""
    sim.script(Fault.status(401).on(path="/batches", method="GET"))
    assert batch("list") == 1
    assert capsys.readouterr().err.startswith("flextier batch: 401: ")


def test_no_key(sim: Simulator, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, and the variable is named."""
    monkeypatch.delenv("OPENAI_API_KEY")
    assert batch("list") == 2
    err = capsys.readouterr().err
    assert "OPENAI_API_KEY" in err
    assert err.count("\n") == 1
    assert stayed_empty(sim)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line(0), line(0)], "line 2: custom_id: 'cat-0' is used by an earlier line"),
        ([], "there are no lines"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_files_that_cannot_be(
    lines: list[Any] | None, words: str, sim: Simulator, tmp_path: Path, capsys: Capture
) -> None:
    """Status 2; file, line and field are named; nothing was sent."""
    file = tmp_path / "in.jsonl"
    if lines is not None:
        written(file, lines)
    assert batch("create", str(file)) == 2
    err = capsys.readouterr().err
    assert str(file) in err
    assert words in err
    assert stayed_empty(sim)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "VERB"),
        (["show"], "ID"),
        (["list", "--limit", "0"], "--limit: '0'"),
        (["wait", "x", "--poll", "soon"], "--poll: 'soon'"),
        (["wait", "x", "--timeout", "0"], "--timeout: '0'"),
        (["create", "x", "--metadata", "cats"], "--metadata: 'cats' is not KEY=VALUE"),
        (["fetch", "x"], "OUT"),
    ],
)
def test_usage(arguments: list[str], words: str, capsys: Capture) -> None:
    """Status 2, and what is wrong."""
    with pytest.raises(SystemExit) as ended:
        batch(*arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
def test_a_reader_that_has_seen_enough(sim: Simulator, ended: Callable[..., str]) -> None:
    """No traceback, and no complaint."""
    batch_id = ended()
    for arguments in (("list",), ("fetch", batch_id, "/dev/stdout")):
        process = flextier("batch", *arguments)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, err = process.communicate()
        assert (process.returncode, err) == (0, ""), arguments
    process = flextier("batch", "fetch", batch_id, "/dev/stdout")
    out, err = process.communicate()
    assert [json.loads(one)["custom_id"] for one in out.splitlines()] == [
        f"cat-{n}" for n in range(5)
    ]
    assert err.startswith(f"{batch_id} is completed: 5 done")


def test_beside_another_process(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """Against ``flextier sim`` as users start it."""
    with flextier("sim", "--port", "0") as process:
        try:
            assert process.stdout is not None
            greeting = process.stdout.readline()
            monkeypatch.setenv("OPENAI_API_KEY", "k")
            monkeypatch.setenv("OPENAI_BASE_URL", greeting.split()[-1])
            assert batch("create", str(file)) == 0
            batch_id = capsys.readouterr().out.strip()
            assert batch("wait", batch_id, "--poll", "0.01") == 0
            assert batch("fetch", batch_id, str(tmp_path / "out")) == 0
        finally:
            process.terminate()
    assert len(read(tmp_path / "out")) == 5


def test_help_loads_little() -> None:
    """Neither the SDK's Batch API nor prices."""
    code = (
        "import sys; from flextier.cli import main\n"
        "try: main(['batch', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'flextier.batch.manual', 'genai_prices'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
