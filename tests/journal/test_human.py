"""The journal for people: what it holds, exported and forgotten, by command and by function."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flextier.cli import main
from flextier.journal import Journal, JournalError, NewerJournalError
from flextier.journal.batches import BatchRow
from flextier.journal.cache_key import cache_key
from flextier.journal.reader import JournalReader
from flextier.journal.records import JournaledResponse, digest_of

Capture = pytest.CaptureFixture[str]
DAY = 86_400.0
SECRET = "the cat is under the sofa"


class Wall:
    """Seconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "night.db"


@pytest.fixture
def journal(path: Path, wall: Wall) -> Iterator[Journal]:
    made = Journal(path, wall=wall)
    yield made
    made.close()


def key(number: int) -> bytes:
    return cache_key("https://api.openai.com/v1", "/responses", b'{"input": %d}' % number, "")


def answered(journal: Journal, number: int, *, keep: bool = True, text: str = SECRET) -> bytes:
    """One call that has its answer; the answer."""
    body = json.dumps({"output": f"{text} {number}"}, ensure_ascii=False).encode("utf-8")
    said = JournaledResponse("flex", 200, f"req_{number}", body)
    journal.answered(journal.take(key(number)), "o3", said, keep_answer=keep)
    return body


def batched(journal: Journal, tag: str, numbers: range, status: str | None) -> None:
    """A batch on its way."""
    entries = [(f"{tag}-{n}", journal.take(key(n))) for n in numbers]
    row = BatchRow(
        tag=tag,
        base_url="https://api.openai.com/v1",
        endpoint="/v1/responses",
        model="o3",
        lines=len(numbers),
        owner=journal.run,
        sealed=1_795_000_000.0,
    )
    journal.seal(row, entries)
    if status is not None:
        journal.batches.note(tag, batch_id=f"batch_{tag}", status=status)


def command(*arguments: str | Path) -> int:
    return main(["journal", *map(str, arguments)])


def exported(path: Path) -> list[dict[str, object]]:
    return [json.loads(one) for one in path.read_text(encoding="utf-8").splitlines()]


# --- show -------------------------------------------------------------------------------------


def test_show(journal: Journal, path: Path, capsys: Capture) -> None:
    """Counts, batches on their way with their status, and the size; as text and as JSON."""
    answered(journal, 1)
    answered(journal, 2, keep=False)
    journal.take(key(3))
    batched(journal, "aa", range(10, 13), "in_progress")
    batched(journal, "bb", range(20, 21), None)

    assert command("show", path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{path}, ")
    assert lines[1].startswith("answered: 2, 1 of them with the answer kept, 2026-11-18 ")
    assert lines[2:5] == ["in batches: 4", "in the background: 0", "asked now: 1"]
    assert lines[7].split()[:4] == ["batch_aa", "in_progress", "o3", "3"]
    assert lines[8].startswith("not known yet  -            o3     1 ")
    assert command("show", path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (
        facts["calls"] == {"asked": 1, "batched": 4, "background": 0, "done": 2} == journal.counts()
    )
    assert facts["answers"] == 1
    assert [one["open_lines"] for one in facts["batches"]] == [3, 1]
    assert facts["bytes"] > 4096


def test_batches_that_are_over_are_not_shown(journal: Journal, path: Path) -> None:
    """All of their lines have an answer, or are free."""
    batched(journal, "aa", range(3), "completed")
    journal.collected(
        "aa", [("aa-0", JournaledResponse("batch", 200, None, b"{}"))], keep_answer=True
    )
    with JournalReader(path) as reader:
        assert [lines for _, lines in reader.batches()] == [2]
        journal.unfinished("aa")
        assert reader.batches() == []


def test_show_writes_nothing(journal: Journal, path: Path, capsys: Capture) -> None:
    """Beside a program that uses it: no run begins, and nothing of another's is cleared away."""
    journal.take(key(1))
    with sqlite3.connect(path) as connection:
        before = list(connection.iterdump())
        assert command("show", path) == 0
        assert list(connection.iterdump()) == before
    connection.close()


@pytest.mark.skipif(
    os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind"
)
def test_show_in_a_directory_that_is_read_only(path: Path, wall: Wall, capsys: Capture) -> None:
    """A journal that no process has open can be read."""
    journal = Journal(path, wall=wall)
    answered(journal, 1)
    journal.close()
    path.parent.chmod(0o500)
    try:
        assert command("show", path) == 0
    finally:
        path.parent.chmod(0o700)
    assert "answered: 1," in capsys.readouterr().out


def test_without_a_file_beside_it(path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite cannot make what it needs beside a file, the file itself is read."""
    journal = Journal(path, wall=wall)
    answered(journal, 1)
    journal.close()
    connect = sqlite3.connect

    def forbidden(place: str, **more: object) -> sqlite3.Connection:
        if "immutable" not in place:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(place, **more)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr("flextier._utils.sqlite_file.sqlite3.connect", forbidden)
    with JournalReader(path) as reader:
        assert reader.counts()["done"] == 1
    Path(f"{path}-wal").write_bytes(b"newer answers")
    with pytest.raises(JournalError, match="cannot be read: unable to open"):
        JournalReader(path)


# --- export -----------------------------------------------------------------------------------


def test_export(journal: Journal, path: Path, tmp_path: Path, capsys: Capture) -> None:
    """Every answer in a line, in the order in which they were asked; for its owner's eyes."""
    body = answered(journal, 1)
    answered(journal, 2, keep=False)
    journal.take(key(3))
    batched(journal, "aa", range(10, 13), "in_progress")
    out = tmp_path / "out.jsonl"
    assert command("export", path, out) == 0
    assert capsys.readouterr() == ("", f"2 answers in {out}\n")
    first, second = exported(out)
    assert first == {
        "key": key(1).hex(),
        "n": 1,
        "model": "o3",
        "lane": "flex",
        "status": 200,
        "request_id": "req_1",
        "at": 1_795_000_000.0,
        "digest": digest_of(body).hex(),
        "answer": json.loads(body),
    }
    assert second["answer"] is None
    assert second["digest"]
    if os.name != "nt":
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
    text = io.StringIO()
    assert journal.export(text) == 2
    assert text.getvalue() == out.read_text(encoding="utf-8")


def test_export_many(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time, none twice, none left out; calls made meanwhile do not make it endless."""
    monkeypatch.setattr("flextier.journal.reader._CHUNK", 3)
    for number in range(10):
        answered(journal, number)

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            answered(journal, 100)
            return super().write(text)

    out = Out()
    journal.export(out)
    keys = [json.loads(one)["key"] for one in out.getvalue().splitlines()]
    assert keys == [key(number).hex() for number in range(10)]


def test_export_of_what_is_no_unicode(journal: Journal, path: Path, tmp_path: Path) -> None:
    """Half a surrogate pair, which JSON can say, and a file in UTF-8 cannot."""
    said = JournaledResponse("flex", 200, None, rb'{"output": "cat \ud83d \u00fc"}')
    journal.answered(journal.take(key(1)), "o3", said, keep_answer=True)
    assert command("export", path, tmp_path / "out") == 0
    (line,) = exported(tmp_path / "out")
    assert line["answer"] == {"output": "cat \ud83d ü"}


def test_export_over_a_database(journal: Journal, path: Path, capsys: Capture) -> None:
    """The journal itself, or another's: status 2, and it is as it was."""
    answered(journal, 1)
    assert command("export", path, path) == 2
    assert "is a SQLite database" in capsys.readouterr().err
    assert journal.counts()["done"] == 1
    assert command("export", path, path.parent / "none" / "out") == 2
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="there are no such pipes")
def test_export_to_a_reader_that_has_seen_enough(journal: Journal, path: Path) -> None:
    """No traceback."""
    answered(journal, 1)
    code = "import sys; from flextier.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["journal", "export", str(path), "/dev/stdout"]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


# --- forget -----------------------------------------------------------------------------------


def test_forget(journal: Journal, path: Path, wall: Wall, capsys: Capture) -> None:
    """Only what is old, or all; batches on their way stay."""
    answered(journal, 1)
    wall.now = time.time() - 3600
    answered(journal, 2)
    batched(journal, "aa", range(10, 13), "in_progress")
    assert command("forget", path, "--older-than", "2h") == 0
    assert capsys.readouterr().out.startswith("forgotten: 1 answer; left: 1; ")
    assert command("forget", path) == 0
    assert capsys.readouterr().out.startswith("forgotten: 1 answer; left: 0; ")
    assert journal.counts() == {"asked": 0, "batched": 3, "background": 0, "done": 0}
    assert journal.batches.get("aa") is not None


def test_what_is_forgotten_is_gone_from_the_disk(journal: Journal, path: Path) -> None:
    """Not in free pages, not in the log; and the space is given back."""
    bodies = [answered(journal, n, text=os.urandom(2000).hex()) for n in range(300)]
    with JournalReader(path) as reader:
        before = reader.size()
    log = Path(f"{path}-wal")
    stored = path.read_bytes() + log.read_bytes()
    assert all(digest_of(body) in stored for body in bodies)
    assert journal.forget() == 300
    stored = path.read_bytes() + log.read_bytes()
    assert not any(digest_of(body) in stored for body in bodies)
    with JournalReader(path) as reader:
        assert reader.size() < before / 5


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled"])
def test_batches_are_forgotten_with_their_last_answer(status: str, journal: Journal) -> None:
    """Whatever files they had."""
    batched(journal, "aa", range(2), status)
    assert journal.forget() == 0
    assert journal.batches.get("aa") is not None
    journal.collected(
        "aa", [("aa-0", JournaledResponse("batch", 200, None, b"{}"))], keep_answer=True
    )
    journal.unfinished("aa")
    assert journal.forget(older_than="1d") == 0
    assert journal.batches.get("aa") is not None
    assert journal.forget() == 1
    assert journal.batches.get("aa") is None


def test_ages_that_cannot_be(journal: Journal, path: Path, capsys: Capture) -> None:
    """Status 2; the option is named."""
    for age in (-1.0, float("nan"), "-3d", "soon"):
        with pytest.raises(ValueError, match="older_than"):
            journal.forget(older_than=age)
    for given in ("soon", "30", "-3d", ""):
        with pytest.raises(SystemExit) as ended:
            command("forget", path, f"--older-than={given}")
        assert ended.value.code == 2
        assert "--older-than" in capsys.readouterr().err


def test_a_file_that_cannot_be_made_smaller(journal: Journal) -> None:
    """The answers are deleted, and the error says that the file is still as large."""
    answered(journal, 1)

    class Full:
        def __init__(self, connection: sqlite3.Connection) -> None:
            self.connection = connection

        def __getattr__(self, name: str) -> object:
            return getattr(self.connection, name)

        def execute(self, statement: str, *values: object) -> object:
            if statement == "VACUUM":
                raise sqlite3.OperationalError("database or disk is full")
            return self.connection.execute(statement, *values)

    whole, journal._connection = journal._connection, Full(journal._connection)  # type: ignore[assignment]
    with pytest.raises(JournalError, match=r"are deleted, but .+ disk is full"):
        journal.forget()
    journal._connection = whole
    assert journal.counts()["done"] == 0


# --- what is no journal -----------------------------------------------------------------------


@pytest.mark.parametrize("verb", [["show"], ["export", "out"], ["forget"]])
def test_what_is_no_journal(verb: list[str], tmp_path: Path, capsys: Capture) -> None:
    """Status 1 and one line; nothing is made, and nothing is changed."""
    name, *rest = verb
    rest = [str(tmp_path / one) for one in rest]
    none, text, other, newer = (tmp_path / name for name in ("none", "text", "other", "newer"))
    text.write_text("Where is the cat?" * 100)
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE cats (n)")
    connection.close()
    Journal(newer).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for path, words in (
        (none, f"there is no journal {none}"),
        (tmp_path, f"there is no journal {tmp_path}"),
        (text, "is not a database"),
        (other, "is another program's database"),
        (newer, "has version 99"),
    ):
        content = path.read_bytes() if path.is_file() else None
        assert command(name, path, *rest) == 1
        err = capsys.readouterr().err
        assert err.startswith("flextier journal: ")
        assert words in err
        assert err.count("\n") == 1
        assert (path.read_bytes() if path.is_file() else None) == content
    with pytest.raises(NewerJournalError):
        JournalReader(newer)
    assert not (tmp_path / "out").exists()


def test_usage(capsys: Capture) -> None:
    """A verb and a path."""
    for arguments in ((), ("show",), ("export", "x"), ("burn", "x")):
        with pytest.raises(SystemExit) as ended:
            command(*arguments)
        assert ended.value.code == 2
    capsys.readouterr()
