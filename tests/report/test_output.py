"""Where reports go: never over a database, whole or not at all, and one line where they cannot."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from flextier.cli import main
from flextier.costs import CallRecord
from flextier.ledger import Ledger
from tests.ledger.calls import call
from tests.ledger.test_opening import _execute

Keep = Callable[[Iterable[CallRecord]], Path]

posix = pytest.mark.skipif(os.name != "posix", reason="devices and modes are POSIX's")


def report(file: Path, *options: object) -> int:
    """Run the command over a ledger."""
    return main(["report", "--ledger", str(file), "--since", "all", *map(str, options)])


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("is_open", [False, True])
def test_the_ledger_is_not_overwritten(
    end: str, is_open: bool, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor the files beside it, whether they are there or not."""
    with Ledger(file) as ledger:
        ledger.add(call())
        ledger.flush()
        if not is_open:
            ledger.close()
        before = sorted(file.parent.iterdir())
        assert report(file, "--output", f"{file}{end}") == 2
        assert sorted(file.parent.iterdir()) == before
        assert ledger.totals().calls == 1
    assert "is the ledger itself" in capsys.readouterr().err


@posix
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_another_name_of_the_ledger(link: Callable[[Path, Path], None], keep: Keep) -> None:
    """It is the same file, whichever of the two names is that of the ledger."""
    file = keep([call()])
    other = file.with_name("other.db")
    link(file, other)
    assert report(file, "--output", other) == 2
    assert report(other, "--output", file) == 2
    if link is os.symlink:
        assert report(other, "--output", f"{file}-wal") == 2
    assert Ledger(file, readonly=True).totals().calls == 1


def test_another_database(keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the keyboard destroys no other program's data either."""
    songs = tmp_path / "songs"
    _execute(songs, "CREATE TABLE songs (name TEXT)")
    before = songs.read_bytes()
    assert report(keep([call()]), "--output", songs) == 2
    assert songs.read_bytes() == before
    assert "is a SQLite database" in capsys.readouterr().err


@posix
def test_a_report_is_replaced(keep: Keep, tmp_path: Path) -> None:
    """It keeps its mode, a link to it stays a link, and nothing is left beside it."""
    folder = tmp_path / "reports"
    folder.mkdir()
    text, link = folder / "report.txt", folder / "latest.txt"
    text.write_text("old")
    text.chmod(0o640)
    link.symlink_to(text)

    assert report(keep([call()]), "--output", link) == 0

    assert text.read_text(encoding="utf-8").startswith("sqlite:///")
    assert stat.S_IMODE(text.stat().st_mode) == 0o640
    assert link.is_symlink()
    assert sorted(folder.iterdir()) == [link, text]


@posix
def test_a_new_report_has_the_usual_mode(keep: Keep, tmp_path: Path) -> None:
    """That which the umask leaves."""
    before = os.umask(0o027)
    try:
        assert report(keep([call()]), "--output", tmp_path / "report.txt") == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.txt").stat().st_mode) == 0o640


def test_a_failure_leaves_the_old_report(
    keep: Keep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the new one cannot be completed, the old one is whole, and alone."""

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    file = keep([call()])
    folder = tmp_path / "reports"
    folder.mkdir()
    old = folder / "report.txt"
    old.write_text("old")
    monkeypatch.setattr(Path, "replace", fail)
    assert report(file, "--output", old) == 2
    assert "--output" in (printed := capsys.readouterr().err)
    assert "cannot be written: No space left on device" in printed
    assert [(one, one.read_text()) for one in folder.iterdir()] == [(old, "old")]


@posix
def test_a_reader_who_has_seen_enough(keep: Keep) -> None:
    """`| head` ends the report without a word, and with success."""
    ledger = keep([call()])
    command = [
        sys.executable,
        "-c",
        "import sys; from flextier.cli import main; sys.exit(main())",
    ]
    options = ["report", "--ledger", str(ledger), "--since", "all", "--format", "html"]
    with subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, b"")


@posix
def test_a_pipe_is_written_to(keep: Keep) -> None:
    """What is no file is not replaced by one."""
    assert b"o3" in _command(keep([call()]), "--output", "/dev/stdout").stdout


def test_a_directory_is_no_output(
    keep: Keep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line says so."""
    assert report(keep([call()]), "--output", tmp_path) == 2
    assert "Is a directory" in capsys.readouterr().err or os.name != "posix"


def _command(file: Path, *options: str, **where: object) -> subprocess.CompletedProcess[bytes]:
    code = "import sys; from flextier.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "report", "--since", "all", "--ledger", str(file)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **where}
    return subprocess.run([*command, *options], check=False, **streams)  # type: ignore[call-overload]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_standard_output_that_is_full(form: str, keep: Keep) -> None:
    """Status 2 and one line, as for a file."""
    with open("/dev/full", "wb") as full:
        done = _command(keep([call()]), "--format", form, stdout=full)
    assert (done.returncode, done.stderr.decode()) == (
        2,
        "flextier report: standard output cannot be written: No space left on device\n",
    )


@posix
def test_standard_output_that_is_closed(keep: Keep) -> None:
    """The same."""
    done = _command(keep([call()]), stdout=None, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2
    assert done.stderr == b"flextier report: standard output cannot be written: it is closed\n"


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_csv_on_a_terminal(
    keep: Keep,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Escapes for those who look at it; for programs, names as they are."""
    file = keep([call(tags=("\x1b[2J\x9b1m", "plain"))])
    options = ("--by", "tag", "--format", "csv")
    assert report(file, *options) == 0
    assert "\n\x1b[2J\x9b1m," in capsys.readouterr().out

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert report(file, *options) == 0
    assert "\n\\x1b[2J\\x9b1m," in terminal.getvalue()
    assert "\nplain," in terminal.getvalue()
    report(file, *options, "--output", tmp_path / "tags.csv")
    assert "\x1b[2J" in (tmp_path / "tags.csv").read_text(encoding="utf-8")


def test_names_of_another_programs_tables(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the error they are escaped, and do not break its line."""
    _execute(file, 'CREATE TABLE "\x1b[2J\nx" (name TEXT)')
    assert report(file) == 2
    printed = capsys.readouterr().err
    assert "\\x1b[2J\\nx" in printed
    assert printed.count("\n") == 1
